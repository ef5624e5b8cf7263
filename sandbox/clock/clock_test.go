package clock

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// number is the only word of a log.
func number(t *testing.T, log string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(log), 10, 64)
	if err != nil {
		t.Fatalf("%q is no number", log)
	}
	return n
}

// built holds testdata/program, once for each architecture.
var built sync.Map

func build(t testing.TB, arch string) string {
	t.Helper()
	once, _ := built.LoadOrStore(arch, sync.OnceValues(func() (string, error) {
		file := filepath.Join(scratch, "program-"+arch)
		cmd := exec.Command("go", "build", "-o", file, "./testdata/program")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
		out, err := cmd.CombinedOutput()
		if err != nil {
			os.Stderr.Write(out)
		}
		return file, err
	}))
	file, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestShownTime(t *testing.T) {
	asker := build(t, runtime.GOARCH)
	for name, argv := range map[string][]string{
		"dynamic":           {"date", "+%s"},
		"by a shell":        {"sh", "-c", "date +%s"},
		"by a shell's fork": {"sh", "-c", "(date +%s) | cat"},
		"go":                {asker, "now"},
		"thread that execs": {asker, "thread-exec"},
		"environment":       {"env", "-i", "PATH=/usr/bin:/bin", "date", "+%s"},
		"many variables":    {"sh", "-c", "export A=$(seq 20000); for i in $(seq 400); do export V$i=$i; done; date +%s"},
		"many arguments":    {"sh", "-c", `exec sh -c 'date +%s' $(seq 20000)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, log := carryOut(t, shown(60, argv...))
			if o.Code != 0 || o.Signal != 0 || number(t, log) != start2040 {
				t.Errorf("%+v: %q, want %d", o, log, start2040)
			}
		})
	}
}

// Each start shows the same, and then as much more as has passed.
func TestPassingTime(t *testing.T) {
	if got := number(t, shell(t, 0, "date +%s")); got < start2040 || got > start2040+2 {
		t.Errorf("at the start %d", got)
	}
	log := strings.Fields(shell(t, 0, "date +%s.%N; sleep 1; date +%s.%N"))
	if len(log) != 2 {
		t.Fatal(log)
	}
	var at [2]float64
	for i, text := range log {
		var err error
		if at[i], err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatal(err)
		}
	}
	if passed := at[1] - at[0]; passed < 1 || passed > 10 {
		t.Errorf("%f seconds passed in one", passed)
	}
}

func TestSteppingTime(t *testing.T) {
	for step, want := range map[int64]string{
		60: "2208988800\n2208988800\n2208988800.000000000\n",
		0:  "",
	} {
		got := shell(t, step, "date +%s; sleep 1.1; date +%s; date +%s.%N")
		if step == 0 && strings.Fields(got)[0] == strings.Fields(got)[1] || step != 0 && got != want {
			t.Errorf("with step %d: %q", step, got)
		}
	}
	// A step of two seconds is over after two.
	if got := strings.Fields(shell(t, 2, "date +%s; sleep 2.1; date +%s")); (number(t, got[1])-start2040)%2 != 0 || number(t, got[1]) < start2040+2 {
		t.Errorf("with step 2: %q", got)
	}
}

func TestMeasuringStaysReal(t *testing.T) {
	for step, want := range map[int64]string{0: "true true false\n", 60: "true false true\n"} {
		if _, got := carryOut(t, shown(step, build(t, runtime.GOARCH), "measure")); got != want {
			t.Errorf("with step %d: %q, want %q", step, got, want)
		}
	}
}

// What lies on the file system is the machine's, whatever programs read of it.
func TestFilesKeepRealTimes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	before := time.Now()
	shell(t, 0, "echo > "+file)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if age := info.ModTime().Sub(before); age < -time.Second || age > time.Minute {
		t.Errorf("written at %v, %v after the start", info.ModTime(), age)
	}
}

func TestEnds(t *testing.T) {
	for script, want := range map[string]outcome{
		"exit 0":                           {},
		"exit 7":                           {Code: 7},
		"exit 255":                         {Code: 255},
		"kill -TERM $$":                    {Signal: int(unix.SIGTERM)},
		"kill -KILL $$":                    {Signal: int(unix.SIGKILL)},
		"kill -SEGV $$":                    {Signal: int(unix.SIGSEGV)},
		"trap 'exit 5' TERM; kill $$":      {Code: 5},
		"trap '' TERM; kill $$; exit 6":    {Code: 6},
		"(kill -KILL $$); sleep 100":       {Signal: int(unix.SIGKILL)},
		"sh -c 'kill -TERM $$'; exit $?":   {Code: 128 + int(unix.SIGTERM)},
		"sh -c 'exit 3'; exit $?":          {Code: 3},
		"sleep 100 & kill $!; wait $!":     {Code: 128 + int(unix.SIGTERM)},
		"exec sh -c 'exec sh -c exit\\ 9'": {Code: 9},
		"kill -TRAP $$":                    {Signal: int(unix.SIGTRAP)},
		"trap 'exit 4' TRAP; kill -TRAP 0": {Code: 4},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			o, log := carryOut(t, shown(0, "sh", "-c", script))
			o.Nanos = 0
			if o != want {
				t.Errorf("%+v, want %+v: %s", o, want, log)
			}
		})
	}
}

func TestUnexecutable(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]unix.Errno{"/no/such": unix.ENOENT, plain: unix.EACCES, garbage: unix.ENOEXEC, "/": unix.EACCES} {
		if o, log := carryOut(t, shown(0, file)); unix.Errno(o.Errno) != want || log != "" {
			t.Errorf("%s: %+v %q, want %v", file, o, log, want)
		}
	}
	long := shown(0, "true", strings.Repeat("x", 200<<10))
	// Through the shell that makes it, as it is too long for this test's own environment too.
	long.Command.Argv = []string{"sh", "-c", `x=$(head -c 200000 /dev/zero | tr '\0' x); exec true "$x"`}
	long.Command.Program = "/bin/sh"
	if o, _ := carryOut(t, long); o.Code != 126 && o.Code != 2 {
		t.Errorf("an argument too long: %+v", o)
	}
}

// The command inherits what it would from a plain fork and exec.
func TestSurroundings(t *testing.T) {
	const script = `umask; pwd; ls -l /proc/self/fd | sed 's/.* \([0-9]* -> \).*/\1/' | wc -l; ulimit -n; ulimit -s; ulimit -c
		cut -d' ' -f5,7,8 /proc/self/stat; ps -o stat= -p $$ 2>/dev/null | tr -d '+t'
		grep -E '^(SigBlk|SigIgn|SigCgt|NoNewPrivs|CapEff|Cpus_allowed)' /proc/self/status; tr '\0' '\n' < /proc/self/environ; echo "$0 $*"`
	var logs [2]string
	for i := range logs {
		d := shown(0, "sh", "-c", script, "zero", "a b", "")
		d.Command.Env = []string{"PATH=/usr/bin:/bin", "TWICE=1", "TWICE=2", "GOMAXPROCS=3", "ODD", "GODEBUG=x=y"}
		d.Dir, d.Umask, d.Plain = "/usr", 0o027, i == 1
		var o outcome
		if o, logs[i] = carryOut(t, d); o.Code != 0 {
			t.Fatal(o, logs[i])
		}
		// The session and its group are the command's own number.
		lines := strings.Split(logs[i], "\n")
		for n, l := range lines {
			if f := strings.Fields(l); len(f) == 3 && f[0] == strings.TrimSpace(f[0]) && f[1] == "0" && f[2] == "-1" {
				lines[n] = "group"
			}
		}
		logs[i] = strings.Join(lines, "\n")
	}
	if logs[0] != logs[1] || !strings.Contains(logs[0], "zero a b ") || !strings.Contains(logs[0], "TWICE=1\nTWICE=2\n") {
		t.Errorf("with a clock:\n%s\nwithout:\n%s", logs[0], logs[1])
	}
}

func TestSession(t *testing.T) {
	got := shell(t, 0, `read -r pid comm state ppid group session rest < /proc/self/stat; test $pid = $group && test $pid = $session && echo leader
		setsid sh -c 'read -r pid comm state ppid group session rest < /proc/self/stat; test $pid = $session && echo another'`)
	if got != "leader\nanother\n" {
		t.Errorf("%q", got)
	}
}

func TestJobControl(t *testing.T) {
	// The child counts while it is not stopped.
	d := shown(0, "sh", "-c", `sh -c 'while echo x >> count; do sleep 0.02; done' & child=$!
		while ! test -s count; do kill -0 $child || exit 1; sleep 0.02; done
		kill -STOP $child; sleep 0.2; a=$(wc -l < count); sleep 0.3; b=$(wc -l < count)
		kill -CONT $child; sleep 0.5; c=$(wc -l < count)
		test $a = $b && echo stands; test $c -gt $b && echo goes on
		kill $child; wait $child 2>/dev/null; echo $?`)
	d.Dir = t.TempDir()
	_, got := carryOut(t, d)
	if got != "stands\ngoes on\n143\n" {
		t.Errorf("%q", got)
	}
}

// A stopped child is seen by its parent, and can be killed as it is.
func TestStoppedChild(t *testing.T) {
	perl := `use POSIX ":sys_wait_h"; $| = 1;
		$p = fork; if (!$p) { kill "STOP", $$; exit 9 }
		waitpid $p, WUNTRACED; print WIFSTOPPED(${^CHILD_ERROR_NATIVE}) ? "stopped\n" : "no\n";
		kill "CONT", $p; waitpid $p, 0; print $? >> 8, "\n";
		$p = fork; if (!$p) { kill "STOP", $$; exit 9 }
		waitpid $p, WUNTRACED; kill "KILL", $p; waitpid $p, 0; print $? & 127, "\n"; print time, "\n"`
	o, got := carryOut(t, shown(60, "perl", "-e", perl))
	if o.Code != 0 || got != "stopped\n9\n9\n2208988800\n" {
		t.Errorf("%+v %q", o, got)
	}
}

func TestOrphans(t *testing.T) {
	d := shown(0, "sh", "-c", "(sh -c 'sleep 0.3; exit 4' &) ; (sleep 0.2 &); exit 0")
	d.Linger = true
	if o, log := carryOut(t, d); o.Code != 0 || o.Left != 3 {
		t.Errorf("%+v %s, want three that ended later", o, log)
	}
}

// What the command leaves ends with the first process.
func TestDaemonEndsWithTheFirstProcess(t *testing.T) {
	o, log := carryOut(t, shown(0, "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"))
	if o.Code != 0 {
		t.Fatal(o, log)
	}
	pid := int(number(t, log))
	for range 500 {
		if unix.Kill(pid, 0) == unix.ESRCH {
			return
		}
		if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(text), ") Z ") {
			return // dead; whoever it was left to is slow to collect it
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d still runs", pid)
	_ = unix.Kill(pid, unix.SIGKILL)
}

func TestIgnoredChildren(t *testing.T) {
	got := shell(t, 60, `perl -e '$SIG{CHLD} = "IGNORE"; for (1..20) { fork or exit 1 } $n = wait; print "$n ", $!{ECHILD} ? "none" : "some", "\n"'; date +%s`)
	if got != "-1 none\n2208988800\n" {
		t.Errorf("%q", got)
	}
}

func TestThousandExecs(t *testing.T) {
	if o, got := carryOut(t, shown(0, build(t, runtime.GOARCH), "execs")); o.Code != 0 || got != "1000\n" {
		t.Errorf("%+v %q", o, got)
	}
}

func TestFlood(t *testing.T) {
	d := shown(0, "sh", "-c", "for i in $(seq 64); do $0 flood & done; wait", build(t, runtime.GOARCH))
	if o, got := carryOut(t, d); o.Code != 0 || got != strings.Repeat("good\n", 64) {
		t.Errorf("%+v %q", o, got)
	}
}

// A caller may be killed at any moment of its question.
func TestDyingCallers(t *testing.T) {
	d := shown(60, "sh", "-c", "for i in $(seq 40); do timeout -s KILL 0.0$((i % 10)) $0 flood >/dev/null 2>&1 & done; wait; date +%s", build(t, runtime.GOARCH))
	if o, got := carryOut(t, d); o.Code != 0 || got != "2208988800\n" {
		t.Errorf("%+v %q", o, got)
	}
}

func TestTracingIsRefused(t *testing.T) {
	d := shown(0, build(t, runtime.GOARCH), "trace")
	for _, filter := range [][]unix.SockFilter{d.Command.Filter, nil} {
		d.Command.Filter = filter
		if o, got := carryOut(t, d); o.Code != 0 || got != "true\n" {
			t.Errorf("with a filter of %d: %+v %q", len(filter), o, got)
		}
	}
}

// The filter of the caller holds for the command.
func TestFilterHolds(t *testing.T) {
	d := shown(0, "sh", "-c", "grep ^Seccomp /proc/self/status | tr '\\n\\t' '  '; nice -n 1 true 2>&1")
	if o, got := carryOut(t, d); !strings.Contains(got, "Seccomp_filters: 2") || !strings.Contains(got, "cannot set niceness") {
		t.Errorf("%+v %q", o, got)
	}
}

// A process that nobody may look into keeps the machine's clock, and works.
func TestUndumpable(t *testing.T) {
	want := "true true\n"
	if os.Geteuid() == 0 { // who may look into any
		want = "true false\n"
	}
	if _, got := carryOut(t, shown(60, build(t, runtime.GOARCH), "undumpable")); got != want {
		t.Errorf("%q", got)
	}
}

func TestStartFailures(t *testing.T) {
	for name, change := range map[string]func(*Command){
		"no command":  func(c *Command) { c.Argv = nil },
		"descriptors": func(c *Command) { c.Files[2] = 1 << 20 },
		"no launcher": func(c *Command) { c.Launcher = "/no/such/launcher" },
		"no role":     func(c *Command) { c.Launcher = "/bin/true" },
		"bad filter":  func(c *Command) { c.Filter = c.Filter[:1] },
	} {
		d := shown(0, "echo", "ran")
		d.Command.Files = [3]uintptr{0, 1, 2}
		change(&d.Command)
		if o, log := attempt(t, d); !strings.HasPrefix(o.Setup, "setting the clock: ") || o.Left != 0 || log != "" {
			t.Errorf("%s: %+v %q", name, o, log)
		}
	}
}

// An engine's filter may refuse the quick way to the memory of others.
func TestMemoryByFiles(t *testing.T) {
	d := shown(60, "sh", "-c", "date +%s; $0 now; $0 flood; $0 measure", build(t, runtime.GOARCH))
	d.Outer = refusing(unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV)
	if o, got := carryOut(t, d); o.Code != 0 || got != "2208988800\n2208988800\ngood\ntrue false true\n" {
		t.Errorf("%+v %q", o, got)
	}
}

// What an outer filter refuses is said, and the command does not run.
func TestRefusedFromOutside(t *testing.T) {
	for name, c := range map[string]struct {
		calls []uint32
		says  string
	}{
		"ptrace": {[]uint32{unix.SYS_PTRACE}, "tracing the command"},
		"filter": {[]uint32{unix.SYS_SECCOMP}, "installing a filter that notifies"},
		"memory": {[]uint32{unix.SYS_PROCESS_VM_READV, unix.SYS_PWRITE64}, "reaching the command's memory"},
	} {
		d := shown(0, "echo", "ran")
		d.Outer = refusing(c.calls...)
		if o, log := attempt(t, d); !strings.Contains(o.Setup, c.says) || !strings.Contains(o.Setup, "not permitted") || log != "" {
			t.Errorf("%s: %+v %q", name, o, log)
		}
	}
}

func TestRawCalls(t *testing.T) {
	const want = `errno 0 bad address bad address bad address bad address invalid argument
2208988800 0
errno 0 2208988800 [0 0] errno 0 bad address
true true true true false false ` + "\n"
	if o, got := carryOut(t, shown(60, build(t, runtime.GOARCH), "raw")); o.Code != 0 || got != want {
		t.Errorf("%+v %q, want %q", o, got, want)
	}
}

func TestWaitingUntil(t *testing.T) {
	for _, step := range []int64{0, 60} {
		if o, got := carryOut(t, shown(step, build(t, runtime.GOARCH), "until")); o.Code != 0 || got != "waited\n" {
			t.Errorf("with step %d: %+v %q", step, o, got)
		}
	}
}
