package source

const (
	// maxTreeBytes bounds one Git tree object: some 400,000 entries.
	maxTreeBytes = 16 << 20
	// maxCommitBytes bounds a commit object; only its first line is read.
	maxCommitBytes = 1 << 20
	// maxTargetBytes bounds a symbolic link's target: PATH_MAX, with its NUL.
	maxTargetBytes = 4095
	// maxDepth bounds nesting, as in an input tree.
	maxDepth = 128
	// maxEntries bounds a whole tree as it is expanded, as in an input tree: a
	// subtree that appears twice counts twice.
	maxEntries = 1_000_000
	// maxBytes bounds the files of a whole tree as it is expanded.
	maxBytes = 64 << 30
	// maxHeaderBytes bounds the line before an object.
	maxHeaderBytes = 256
)
