//go:build itest

package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/probe/world"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(weakMode); mode != "" {
		weakChild(mode)
	}
	if err := Expose(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(onThrowawayMachine(m))
}

// onThrowawayMachine runs the tests among processes, mounts, IPC and names of
// their own: attempts that nothing denies must find a machine that may be lost.
func onThrowawayMachine(m *testing.M) int {
	const inside = "GAVEL_PROBE_MACHINE"
	if os.Getenv(inside) != "" && os.Getpid() == 1 {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			fmt.Fprintln(os.Stderr, "mounting /proc of the throw-away machine:", err)
			return 1
		}
		return m.Run()
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Unshareflags: unix.CLONE_NEWNS, // with it, mounts become private
		Pdeathsig:    syscall.SIGKILL,
	}
	if err := c.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the throw-away machine:", err)
		return 1
	}
	return 0
}

// weakMode is the variable that has this program play the first process of a
// weak "sandbox".
const weakMode = "GAVEL_PROBE_WEAK"

// The ways to be weak.
const (
	bare    = "bare"     // root on the machine, but for mounts and host names of its own
	loose   = "loose"    // root, with processes and network of its own too, and a first process that may be reached
	asUser  = "user"     // on the machine, as the user that builds are
	inPlace = "in place" // bare, in the inputs' originals
	plain   = "plain"    // bare, without mounts of its own, so that links reach the worker's directory
)

// ways are the probes that need another way than bare to succeed, or to do no harm.
var ways = map[string]string{
	"kill-pid1": loose, "stop-pid1": loose, "signal-all": bare, "stop-all": loose, "ptrace-pid1": loose, "read-pid1-memory": loose, "write-pid1-memory": loose, "pidfd-getfd-pid1": loose, "kcmp-pid1": loose,
	"move-pages-pid1": loose, "migrate-pages": loose, "netlink-link": loose, "proc-1-fd": loose, "proc-1-mem": loose, "proc-1-maps": loose,
	"proc-1-environ": loose, "proc-1-cwd": loose, "proc-1-program": loose, "setns-mount": loose, "setns-pid": loose,
	"key-by-hard-link": plain, "output-key-link": plain,
	"setuid-input": asUser, "setgid-input": asUser, "filecap-input": asUser, "setuid-su": asUser, "setuid-passwd": asUser, "setuid-mount": asUser, "setuid-any": asUser,
}

// uncontrolled are the probes that succeed in none of these ways, and why.
var uncontrolled = map[string]string{
	"uid-map-rewrite":       "a namespace's map is written once, by whoever it may be",
	"stop-pid1":             "the kernel never stops the first process of a namespace, and the machine's may not be tried",
	"tiocsti-standard":      "the suite has no terminal; tiocsti-terminal shows the call",
	"input-memory":          "the kernel refuses it to everybody: a shared mapping stays read-only",
	"output-hard-link":      "a copy breaks the link; that one that is kept is told is TestOutputsTame's",
	"output-etc-link":       "what would show is the secret, as for output-key-link; /etc/passwd has none",
	"output-long-path":      "a path longer than a path may be is copied by nobody who goes by names",
	"output-names":          "names do harm only to who reads them; that collecting them ends in an error is what would show",
	"output-work-root-gone": "there is nothing to collect; that this ends in an error is what would show",
	"netlink-audit":         "the audit system answers only among the machine's own processes, from which this test keeps away",
	"ipv6-route":            "not every machine has a route by IPv6",
}

// takes are the capabilities without which even root is denied; in a virtual
// machine or container root may lack them.
var takes = map[string]int{
	"sysctl-user": unix.CAP_SYS_RESOURCE, "oom-score-lower": unix.CAP_SYS_RESOURCE, "rlimit-raise": unix.CAP_SYS_RESOURCE, "prlimit-process": unix.CAP_SYS_RESOURCE,
}

// lacks says whether this process lacks a capability.
func lacks(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now [2]unix.CapUserData
	return unix.Capget(&header, &now[0]) != nil || now[capability/32].Effective&(1<<(capability%32)) == 0
}

// weak is a sandbox.Runner that denies as little as it may without harm.
type weak struct{ dir string }

func (w weak) Roots(context.Context) ([]string, error) { return []string{sandbox.HostRoot}, nil }
func (w weak) Close() error                            { return nil }
func (w weak) Describe() sandbox.Description {
	return sandbox.Description{Name: "weak", InputUID: sandbox.UID, InputGID: sandbox.UID}
}

// weakPatience is how long a command runs that would not end.
const weakPatience = 45 * time.Second

