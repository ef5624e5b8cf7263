package diff

// Cause says why two things differ.
type Cause string

// The causes that can be shown. Unknown is the absence of one.
const (
	Timestamp   Cause = "timestamp"           // a time of day or a date
	BuildPath   Cause = "build path"          // an absolute path of where it was built
	HostName    Cause = "host name"           // the name of the machine
	Owner       Cause = "owner"               // user or group, as name or number
	Permission  Cause = "permission"          // mode bits, as a umask sets them
	Ordering    Cause = "ordering"            // the same parts in another order
	Locale      Cause = "locale"              // language, collation, decimal sign
	Parallelism Cause = "parallelism"         // numbers of CPUs or jobs, work that interleaves
	BuildID     Cause = "build id"            // a digest over the build's own content or input
	Random      Cause = "random"              // a UUID, a temporary name, a number that a process chose
	Compression Cause = "compression"         // equal content, packed differently
	Toolchain   Cause = "toolchain"           // another version or setting of a tool
	Forged      Cause = "forged or corrupted" // nothing but one byte, a checksum that does not hold, padding that is not zero
	Content     Cause = "missing on one side" // no counterpart to compare with
	Unknown     Cause = "unknown"             // see the member and the range
)

// Finding is a cause with its evidence.
type Finding struct {
	Cause Cause `json:"cause"`
	// Where is the place within the member: "mtime in the tar header", "line 12",
	// "byte 1024"; empty for the member as a whole.
	Where string `json:"where,omitempty"`
	// A and B are the two sides' values, quoted where a stranger chose them.
	A string `json:"a,omitempty"`
	B string `json:"b,omitempty"`
	// Note says in words what A and B do not.
	Note string `json:"note,omitempty"`
	// More counts further findings of the same cause at the same place.
	More int `json:"more,omitempty"`
}

// known tells whether the finding names a cause.
func (f *Finding) known() bool { return f.Cause != Unknown && f.Cause != Content }

// findings collects up to maxEvidence of each cause.
type findings []Finding

func (fs *findings) add(f Finding) {
	n, first := 0, -1
	for i := range *fs {
		if old := &(*fs)[i]; old.Cause == f.Cause {
			if old.A == f.A && old.B == f.B && old.Note == f.Note {
				old.More++
				return
			}
			if n++; first < 0 {
				first = i
			}
		}
	}
	if n >= maxEvidence {
		(*fs)[first].More++
		return
	}
	*fs = append(*fs, f)
}

func (fs findings) known() bool {
	for i := range fs {
		if fs[i].known() {
			return true
		}
	}
	return false
}
