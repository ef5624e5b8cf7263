package diff

import "time"

// Bounds on what two strangers' files can cost. What lies beyond one is named as
// "not looked inside", and compared as bytes.
const (
	// maxDepth is how deep formats are followed into each other: a .deb's
	// data.tar.xz with a .jar with classes is 5.
	maxDepth = 8
	// maxMembers bounds all members of one comparison's archives together, each of
	// which costs some hundred bytes; a whole system's image has as many.
	maxMembers = 400_000
	// maxRecords is how many further records of one tar header are compared.
	maxRecords = 64
	// maxDecompressedBytes bounds all that one comparison decompresses: an image of
	// a system is below it, a bomb is not.
	maxDecompressedBytes = 8 << 30
	// spoolMemoryBytes is how much of decompressed content stays in memory; what is
	// longer goes to an unlinked temporary file.
	spoolMemoryBytes = 4 << 20
	// maxDirectoryBytes bounds a zip's central directory and an ELF file's table of
	// sections, which their readers keep in memory: a hundred thousand members of a
	// zip need 15 MiB.
	maxDirectoryBytes = 32 << 20
	// maxGapBytes bounds what lies between an ELF file's sections; more is padding.
	maxGapBytes = 4 << 20
	// maxHiddenBytes is how much both sides may have there to be compared by place.
	maxHiddenBytes = 64 << 10
	// maxWindowBytes is the window or dictionary that a decompressor may ask for:
	// what xz -9 and zstd --ultra -22 use.
	maxWindowBytes = 128 << 20
	// maxNameBytes bounds a member's name, and any other text taken from a header.
	maxNameBytes = 4096

	// maxTableBytes bounds each of a program's tables that are read to tell what follows
	// from what, on each side; browsers and kernels have larger ones. Those of the kinds
	// of entries cost ten times as much when they are read.
	maxTableBytes         = 64 << 20
	maxAbbreviationsBytes = 8 << 20
	// maxTablesBytes bounds all of them together, of one pair of programs.
	maxTablesBytes = 256 << 20
	// maxPlaces bounds the segments of a program times its sections, as each is looked for
	// in all of them; common ones have 15 and 50.
	maxPlaces = 1_000_000
	// maxTableStrings is how many strings one table may have.
	maxTableStrings = 2_000_000
	// maxStringsPerByte is how many bytes of strings are compared for one byte that may
	// refer to them: names in C++ have hundreds, and a reference has four.
	maxStringsPerByte = 64
	// maxRoots is how many directories a program was built in: its own, and caches.
	maxRoots = 16

	// readBytes is how much of each side is compared at a time.
	readBytes = 256 << 10
	// maxRanges is how many differing ranges are looked at one by one.
	maxRanges = 256
	// rangeGapBytes joins ranges that are closer together: one number or string
	// that differs is one range, though some of its bytes agree.
	rangeGapBytes = 4
	// contextBytes is how far a string around a differing byte is followed.
	contextBytes = 512
	// maxWordsBytes is how much of each side is searched for strings, from the first
	// difference on.
	maxWordsBytes = 8 << 20
	// minWordBytes is the shortest run of printable characters taken for a string,
	// as strings(1) does.
	minWordBytes = 4
	// minDenseBytes is how many bytes are needed to tell data that is compressed: as
	// many random ones have some 7.8 bits a byte. denseBits is what counts as it.
	minDenseBytes = 1 << 10
	denseBits     = 7.5
	// maxTextBytes is the longest file compared by lines.
	maxTextBytes = 32 << 20
	// maxLines is how many differing lines of each side are looked at.
	maxLines = 500_000
	// maxAlignLines bounds the lines of each side that are aligned with each other,
	// as the work is their product; the rest is paired in order.
	maxAlignLines = 1500
	// maxPairs is how many differing pairs of lines or strings are classified.
	maxPairs = 2000
	// maxPairBytes is how much of a line or a string is classified: around where the
	// two part.
	maxPairBytes = 4 << 10
	// aroundBytes is how much around a time or a number may say what it is.
	aroundBytes = 128
	// maxTokensBytes is how long a line may be for its lists to be compared as sets.
	maxTokensBytes = 1 << 20
	// maxPartsDepth is how deep lists in lists are followed.
	maxPartsDepth = 32

	// maxEvidence is how many findings of one cause are kept at one place: a person
	// reads a few, and the rest is counted.
	maxEvidence = 5
	// maxQuotedBytes is how much of a stranger's text is repeated in a finding.
	maxQuotedBytes = 160
	// maxChildren is how many differing members of one archive are explained; the
	// rest is counted.
	maxChildren = 200
	// maxPaths is how many differing paths of two trees are explained.
	maxPaths = 1000
	// maxEntries is how many paths a tree may have.
	maxEntries = 1_000_000

	// diffoscopeTimeout and maxDiffoscopeBytes bound what diffoscope may take and say.
	diffoscopeTimeout  = 5 * time.Minute
	maxDiffoscopeBytes = 4 << 20
	// maxExportBytes bounds what is written to disk for diffoscope to read.
	maxExportBytes = 4 << 30
)
