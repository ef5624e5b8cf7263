package tree

import "gavel/cas"

const (
	// MaxNameBytes is NAME_MAX of Linux file systems.
	MaxNameBytes = 255
	// MaxPathBytes is PATH_MAX less room for the directory a tree is put under.
	MaxPathBytes = 3840
	// MaxTargetBytes bounds a symlink's target (PATH_MAX, with its NUL).
	MaxTargetBytes = 4095
	// MaxDirectoryBytes bounds one encoded Directory: some 100,000 entries.
	MaxDirectoryBytes = 16 << 20
	// MaxDepth bounds nesting, and with it recursion over a tree; the deepest real
	// ones (nested node_modules) stay below 60.
	MaxDepth = 128
)

// Limits bound a whole tree as it is expanded: a subtree that appears twice
// counts twice. Zero fields mean DefaultLimits'.
type Limits struct {
	Entries     int64 // files, directories and symlinks
	Bytes       int64 // of all files
	Directories int64 // distinct Directory messages
	ListBytes   int64 // of all distinct Directory messages, encoded
}

// DefaultLimits hold any real project: a Linux source tree has 90,000 entries,
// 1.5 GB and 8 MB of Directory messages.
var DefaultLimits = Limits{Entries: 1_000_000, Bytes: 64 << 30, Directories: 200_000, ListBytes: 256 << 20}

func (l Limits) orDefault() Limits {
	pick := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	pick(&l.Entries, DefaultLimits.Entries)
	pick(&l.Bytes, DefaultLimits.Bytes)
	pick(&l.Directories, DefaultLimits.Directories)
	pick(&l.ListBytes, DefaultLimits.ListBytes)
	return l
}

const (
	// hashers is how many files a scan hashes at once: SHA-256 is bound by the
	// processor, reading by the disk, so a few more than small machines have cores.
	hashers = 4
)

// fits says whether a blob of d.Size bytes can be a Directory.
func fits(d cas.Digest) bool { return d.Size <= MaxDirectoryBytes }
