package audit

const (
	// MaxDeviations bounds what a report lists; beyond it they are counted.
	MaxDeviations = 1000
	// maxFields bounds the fields of one leaf or record that are listed: whoever
	// wrote another leaf altogether has said enough with these.
	maxFields = 6
	// maxShown bounds a value in a deviation: a hash is 64 characters.
	maxShown = 160
	// maxGenesisBytes is far above nine coordinators and thousands of founders.
	maxGenesisBytes = 16 << 20
	// maxEpochBytes bounds an epoch's entries: one ends at 4 MiB and its last
	// entry may be as large as an entry may.
	maxEpochBytes = 96 << 20
	// maxFileBytes bounds any other file beside the log.
	maxFileBytes = 64 << 20
	// maxSegmentLeaves bounds the leaves from one epoch's to the next: each of an
	// epoch's 4,096 entries certifies 64 builds at most, of a dozen leaves each.
	maxSegmentLeaves = 1 << 22
	// proveAt is how many signatures of the beacon are proved at once: beyond a few
	// hundred the two pairings are no longer felt.
	proveAt = 512
	// MaxResumeBytes bounds a resume state: a snapshot of a large farm, above all.
	MaxResumeBytes = 1 << 30
	// MaxReceiptBytes bounds a receipt's file with its command.
	MaxReceiptBytes = 1 << 20
)
