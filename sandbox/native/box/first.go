package box

import (
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gavel/sandbox/clock"
	"gavel/sandbox/seccomp"
	"gavel/sandbox/signals"

	"gavel/sandbox/cpus"
)

// firstName is what commands see the first process called.
const firstName = ".gavel-init"

// addrNoRandomize is the personality of fixed addresses (linux/personality.h).
const addrNoRandomize = 0x0040000

// setupError is a step that failed, in words for the operator of the worker.
type setupError struct {
	what string
	err  error
}

func (e *setupError) Error() string { return e.what + ": " + e.err.Error() }

// ended is set by whoever reports the end first: the reaper or the memory watch.
var ended atomic.Bool

// runBox is the life of a sandbox's first process. It never returns.
func runBox() {
	plan, trees, err := prepare()
	if err == nil {
		err = enter(plan, trees)
	}
	if err != nil {
		r := Report{Kind: SetupFailed, Text: err.Error()}
		if e, ok := err.(*setupError); ok {
			r.Text = e.what
			r.Errno, _ = e.err.(unix.Errno)
		}
		exit(r)
	}
	if len(plan.Argv) == 0 {
		exit(Report{Kind: Exited})
	}
	if plan.PollBytes > 0 {
		go watchMemory(plan)
	}
	if plan.FixedAddresses {
		// Of this thread, which is the one that forks; programs inherit it.
		if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, addrNoRandomize, 0, 0); errno != 0 {
			exit(Report{Kind: SetupFailed, Text: "fixing addresses", Errno: errno})
		}
	}
	program, err := lookUp(plan.Argv[0], plan.Env)
	if err == nil {
		err = run(plan, program)
	}
	r := Report{Kind: LaunchFailed}
	r.Errno, _ = err.(unix.Errno)
	exit(r)
}

