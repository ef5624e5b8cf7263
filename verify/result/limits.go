package result

const (
	// readBytes is how much of each file is compared at a time.
	readBytes = 64 << 10
	// maxExplained bounds the paths that an explanation names: a person reads
	// ten, a program takes Compare's list.
	maxExplained = 10
)
