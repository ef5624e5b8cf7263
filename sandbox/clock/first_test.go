package clock

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests play PID 1 in a process of their own: this binary, started with what
// it is to do in this variable. It drops what a sandbox's first process drops.
const firstVariable = "CLOCK_TEST_FIRST"

// duty is what a first process is to do.
type duty struct {
	Setting Setting
	Command Command
	Plain   bool // without a clock: what the same costs, or does, otherwise
	Umask   int
	Dir     string
	Root    string // becomes the root, with a /proc of its own
	Linger  bool   // after the command, reap until no descendant is left
	// Outer is a filter on the first process itself, as an engine installs.
	Outer []unix.SockFilter

	attributes *syscall.SysProcAttr // of the first process
}

// outcome is what it tells.
type outcome struct {
	Setup        string
	Errno        int
	Code, Signal int
	Nanos        int64
	Left         int // descendants that ended after the command, or that a failed start left
}

func TestMain(m *testing.M) {
	if IsRole() {
		Main()
	}
	if os.Getenv(firstVariable) != "" {
		playFirst()
	}
	os.Exit(run(m))
}

// scratch is for what the tests share; any user may read it.
var scratch string

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "clock-"); err == nil {
		err = os.Chmod(scratch, 0o755)
	}
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

func playFirst() {
	var d duty
	result := outcome{}
	if err := json.Unmarshal([]byte(os.Getenv(firstVariable)), &d); err != nil {
		result.Setup = err.Error()
	} else if result, err = d.do(); err != nil {
		result.Setup = err.Error()
	}
	text, err := json.Marshal(result)
	if err != nil {
		os.Exit(3)
	}
	if _, err := unix.Write(3, text); err != nil {
		os.Exit(4)
	}
	os.Exit(0)
}

func (d duty) do() (outcome, error) {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return outcome{}, err
	}
	for _, option := range [][2]int{{unix.PR_SET_DUMPABLE, 0}, {unix.PR_SET_NO_NEW_PRIVS, 1}, {unix.PR_SET_CHILD_SUBREAPER, 1}} {
		if err := unix.Prctl(option[0], uintptr(option[1]), 0, 0, 0); err != nil {
			return outcome{}, err
		}
	}
	unix.Umask(d.Umask)
	if d.Dir != "" {
		if err := os.Chdir(d.Dir); err != nil {
			return outcome{}, err
		}
	}
	if d.Root != "" {
		if err := enter(d.Root); err != nil {
			return outcome{}, err
		}
	}
	if len(d.Outer) > 0 {
		if _, errno := installFilter(d.Outer, unix.SECCOMP_FILTER_FLAG_TSYNC); errno != 0 {
			return outcome{}, errno
		}
	}
	began := time.Now()
	if d.Plain {
		pid, err := syscall.ForkExec(d.Command.Program, d.Command.Argv, &syscall.ProcAttr{Env: d.Command.Env, Files: d.Command.Files[:], Sys: &syscall.SysProcAttr{Setsid: true}})
		if err != nil {
			return outcome{}, err
		}
		for {
			var status syscall.WaitStatus
			got, err := syscall.Wait4(-1, &status, 0, nil)
			if err != nil && err != syscall.EINTR {
				return outcome{}, err
			}
			if got == pid {
				return ended(status, began), nil
			}
		}
	}
	tree, err := Start(d.Setting, d.Command)
	var errno syscall.Errno
	if setup := (*SetupError)(nil); err != nil && !errors.As(err, &setup) && errors.As(err, &errno) {
		return outcome{Errno: int(errno)}, nil
	}
	if err != nil {
		left := 0
		if _, none := syscall.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil); none != unix.ECHILD {
			left = 1
		}
		return outcome{Left: left}, err
	}
	status, err := tree.Wait()
	if err != nil {
		return outcome{}, err
	}
	result := ended(status, began)
	for d.Linger {
		pid, _, err := tree.next()
		if err != nil { // no child is left
			break
		}
		if pid != 0 {
			result.Left++
		}
	}
	return result, nil
}

// enter makes dir the root, as a runner's first process does, and gives up root's user.
func enter(dir string) error {
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount(dir, dir, "", unix.MS_BIND, "") },
		func() error { return os.Chdir(dir) },
		func() error {
			return unix.Mount("proc", "proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		},
		func() error { return unix.PivotRoot(".", ".") },
		func() error { return unix.Unmount(".", unix.MNT_DETACH) },
		func() error { return os.Chdir("/") },
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setgid(65534) },
		func() error { return syscall.Setuid(65534) },
		// Which a change of user undoes.
		func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func ended(status syscall.WaitStatus, began time.Time) outcome {
	r := outcome{Code: status.ExitStatus(), Nanos: int64(time.Since(began))}
	if status.Signaled() {
		r.Code, r.Signal = 0, int(status.Signal())
	}
	return r
}

// carryOut has a first process do d, and returns how that went with what the
// command wrote.
func carryOut(t testing.TB, d duty) (outcome, string) {
	t.Helper()
	o, log := attempt(t, d)
	if o.Setup != "" {
		t.Fatalf("the first process failed: %s; %s", o.Setup, log)
	}
	return o, log
}

// attempt is carryOut of what may fail.
func attempt(t testing.TB, d duty) (outcome, string) {
	t.Helper()
	if d.Command.Files == [3]uintptr{} {
		d.Command.Files = [3]uintptr{0, 1, 2}
	}
	if d.Umask == 0 {
		d.Umask = 0o022
	}
	if d.Command.Env == nil {
		d.Command.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"}
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	told, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	var log bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), firstVariable+"="+string(text))
	cmd.SysProcAttr = d.attributes
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &log, &log, []*os.File{tell}
	// What a left descendant keeps open must not keep the test.
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Start()
	tell.Close()
	if err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() }) // its tracees end with it
	err = cmd.Wait()
	watchdog.Stop()
	if err != nil {
		t.Fatalf("the first process: %v; %s", err, log.String())
	}
	var o outcome
	if err := json.NewDecoder(told).Decode(&o); err != nil {
		t.Fatalf("what the first process told: %v; %s", err, log.String())
	}
	return o, log.String()
}

// start2040 is a whole minute that no machine shows.
const start2040 = 2208988800

// strict stands for a sandbox's own filter.
func strict() []unix.SockFilter {
	return refusing(unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_SETPRIORITY)
}

// refusing is a filter that answers EPERM to some calls.
func refusing(calls ...uint32) []unix.SockFilter {
	var p program
	p.load(offsetCall)
	for _, call := range calls {
		p.ifEqual(call, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
	}
	p.answer(unix.SECCOMP_RET_ALLOW)
	return p
}

// shown is a duty with the clock at start2040 and the strict filter.
func shown(step int64, argv ...string) duty {
	program := argv[0]
	if found, err := exec.LookPath(program); err == nil {
		program = found
	}
	return duty{Setting: Setting{start2040, step}, Command: Command{Program: program, Argv: argv, Filter: strict()}}
}

// shell runs a script under that clock and wants exit code 0.
func shell(t testing.TB, step int64, script string) string {
	t.Helper()
	o, log := carryOut(t, shown(step, "sh", "-c", script))
	if o.Code != 0 || o.Signal != 0 {
		t.Fatalf("ended with %+v: %s", o, log)
	}
	return log
}
