package coordinator

import "time"

const (
	// maxConfigBytes and maxGenesisBytes bound files before they are parsed: a
	// genesis names at most some thousand founders and operators.
	maxConfigBytes  = 1 << 20
	maxGenesisBytes = 64 << 20

	// maxStreamsPerConnection bounds what one connection may have under way; the
	// service bounds it for each account.
	maxStreamsPerConnection = 256
	// minPing is how often a client may ask whether the node is there.
	minPing = 5 * time.Second
	// idlePing finds a client that is gone without a goodbye.
	idlePing    = 30 * time.Second
	pingTimeout = 10 * time.Second
	// stopGrace is how long calls under way may take to end when the node stops.
	// Streams do not end by themselves, so it is short.
	stopGrace = 500 * time.Millisecond
	// reconnectMax is the longest pause before a peer that was away is tried again.
	reconnectMax = time.Second
	// barrierTimeout bounds one try to learn what was committed before this node
	// started, and barrierPause lies between two: an election takes longer.
	barrierTimeout = 5 * time.Second
	barrierPause   = 50 * time.Millisecond
	// readinessEvery is how often a node looks whether it has a leader.
	readinessEvery = 500 * time.Millisecond

	// httpHeaderTimeout, httpTimeout and maxHTTPHeaderBytes bound what a reader of
	// the log may take of this node; its largest files are some megabytes.
	httpHeaderTimeout  = 5 * time.Second
	httpTimeout        = 5 * time.Minute
	maxHTTPHeaderBytes = 16 << 10
	// maxHTTPConnections bounds how many readers there are at once; the next waits.
	maxHTTPConnections = 256
)
