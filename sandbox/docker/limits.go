package docker

import "time"

// Bounds on waiting for the engine.
const (
	// callTimeout is one API call that should answer at once; a disk under load
	// makes the engine take seconds.
	callTimeout = 30 * time.Second
	// restartTimeout is how long an engine that is gone may take to come back
	// before a command that has not started is given up; systemd takes about 3 s.
	restartTimeout = 15 * time.Second
	restartPoll    = 250 * time.Millisecond
	// killCallTimeout is how long the engine may take to answer a kill before this
	// process kills the container itself.
	killCallTimeout = 10 * time.Second
	// oomTimeout is how long the engine may take to notice that a container it
	// saw end was killed for memory; the two events travel separately.
	oomTimeout = time.Second
	oomPoll    = 50 * time.Millisecond
)

const (
	// maxRemovals is how many finished containers may await removal before the
	// next Run waits too: the engine removes about 25 a second.
	maxRemovals = 8
	// maxSpoilt is how many spares in a row may fail before no more are made: each
	// costs the machine a container for nothing.
	maxSpoilt = 3
	// maxImages bounds the cache of image facts; a farm serves a few.
	maxImages = 256
)