func (w weak) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	name := s.Argv[1]
	mode := ways[name]
	if mode == "" {
		mode = bare
	}
	if strings.HasPrefix(name, "input-") {
		mode = inPlace
	}
	work := s.InputDir
	if mode != inPlace {
		var err error
		if work, err = os.MkdirTemp(w.dir, "work-"); err != nil {
			return sandbox.Result{}, err
		}
		defer os.RemoveAll(work)
		if out, err := exec.Command("cp", "-a", s.InputDir+"/.", work).CombinedOutput(); err != nil {
			return sandbox.Result{}, fmt.Errorf("copying inputs: %w: %s", err, out)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, weakPatience)
	defer cancel()
	c := exec.CommandContext(ctx, "/proc/self/exe")
	c.Args = s.Argv
	c.Env = append(os.Environ(), weakMode+"="+mode)
	c.Dir, c.Stdout, c.Stderr = work, s.Log, s.Log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS}
	switch mode {
	case loose:
		c.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC
	case asUser:
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: sandbox.UID, Gid: sandbox.UID}}
	}
	var err error
	if stdin, openErr := os.Open(w.dir); openErr == nil { // a descriptor that leads somewhere
		c.Stdin = stdin
		defer stdin.Close()
	}
	err = c.Run()
	for _, o := range s.Outputs {
		copying := exec.Command("cp", "-a", "--parents", o, s.OutputDir)
		copying.Dir = work
		_ = copying.Run() // what is not there is not copied
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return sandbox.Result{}, err
	}
	if code := c.ProcessState.ExitCode(); mode == loose && !slices.Contains([]int{world.Succeeded, world.Denied, world.Absent}, code) {
		return sandbox.Result{}, errors.New("the first process is gone")
	}
	return sandbox.Result{Status: sandbox.Exited, ExitCode: max(0, c.ProcessState.ExitCode())}, nil
}

// weakChild prepares mounts for attempts on them, then becomes the attempt, or
// its parent where that is to be the first process.
func weakChild(mode string) {
	err := os.Unsetenv(weakMode)
	if mode == bare || mode == loose {
		err = errors.Join(err, weakMounts(mode == loose))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing:", err)
		os.Exit(3)
	}
	if mode != loose {
		fmt.Fprintln(os.Stderr, unix.Exec(os.Args[0], os.Args, os.Environ()))
		os.Exit(3)
	}
	c := exec.Command(os.Args[0], os.Args[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	_ = c.Run() // its exit code says how it went
	os.Exit(c.ProcessState.ExitCode())
}

// weakMounts mounts the working directory on itself, without what nosuid and
// nodev deny, and something read-only beside it.
func weakMounts(proc bool) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if proc {
		err = unix.Mount("proc", "/proc", "proc", 0, "")
	}
	return errors.Join(err,
		unix.Mount(dir, dir, "", unix.MS_BIND, ""),
		unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""),
		unix.Mount("tmpfs", "/mnt", "tmpfs", unix.MS_RDONLY, ""),
		os.Chdir(dir),
	)
}

// Every probe can fail a sandbox: where nothing denies it, it succeeds, and by
// its own means, not because something else was noticed.
func TestEveryProbeCanSucceed(t *testing.T) {
	dir := t.TempDir()
	// Other users must get in; the machine's own directory of temporary files lets them.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4g,mode=755,nr_inodes=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // the directory goes with the test
	program, err := Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	worker, runs := filepath.Join(dir, "worker"), filepath.Join(dir, "runs")
	if err := errors.Join(os.Mkdir(worker, 0o755), os.Mkdir(runs, 0o755)); err != nil {
		t.Fatal(err)
	}
	planted, err := Plant(worker)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := planted.Remove(); err != nil {
			t.Error(err)
		}
	}()
	report, err := Run(t.Context(), weak{dir}, Options{Name: "weak", Root: sandbox.HostRoot, Program: program, Planted: planted, Dir: runs,
		Only: func(p Probe) bool {
			_, no := uncontrolled[p.Name]
			return !no
		}})
	if err != nil {
		t.Fatal(err)
	}
	succeeded := 0
	for _, o := range report.Outcomes {
		switch {
		case o.Verdict == Impossible:
			t.Logf("not possible here: %s: %s", o.Probe, o.Why)
		case o.Verdict == Denied && takes[o.Probe] != 0 && lacks(takes[o.Probe]):
			t.Logf("not shown here: %s: this root lacks capability %d", o.Probe, takes[o.Probe])
		case o.Verdict != Succeeded:
			t.Errorf("%s %s where nothing denies it: %s", o.Probe, o.Verdict, o.Why)
		case !slices.Contains([]Category{Processes, Writes, Outputs, Exhaustion, Orphans}, o.Category) && noticed(o.Why):
			t.Errorf("%s did not succeed itself: %s", o.Probe, o.Why)
		default:
			succeeded++
		}
	}
	t.Logf("%d probes succeed where nothing denies them; %d cannot be shown to, each for its reason", succeeded, len(uncontrolled))
}

// noticed says whether a success is one of those that are judged for every probe.
func noticed(why string) bool {
	return slices.ContainsFunc([]string{"outlive the run", "of the machine was ended", "originals are changed", "the run took", "output \"", "bytes of log"},
		func(part string) bool { return strings.Contains(why, part) })
}

// Nothing is in the table that is no probe.
func TestUncontrolledProbesExist(t *testing.T) {
	known := map[string]bool{}
	for _, p := range Probes() {
		known[p.Name] = true
	}
	for name, why := range uncontrolled {
		if !known[name] || why == "" {
			t.Errorf("%q is no probe, or there is no reason", name)
		}
	}
	for _, named := range []map[string]bool{keys(ways), keys(takes)} {
		for name := range named {
			if !known[name] {
				t.Errorf("%q is no probe", name)
			}
		}
	}
}

func keys[V any](m map[string]V) map[string]bool {
	found := map[string]bool{}
	for k := range m {
		found[k] = true
	}
	return found
}
