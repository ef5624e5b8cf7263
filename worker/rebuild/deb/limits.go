package deb

import "time"

const (
	// maxIndexBytes bounds what apt prints of one package or list.
	maxIndexBytes = 16 << 20
	// maxSourcesBytes bounds a file of the machine's sources.
	maxSourcesBytes = 1 << 20
	// maxEntryBytes bounds the changelog entry of a rebuild: one has some hundred bytes.
	maxEntryBytes = 64 << 10
	// shownErrorLines is how much of apt's own words an error repeats.
	shownErrorLines = 8
	// stopGrace is how long apt may take to end when it is called off.
	stopGrace = 10 * time.Second

	// The limits of a build: a package's tests and compilers take more than a demonstration.
	defaultTimeoutMillis = 3_600_000
)
