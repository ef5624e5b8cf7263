package engine

import "time"

// Bounds on what is read.
const (
	maxActionBytes  = 1 << 20 // a REAPI Action is a few hundred bytes
	maxCommandBytes = 4 << 20 // above what the kernel takes as arguments and environment
	// maxManifestBytes bounds a manifest as coordinators read it: MaxOutputs paths
	// of ordinary length.
	maxManifestBytes = 64 << 20

	// toolPatience bounds asking one tool of the machine for its version.
	toolPatience = 10 * time.Second
)
