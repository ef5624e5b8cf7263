package box

import "golang.org/x/sys/unix"

// Kind is what a Report says.
type Kind uint8

// What the spawner and the box report to the runner, over one control socket.
const (
	Spawned      Kind = iota + 1 // by the spawner: the box runs; carries its pidfd
	SpawnFailed                  // by the spawner: Errno says why the box could not be cloned
	Ready                        // by the box: everything is built; carries WorkRoot's directory
	SetupFailed                  // by the box: Text says which step failed, Errno why
	LaunchFailed                 // by the box: the command cannot be executed, Errno says why
	Exited                       // by the box: by itself with Code
	Signaled                     // by the box: by signal Code
	MemoryOver                   // by the box: Plan.PollBytes was exceeded
	Killed                       // by the spawner: the box itself ended by signal Code
)

// Report is one message to the runner. Nanos is how long the command ran.
type Report struct {
	Kind  Kind
	Code  int32
	Errno unix.Errno
	Nanos int64
	Text  string
}

// MaxReportBytes is room for any Report; longer texts are cut by Encode.
const MaxReportBytes = 1024

// Encode writes r.
func (r Report) Encode() []byte {
	var e encoder
	e.u64(uint64(r.Kind))
	e.u64(uint64(int64(r.Code)))
	e.u64(uint64(r.Errno))
	e.u64(uint64(r.Nanos))
	e.str(r.Text[:min(len(r.Text), MaxReportBytes-5*8)])
	return e.b
}

// DecodeReport reads what Encode wrote.
func DecodeReport(b []byte) (Report, error) {
	d := decoder{b: b}
	r := Report{Kind: Kind(d.max(uint64(Killed))), Code: d.i32(), Errno: unix.Errno(d.max(4095)), Nanos: int64(d.u64()), Text: d.str()}
	if d.bad || len(d.b) != 0 || r.Kind == 0 {
		return Report{}, ErrEncoding
	}
	return r, nil
}

// PlanMessage is the body of the runner's one message to a box; beside it travel
// the descriptors of a file with the encoded Plan and of the trees of its steps, in order.
const PlanMessage = "plan"

// Request asks the spawner for a box. Its descriptors travel beside it: control
// socket, log, then the cgroup.procs files to join.
type Request struct {
	Network bool // keep the machine's network
	// UID is the command's user and group inside.
	UID int
	// Ranged maps all users inside to those of the machine from HostBase on, which
	// takes a privileged spawner; else the command's user is the spawner's own, and the only one.
	Ranged bool
}

// requestFDs are the descriptors every request carries.
const requestFDs = 2

// maxExtraFDs bounds what a message may carry beyond those: three cgroup
// hierarchies, or the plan, inputs, root, etc and GOROOT.
const maxExtraFDs = 16

// Encode writes q.
func (q Request) Encode() []byte {
	var e encoder
	e.bool(q.Network)
	e.u64(uint64(q.UID))
	e.bool(q.Ranged)
	return e.b
}

// DecodeRequest reads what Encode wrote.
func DecodeRequest(b []byte) (Request, error) {
	d := decoder{b: b}
	q := Request{Network: d.bool(), UID: int(d.max(Users - 1)), Ranged: d.bool()}
	if d.bad || len(d.b) != 0 {
		return Request{}, ErrEncoding
	}
	return q, nil
}

// send writes one report, with a descriptor when fd is not negative.
func (r Report) send(socket, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	for {
		err := unix.Sendmsg(socket, r.Encode(), rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}
