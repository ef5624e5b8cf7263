// Package projects holds the sample projects that the README, the demonstration
// and the tests build. It never builds anything itself. Every project is complete,
// needs no network and names no machine.
package projects

import "embed"

// Files are the projects, each in a directory of its name.
//
//go:embed clock hello hello-c hello-go tiny-go
var Files embed.FS
