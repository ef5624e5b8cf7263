package pid1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// beInit makes the test binary the program under test. It is then no first
// process, but nothing in this package needs to be, except for orphans.
const beInit = "GAVEL_TEST_BE_INIT"

func TestMain(m *testing.M) {
	if os.Getenv(beInit) != "" {
		Main()
	}
	os.Exit(m.Run())
}

// initProcess is a started init with its streams.
type initProcess struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr bytes.Buffer
}

func begin(t *testing.T, order []byte) *initProcess {
	t.Helper()
	p := &initProcess{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), beInit+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.stdin.Write(order); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *initProcess) end(t *testing.T) (Report, string) {
	t.Helper()
	if err := p.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return ParseReport(p.stderr.String()), p.stdout.String()
}

func TestMainEnds(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("words\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "A=1"}
	for name, c := range map[string]struct {
		argv   []string
		code   int
		signal syscall.Signal
		log    string
	}{
		"success":        {[]string{"true"}, 0, 0, ""},
		"failure":        {[]string{"sh", "-c", "exit 7"}, 7, 0, ""},
		"like a signal":  {[]string{"sh", "-c", "exit 137"}, 137, 0, ""},
		"signal":         {[]string{"sh", "-c", "kill -9 $$"}, 0, syscall.SIGKILL, ""},
		"caught here":    {[]string{"sh", "-c", "kill -15 $PPID; kill -1 $PPID; echo on"}, 0, 0, "on\n"},
		"default signal": {[]string{"sh", "-c", "kill -15 $$"}, 0, syscall.SIGTERM, ""},
		"one stream":     {[]string{"sh", "-c", "echo 1; echo 2 >&2; echo 3"}, 0, 0, "1\n2\n3\n"},
		"no input":       {[]string{"cat"}, 0, 0, ""},
		"environment":    {[]string{"env"}, 0, 0, strings.Join(env, "\n") + "\n"},
		"directory":      {[]string{"pwd", "-P"}, 0, 0, dir + "\n"},
		"umask":          {[]string{"sh", "-c", "umask"}, 0, 0, "0022\n"},
		"core": {[]string{"sh", "-c", "ulimit -c; ulimit -s; sed -n 's/^Max locked memory *//p;s/^Max msgqueue size *//p' /proc/self/limits | tr -s ' '"}, 0, 0,
			"0\n8192\n65536 65536 bytes \n819200 819200 bytes \n"},
		"not there":  {[]string{"no-such-command"}, sandbox.ExitNotFound, 0, "gavel: no-such-command: command not found in the sandbox\n"},
		"no program": {[]string{plain}, sandbox.ExitNotExecutable, 0, "gavel: " + plain + ": cannot be executed: permission denied\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := begin(t, AppendOrder(nil, Order{Dir: dir, Argv: c.argv, Env: env, Umask: sandbox.Umask}))
			rep, log := p.end(t)
			if !rep.Started || !rep.Ended || rep.Code != c.code || rep.Signal != int(c.signal) {
				t.Errorf("reported %+v (%q), want code %d signal %d", rep, p.stderr.String(), c.code, c.signal)
			}
			if log != c.log {
				t.Errorf("log %q, want %q", log, c.log)
			}
		})
	}
}

func TestMainSurrounds(t *testing.T) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	first := uint32(0)
	for !may.IsSet(int(first)) {
		first++
	}
	o := Order{
		Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, Umask: 0o027, CPUs: []uint32{first}, FixedAddresses: true,
		Argv: []string{"sh", "-c", "umask; sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status; cat /proc/self/personality"},
	}
	want := fmt.Sprintf("0027\n%d\n00040000\n", first)
	rep, log := begin(t, AppendOrder(nil, o)).end(t)
	if !rep.Ended || rep.Code != 0 || log != want {
		t.Errorf("reported %+v, log %q, want %q", rep, log, want)
	}
}

func TestMainFaults(t *testing.T) {
	for name, c := range map[string]struct {
		order []byte
		says  string
	}{
		"no directory": {AppendOrder(nil, Order{Dir: "/no/such/directory", Argv: []string{"true"}}), "/no/such/directory"},
		"no such CPU":  {AppendOrder(nil, Order{Dir: "/", Argv: []string{"true"}, CPUs: []uint32{maxCPUs - 1}}), "CPUs"},
		"malformed":    {[]byte{0, 0, 0, 0}, "malformed"},
	} {
		rep, _ := begin(t, c.order).end(t)
		if rep.Started || rep.Ended || !strings.Contains(rep.Failure, c.says) {
			t.Errorf("%s: reported %+v, want a failure about %q", name, rep, c.says)
		}
	}
}

// The worker's death closes standard input, and that must end everything.
func TestMainDiesWithItsInput(t *testing.T) {
	p := &initProcess{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), beInit+"=1")
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// This init is no first process, so the kernel does not end its command with
	// it; the test does.
	order := Order{Dir: "/", Argv: []string{"sh", "-c", "echo $$; exec sleep 1000000"}, Env: []string{"PATH=/usr/bin:/bin"}}
	if _, err := p.stdin.Write(AppendOrder(nil, order)); err != nil {
		t.Fatal(err)
	}
	var orphan int
	if _, err := fmt.Fscan(out, &orphan); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(orphan, syscall.SIGKILL)
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	state, err := p.cmd.Process.Wait()
	if err != nil || state.ExitCode() != exitFault {
		t.Errorf("ended with %v, %v", state, err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/tool": 0o644, "b/tool": 0o755, "a/data": 0o644, "a/dir/x": 0o755} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := []string{"X=1", "PATH=/nowhere:" + dir + "/a:" + dir + "/b/tool:" + dir + "/b"}
	for name, want := range map[string]struct {
		file string
		err  error
	}{
		"tool":   {dir + "/b/tool", nil}, // behind one that is no program
		"data":   {"", fs.ErrPermission},
		"dir":    {"", fs.ErrNotExist},
		"absent": {"", fs.ErrNotExist},
		"./x":    {"./x", nil}, // execve says what is wrong with it
		"/y":     {"/y", nil},
	} {
		file, err := lookPath(name, path)
		if file != want.file || !errors.Is(err, want.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, file, err, want.file, want.err)
		}
	}
	if file, err := lookPath("tool", nil); err == nil {
		t.Errorf("found %s without a PATH", file)
	}
	t.Chdir(filepath.Join(dir, "b"))
	if file, err := lookPath("tool", []string{"PATH=:/nowhere"}); file != "./tool" || err != nil {
		t.Errorf("in the empty directory of PATH: %q, %v", file, err)
	}
}

func TestParseOOMKills(t *testing.T) {
	for text, want := range map[string]int64{
		"": -1,
		"low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\n":    3,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 0\n": 0,
		"oom_kill x\n":  -1,
		"oom_kill -4\n": -1,
		"oom_kill 7":    7,
	} {
		if got := parseOOMKills([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
