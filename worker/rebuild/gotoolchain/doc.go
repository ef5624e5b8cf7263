// Package gotoolchain makes a build of a Go toolchain whose answer the Go project
// has published: the sources in the toolchain's own module, the command that builds
// them, and the digests of the programs in that module, which the checksum database
// vouches for. It never lets a published program be part of what is built from: what
// the module has of bin and pkg/tool is the answer alone. It runs no build itself.
package gotoolchain
