//go:build !gavel_init

package container

// embeddedInit is absent from a plain go build: this binary serves as PID 1 itself.
var embeddedInit []byte
