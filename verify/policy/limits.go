package policy

const (
	// MaxFileBytes bounds a policy's file: some ten thousand keys and images.
	MaxFileBytes = 1 << 20
	// maxListed bounds a list of keys, images or repositories.
	maxListed = 10_000
	// maxCount bounds what can be demanded of parties and signatures: panels,
	// clusters and lists of witnesses are far smaller.
	maxCount = 10_000
	// maxAgeMillis bounds a maximum age: a hundred years.
	maxAgeMillis = 100 * 366 * 24 * 3_600_000
)