// run starts the command and sees it to its end. It returns where it could not
// be executed.
func run(plan *Plan, program string) error {
	if err := signals.Default(); err != nil {
		exit(Report{Kind: SetupFailed, Text: "forgetting what the worker ignores: " + err.Error()})
	}
	start := time.Now()
	if plan.Clock {
		tree, err := clock.Start(plan.Time, clock.Command{
			Program: program, Argv: plan.Argv, Env: plan.Env, Files: [3]uintptr{0, 1, 2}, Filter: seccomp.Program(),
		})
		if e, ok := err.(*clock.SetupError); ok {
			exit(Report{Kind: SetupFailed, Text: e.Error()})
		}
		if err != nil {
			return err
		}
		st, err := tree.Wait()
		if err != nil {
			exit(Report{Kind: SetupFailed, Text: "waiting for the command: " + err.Error()})
		}
		exitWith(st, start)
	}
	pid, err := syscall.ForkExec(program, plan.Argv, &syscall.ProcAttr{
		Env: plan.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err == nil {
		reap(pid, start)
	}
	return err
}

// exit reports the end and ends this process, whereupon the kernel kills every
// other one in the namespace before the runner can see this one dead.
func exit(r Report) {
	if ended.CompareAndSwap(false, true) {
		_ = r.send(controlFD, -1) // without a runner there is nobody to tell
		unix.Exit(0)
	}
	select {} // the other reporter is about to exit
}

// prepare does what needs no plan, then waits for it. Runners start boxes ahead of
// commands, which then need not wait for a clone.
func prepare() (*Plan, []int, error) {
	if err := closeOnExec(controlFD); err != nil {
		return nil, nil, &setupError{"closing descriptors", err}
	}
	joins := 0
	if len(os.Args) > 1 {
		joins, _ = strconv.Atoi(os.Args[1]) // written by the spawner
	}
	for fd := joinFD; fd < joinFD+joins; fd++ {
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return nil, nil, &setupError{"joining the cgroup", err}
		}
		unix.Close(fd)
	}
	var body [len(PlanMessage) + 1]byte
	rights := make([]byte, unix.CmsgSpace((1+maxExtraFDs)*4))
	for {
		n, rn, _, _, err := unix.Recvmsg(controlFD, body[:], rights, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 { // the runner no longer wants this box
			unix.Exit(0)
		}
		fds := receivedFDs(rights[:rn])
		if string(body[:n]) != PlanMessage || len(fds) == 0 {
			return nil, nil, ErrEncoding
		}
		plan, err := readPlan(fds[0])
		return plan, fds[1:], err
	}
}

func readPlan(fd int) (*Plan, error) {
	f := os.NewFile(uintptr(fd), "plan")
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, &setupError{"reading the plan", err}
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, &setupError{"reading the plan", err}
	}
	return DecodePlan(b)
}

// enter builds the sandbox around this process and takes its privileges away.
func enter(p *Plan, trees []int) error {
	// After joining, so that the command sees its own cgroup as the root of all.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return &setupError{"unsharing the cgroup namespace", err}
	}
	// As in a container, whose first process this is called after.
	name := append([]byte(firstName), 0)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
		return &setupError{"naming this process", err}
	}
	// No other process of this user may look into this one.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return &setupError{"closing this process", err}
	}
	if err := buildRoot(p, trees); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
		return &setupError{"setting the host name", err}
	}
	if p.Loopback {
		if err := raiseLoopback(); err != nil {
			return &setupError{"raising the loopback interface", err}
		}
	}
	unix.Umask(int(p.Umask))
	if len(p.CPUs) > 0 {
		if err := cpus.Bind(p.CPUs); err != nil {
			return &setupError{"binding to CPUs", err}
		}
	}
	if err := setLimits(p); err != nil {
		return err
	}
	work, err := unix.Open(p.WorkRoot, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &setupError{"opening " + p.WorkRoot, err}
	}
	if err := unix.Chdir(p.Dir); err != nil {
		return &setupError{"entering the working directory " + p.Dir, err}
	}
	if err := (Report{Kind: Ready}).send(controlFD, work); err != nil {
		return &setupError{"reporting", err}
	}
	unix.Close(work)
	// With a clock of its own the command gets the filter from its launcher: this
	// process has to trace it.
	return dropPrivileges(!p.Clock)
}

func raiseLoopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(ifr))); errno != 0 {
		return errno
	}
	return nil
}

func setLimits(p *Plan) error {
	for _, l := range p.Limits {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.Resource, &now); err != nil {
			return &setupError{"reading a resource limit", err}
		}
		hard := min(l.Hard, now.Max) // only the machine's root may raise it
		// Through syscall, which then knows not to restore the value it found at start in children.
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: min(l.Soft, hard), Max: hard}); err != nil {
			return &setupError{"setting a resource limit", err}
		}
	}
	return nil
}

// lookUp finds a command as execvp does: a name without slash in PATH, of which
// the last hindrance that is more than absence is reported.
func lookUp(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var search string
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	found := unix.ENOENT
	for dir := range strings.SplitSeq(search, ":") {
		if dir == "" {
			dir = "."
		}
		p := dir + "/" + name
		var st unix.Stat_t
		if unix.Stat(p, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		if unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
		found = unix.EACCES
	}
	return "", found
}

// reap collects every process that ends, as a first process must, until the
// command itself does.
func reap(command int, start time.Time) {
	for {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &st, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			exit(Report{Kind: SetupFailed, Text: "waiting for the command: " + err.Error()})
		}
		if pid != command {
			continue
		}
		exitWith(st, start)
	}
}

// exitWith reports how the command ended.
func exitWith(st syscall.WaitStatus, start time.Time) {
	r := Report{Kind: Exited, Code: int32(st.ExitStatus()), Nanos: int64(time.Since(start))}
	if st.Signaled() {
		r.Kind, r.Code = Signaled, int32(st.Signal())
	}
	exit(r)
}
