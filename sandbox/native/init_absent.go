//go:build !gavel_init

package native

// initBinary is absent from a plain `go build`: the program then starts itself as spawner.
var initBinary []byte
