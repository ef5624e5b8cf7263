package client

import "time"

const (
	// DefaultAttempts is how often a call is tried while servers are unavailable;
	// with the waits between, some ten seconds: longer than an election takes.
	DefaultAttempts = 8
	// firstWait and maxWait bound the pause between attempts, which doubles.
	firstWait = 50 * time.Millisecond
	maxWait   = 3 * time.Second
	// calls is how many batches and streams run at once.
	calls = 8
	// missingPerCall is how many digests one FindMissingBlobs asks for: about 1 MiB.
	missingPerCall = 10_000
	// writeChunkBytes is one message of an upload stream.
	writeChunkBytes = 256 << 10
	// streamBytes is from where on a blob travels by stream of its own: batching a
	// few larger ones would save little and hold whole blobs in memory.
	streamBytes = 1 << 20
)
