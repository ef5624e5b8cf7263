// Command init is package pid1 as a small static program. It is shown read-only
// in every container and runs nothing but the command it is ordered to. It
// is built without cgo, because the images it runs in need hold no C library.
package main

import "gavel/sandbox/container/pid1"

func main() { pid1.Main() }
