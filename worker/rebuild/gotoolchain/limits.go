package gotoolchain

const (
	// maxFiles and maxBytes bound a toolchain's module as it is unpacked: one has
	// 12,000 files of 220 MB.
	maxFiles = 100_000
	maxBytes = 2 << 30
	// maxAnswerBytes bounds what the go command says of a module.
	maxAnswerBytes = 1 << 20
	// shownErrorLines is how much of its words an error repeats.
	shownErrorLines = 6

	// The limits of a build: compilers compile each other three times, and what they
	// write lies in memory.
	timeoutMillis = 7_200_000
	memoryBytes   = 8 << 30
	diskBytes     = 4 << 30
	pids          = 2048
)
