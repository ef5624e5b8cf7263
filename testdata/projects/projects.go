// Package projects holds the sample projects that the demonstration and the
// tests build. It never builds anything itself. Every project has a README, is
// built by a command that its README names, and needs no network.
package projects

import "embed"

// Files are the projects, each in a directory of its name.
//
//go:embed clock hello-c hello-go tiny-go
var Files embed.FS
