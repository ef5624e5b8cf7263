package disk

import "time"

const (
	// chunkBytes is read, hashed and written at a time: fits the second-level
	// cache of one core together with its twin (see receive).
	chunkBytes = 256 << 10
	// wholeBytes is up to where a blob is verified before its first byte is handed
	// out: most inputs are smaller, and it is no more memory than a chunk.
	wholeBytes = 256 << 10
	// writebackBytes is how much is written before the kernel is asked to start
	// putting it on the disk, so that the final fsync finds little left to do.
	writebackBytes = 8 << 20
	// useGranularity is how stale a cached blob's recorded use may be: a write to
	// an inode per read would cost more than an imprecise eviction order.
	useGranularity = time.Minute
)
