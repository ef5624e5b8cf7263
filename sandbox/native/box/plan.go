package box

import (
	"encoding/binary"
	"errors"
	"math"

	"gavel/sandbox/clock"
)

// Op is what a Step does.
type Op uint8

// The steps a box can take, in the order of its Plan, below the new root.
const (
	Directory Op = iota + 1 // make Target and its parents with mode Flags
	File                    // make an empty file Target
	Content                 // make a file Target that holds Options
	Symlink                 // make Target a link to Source
	Tmpfs                   // mount a tmpfs on Target with Options
	Bind                    // show Source of the machine at Target with mount attributes Flags, recursively
	Tree                    // as Bind, from the tree with index FD, or opened from Source when FD is -1
	Overlay                 // show Source, writable, at Target, which is the tmpfs at Options or below it
	Copy                    // as Overlay, by copying; with Flags Reversed in the reverse order
	Proc                    // mount a process file system on Target
	Mask                    // hide Target, if it is there
	Protect                 // make Target read-only, if it is there
	Terminals               // mount a file system of terminals of its own on Target with Options, if the kernel knows any
	Queues                  // mount the message queues on Target, if the kernel knows any
	Alike                   // give the directory Target the mode, time and owner of Source
	Layers                  // show the directories Options, in front, and Source as one at Target, read-only
)

// Reversed is the flag of a Copy that lists every directory in the reverse of its source's order.
const Reversed = 1

// Step is one step of building the file system. Target has no leading slash.
type Step struct {
	Op                      Op
	FD                      int32
	Flags                   uint64
	Source, Target, Options string
}

// Limit is a resource limit: Hard is lowered to what the worker has, and Soft to Hard.
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// Plan is all a box does.
type Plan struct {
	Steps    []Step
	Hostname string
	Loopback bool // bring up lo; false where the network is the machine's
	// Epoch is the modification time of WorkRoot itself, seconds since 1970.
	Epoch    int64
	WorkRoot string   // absolute, its directory is reported to the runner
	Dir      string   // absolute, where the command starts
	Argv     []string // empty: build everything, run nothing
	Env      []string
	Umask    uint32
	// CPUs are the numbers of those that the command is bound to; none for all.
	CPUs []int
	// FixedAddresses turns address randomisation off.
	FixedAddresses bool
	// Clock says that the command sees a time of day of its own, as of Time.
	Clock bool
	Time  clock.Setting
	// Rooted says that there is a root inside, to whom all belongs that is made
	// but the inputs.
	Rooted bool
	Limits []Limit
	// PollBytes is the memory of all processes above which the box ends itself; 0 for never.
	PollBytes uint64
}

// ErrEncoding is wrapped by errors about bytes that no encoder of this package wrote.
var ErrEncoding = errors.New("malformed message between runner and box")

// Encode writes the plan: integers 8 bytes little-endian, lists and strings with their length before them.
func (p *Plan) Encode() []byte {
	e := encoder{}
	e.u64(uint64(len(p.Steps)))
	for _, s := range p.Steps {
		e.u64(uint64(s.Op))
		e.u64(uint64(int64(s.FD)))
		e.u64(s.Flags)
		e.str(s.Source)
		e.str(s.Target)
		e.str(s.Options)
	}
	e.str(p.Hostname)
	e.bool(p.Loopback)
	e.u64(uint64(p.Epoch))
	e.str(p.WorkRoot)
	e.str(p.Dir)
	e.strs(p.Argv)
	e.strs(p.Env)
	e.u64(uint64(p.Umask))
	e.u64(uint64(len(p.CPUs)))
	for _, n := range p.CPUs {
		e.u64(uint64(n))
	}
	e.bool(p.FixedAddresses)
	e.bool(p.Clock)
	e.u64(uint64(p.Time.StartSeconds))
	e.u64(uint64(p.Time.StepSeconds))
	e.bool(p.Rooted)
	e.u64(uint64(len(p.Limits)))
	for _, l := range p.Limits {
		e.u64(uint64(l.Resource))
		e.u64(l.Soft)
		e.u64(l.Hard)
	}
	e.u64(p.PollBytes)
	return e.b
}

// DecodePlan reads what Encode wrote.
func DecodePlan(b []byte) (*Plan, error) {
	d := decoder{b: b}
	p := &Plan{}
	for n := d.count(); n > 0 && !d.bad; n-- {
		p.Steps = append(p.Steps, Step{
			Op: Op(d.max(uint64(Layers))), FD: d.i32(), Flags: d.u64(),
			Source: d.str(), Target: d.str(), Options: d.str(),
		})
	}
	p.Hostname = d.str()
	p.Loopback = d.bool()
	p.Epoch = int64(d.u64())
	p.WorkRoot = d.str()
	p.Dir = d.str()
	p.Argv = d.strs()
	p.Env = d.strs()
	p.Umask = uint32(d.max(0o777))
	for n := d.count(); n > 0 && !d.bad; n-- {
		p.CPUs = append(p.CPUs, int(d.max(math.MaxInt32)))
	}
	p.FixedAddresses = d.bool()
	p.Clock = d.bool()
	p.Time = clock.Setting{StartSeconds: int64(d.u64()), StepSeconds: int64(d.u64())}
	p.Rooted = d.bool()
	for n := d.count(); n > 0 && !d.bad; n-- {
		p.Limits = append(p.Limits, Limit{Resource: int(d.max(math.MaxInt32)), Soft: d.u64(), Hard: d.u64()})
	}
	p.PollBytes = d.u64()
	if d.bad || len(d.b) != 0 {
		return nil, ErrEncoding
	}
	return p, nil
}

type encoder struct{ b []byte }

func (e *encoder) u64(v uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, v) }
func (e *encoder) str(s string) { e.u64(uint64(len(s))); e.b = append(e.b, s...) }
func (e *encoder) bool(v bool) {
	if v {
		e.u64(1)
	} else {
		e.u64(0)
	}
}
func (e *encoder) strs(l []string) {
	e.u64(uint64(len(l)))
	for _, s := range l {
		e.str(s)
	}
}

// decoder reads from the front of b; after the first malformed field everything is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) u64() uint64 {
	if d.bad || len(d.b) < 8 {
		d.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

// max reads a number that is at most m.
func (d *decoder) max(m uint64) uint64 {
	v := d.u64()
	if v > m {
		d.bad = true
		return 0
	}
	return v
}

func (d *decoder) i32() int32 {
	v := int64(d.u64())
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.bad = true
		return 0
	}
	return int32(v)
}

func (d *decoder) bool() bool { return d.max(1) == 1 }

// count reads the length of a list or string, of which each element takes at least a byte.
func (d *decoder) count() int { return int(d.max(uint64(len(d.b)))) }

func (d *decoder) str() string {
	n := d.count()
	if n > len(d.b) {
		d.bad = true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) strs() []string {
	var l []string
	for n := d.count(); n > 0 && !d.bad; n-- {
		l = append(l, d.str())
	}
	return l
}
