package publish

import "time"

const (
	// maxQueuedBytes bounds what waits in memory to be written: beyond it Apply
	// waits for the disk, because what is lost here cannot be had again.
	maxQueuedBytes = 64 << 20
	// lockTimeout is how long another process may hold the journal when it is opened.
	lockTimeout = 2 * time.Second
	// maxBatchItems bounds the items of one append: each may be a dozen leaves.
	maxBatchItems = 64
	// maxBatchFileBytes ends an append before that: what lies beside its leaves, some
	// ten kilobytes of most builds and megabytes of few, is in memory until it is
	// written, all at once.
	maxBatchFileBytes = 16 << 20
	// maxEpochBytes bounds an epoch's entries that a peer gives: one ends at 4 MiB
	// and its last entry may be large.
	maxEpochBytes = 96 << 20
	// maxFileBytes bounds any other file of the log, a transcript above all.
	maxFileBytes = 32 << 20
	// maxNoteBytes bounds a checkpoint and the trusted root.
	maxNoteBytes = 64 << 10
	// maxLoggedBuilds bounds one answer about them: a few hundred bytes each.
	maxLoggedBuilds = 1000
	// maxCatchUpLeaves bounds what a node that was away takes over at once: they are
	// in memory, some hundred bytes each. One that missed more is given a peer's tlog
	// directory while both are stopped.
	maxCatchUpLeaves = 1 << 20

	// maxAppended is how many of them one append has: with the largest leaves so many
	// stay below tlog.MaxBatchBytes.
	maxAppended = 4096

	// peerTimeout bounds one question to a peer.
	peerTimeout = 5 * time.Second
	// witnessTimeout is how long the log waits for its witnesses.
	witnessTimeout = 3 * time.Second
	// retryPause lies between two tries of what failed.
	retryPause = 500 * time.Millisecond
	// checkpointPause lies between two checkpoints: each costs a round of signatures.
	checkpointPause = 100 * time.Millisecond
	// statusEvery is how old a status list may grow, and statusPause lies between two.
	statusEvery = time.Minute
	statusPause = time.Second
	// epochPause lies between two looks for epochs that may be shown.
	epochPause = 200 * time.Millisecond
	// epochEvery is how long an epoch may wait at the end of all activity.
	epochEvery = time.Second
	// awaitTimeout is how long a cosigner that is behind waits for its own log, and
	// awaitPause how often it looks.
	awaitTimeout = 2 * time.Second
	awaitPause   = 5 * time.Millisecond
)
