// Command init is the static binary that plays both roles of package box. It is
// embedded in gavel by `make build`, takes no arguments and does nothing when a person starts it.
package main

import (
	"os"

	"gavel/sandbox/native/box"
)

func main() {
	if !box.IsRole() {
		os.Stderr.WriteString("this is the inside of gavel's sandbox; start gavel instead\n")
		os.Exit(2)
	}
	box.Main()
}
