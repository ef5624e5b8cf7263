// Hello greets those whom its arguments name.
package main

import (
	"fmt"
	"os"
)

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		names = []string{"world"}
	}
	for _, name := range names {
		fmt.Println(greeting(name))
	}
}
