//go:build !gavel_init

package docker

// embeddedInit is absent from a plain go build: this binary serves as PID 1 itself.
var embeddedInit []byte
