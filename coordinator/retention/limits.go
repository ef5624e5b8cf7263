package retention

import "time"

const (
	// Default is how long what is unused is kept: a month, in which an auditor finds
	// time.
	Default = 30 * 24 * time.Hour
	// Least is the shortest that can be asked for. It leaves room for uses to be
	// recorded coarsely, and for uploads that their submission follows later.
	Least = time.Hour
	// maxDays is a century: far from overflow.
	maxDays = 36_500
	// sweepsPerRetain is how often a sweep comes, and with it a look at what is
	// needed, within the time that things are kept; usePerRetain is how finely uses are recorded.
	sweepsPerRetain = 4
	usesPerRetain   = 8
	// seldom is the longest between two sweeps, and between two records of one blob's use.
	seldom = time.Hour
)
