package server

import "time"

const (
	// readChunkBytes is one message of a download: large enough that framing is
	// noise, small enough for a fair share of a connection.
	readChunkBytes = 256 << 10
	// batchWriters is how many blobs of one batch are stored at once: a journaling
	// file system then groups their fsyncs.
	batchWriters = 16
	// maxUploads bounds unfinished ByteStream uploads, each holding two chunks and
	// a goroutine.
	maxUploads = 2048
	// maxUploadsPerAccount keeps one account from taking all of them.
	maxUploadsPerAccount = 256
	// resumeWindow is how long an interrupted upload waits for its continuation.
	resumeWindow = 2 * time.Minute
	// maxTreePage is how many directories one GetTree message carries at most.
	maxTreePage = 1000
	// maxTreePageBytes bounds such a message below gRPC's default of 4 MiB, but for
	// one directory that is larger by itself.
	maxTreePageBytes = 2 << 20
	// maxTreeDirectories bounds a GetTree in all.
	maxTreeDirectories = 200_000
)
