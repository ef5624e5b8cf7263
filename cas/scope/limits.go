package scope

const (
	// maxActionBytes bounds an encoded Action: digests, a timeout and a salt.
	maxActionBytes = 64 << 10
	// maxCommandBytes bounds an encoded Command: arguments and environment, which
	// Linux limits to 2 MiB together, and names.
	maxCommandBytes = 4 << 20
	// maxCachedDigests bounds what Reaches keeps: 64 bytes each, so 128 MiB.
	maxCachedDigests = 2 << 20
)
