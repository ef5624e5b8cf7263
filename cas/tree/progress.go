package tree

// Options govern scans, uploads and downloads.
type Options struct {
	Limits Limits
	// Progress, if set, is called as work gets done, one call at a time, with
	// figures that never shrink.
	Progress func(Progress)
	// Without are names at the top of a local directory that are left out, such as
	// .git; below it a name is like any other.
	Without []string
}

// Progress says how far an upload or download has come.
type Progress struct {
	Files, HashedFiles int   // in the local directory
	Bytes, HashedBytes int64 // of those
	// Blobs and BlobBytes are what has to be moved, known once the other side has
	// said what it lacks; Moved… is how much of it has been.
	Blobs, MovedBlobs         int
	BlobBytes, MovedBlobBytes int64
}

func (o Options) report(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}
