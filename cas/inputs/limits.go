package inputs

const (
	// DefaultTreeBytes bounds laid-out trees: a few of the largest, dozens of usual ones.
	DefaultTreeBytes = 20 << 30
	// DefaultBlobBytes bounds the blobs that trees are made of.
	DefaultBlobBytes = 10 << 30
	// blockBytes is what the smallest file or directory takes on disk: its data
	// block; inodes are not counted.
	blockBytes = 4096
	// trimFraction of the blob bound may be fetched between two trims: a trim
	// reads the whole store's directories.
	trimFraction = 16
	// writers is how many files are written at once.
	writers = 4
)
