//go:build itest

package clock

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is a first process as a runner makes it: the first of a namespace, of a
// user who may do nothing.
func nobody(d duty) duty {
	d.attributes = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID,
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{}},
	}
	return d
}

// compile builds testdata/threads.c with the given options.
func compile(t *testing.T, options ...string) string {
	t.Helper()
	file := filepath.Join(scratch, "threads"+strings.Join(options, ""))
	out, err := exec.Command("gcc", append([]string{"-O2", "-pthread", "-o", file, "testdata/threads.c"}, options...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return file
}

func TestOtherLanguages(t *testing.T) {
	for name, argv := range map[string][]string{
		"static busybox": {"busybox", "date", "+%s"},
		"busybox shell":  {"busybox", "sh", "-c", "busybox date +%s"},
		"perl":           {"perl", "-e", `print time, "\n"`},
		"make":           {"make", "-s", "-f", "/dev/null", "--eval", "all:;@date +%s", "all"},
		"unshared":       {"setsid", "-w", "date", "+%s"},
	} {
		t.Run(name, func(t *testing.T) {
			if o, log := carryOut(t, nobody(shown(60, argv...))); o.Code != 0 || number(t, log) != start2040 {
				t.Errorf("%+v: %q", o, log)
			}
		})
	}
}

func TestLibc(t *testing.T) {
	for _, options := range [][]string{nil, {"-static"}} {
		file := compile(t, options...)
		for mode, want := range map[string]string{"": "0\n", "wait": "0\n", "exec": "2208988800\n"} {
			for _, step := range []int64{0, 60} {
				d := nobody(shown(step, file))
				if mode != "" {
					d.Command.Argv = append(d.Command.Argv, mode)
				}
				o, got := carryOut(t, d)
				if step == 0 && mode == "exec" {
					got = got[:len(got)-2] + "0\n" // a second may have begun
				}
				if o.Code != 0 || o.Signal != 0 || got != want {
					t.Errorf("%v %q with step %d: %+v %q, want %q", options, mode, step, o, got, want)
				}
			}
		}
	}
}

// What each language and libc, and no libc, asks of a file's times.
func TestTimesOfFilesInOtherLanguages(t *testing.T) {
	const start = "2208988800"
	file := compile(t, "-static")
	dir, err := os.MkdirTemp(scratch, "times-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ script, want string }{
		"python":    {`python3 -c 'import os; open("p", "w").close(); s = os.stat("p"); print(s.st_mtime_ns, s.st_ctime_ns, int(os.path.getmtime("p")), os.fstat(0).st_mtime < 3e9, next(e for e in os.scandir(".") if e.name == "p").stat().st_mtime_ns)'`, start + "000000000 " + start + "000000000 " + start + " True " + start + "000000000\n"},
		"busybox":   {"busybox touch b; busybox stat -c '%X %Y %Z' b; busybox find b -mmin -1; busybox tar cf - b | busybox tar tvf - | awk '{print $4}'", start + " " + start + " " + start + "\nb\n2040-01-01\n"},
		"static C":  {file + " stat s", "0\n"},
		"dynamic C": {compile(t) + " stat d", "0\n"},
		"make":      {"printf 'a:\n\ttouch a\nb: a\n\ttouch b\n' > m; make -s -f m b; make -f m b", "make: 'b' is up to date.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := nobody(shown(3600, "sh", "-c", c.script))
			d.Dir = dir
			if o, got := carryOut(t, d); o.Code != 0 || got != c.want {
				t.Errorf("%+v: %q, want %q", o, got, c.want)
			}
		})
	}
}

// Whatever the command leaves ends when the first process does.
func TestNamespaceEndsDaemons(t *testing.T) {
	file := filepath.Join(scratch, "beats")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	d := nobody(shown(0, "sh", "-c", "setsid sh -c 'exec >/dev/null 2>&1; while :; do date +%s >> "+file+"; sleep 0.05; done' & sleep 0.5; echo $PPID"))
	if o, log := carryOut(t, d); o.Code != 0 || log != "1\n" {
		t.Fatal(o, log)
	}
	before, err := os.ReadFile(file)
	if err != nil || len(before) == 0 {
		t.Fatalf("%d beats, %v", len(before), err)
	}
	time.Sleep(300 * time.Millisecond)
	if after, err := os.ReadFile(file); err != nil || len(after) != len(before) {
		t.Errorf("%d bytes became %d, %v", len(before), len(after), err)
	}
}

// The program that is to be PID 1 may lie outside of its root, like a runner's, and
// the process files may be on a mount that lets nothing be executed.
func TestLauncherOutOfSight(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"proc", "bin"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	d := shown(60, "date", "+%s")
	d.Command.Program, d.Root = "/bin/busybox", root
	d.attributes = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if o, log := carryOut(t, d); o.Code != 0 || log != "2208988800\n" {
		t.Errorf("%+v %q", o, log)
	}
}

// Nobody may look into a program that may be executed but not read. It keeps the
// machine's clock; what it starts does not.
func TestUnreadableProgram(t *testing.T) {
	for name, outer := range map[string][]unix.SockFilter{"calls": nil, "files": refusing(unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV)} {
		busybox, err := os.ReadFile("/usr/bin/busybox")
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(scratch, "unreadable-"+name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "busybox")
		if err := os.WriteFile(file, busybox, 0o711); err != nil {
			t.Fatal(err)
		}
		d := nobody(shown(60, file, "sh", "-c", "/usr/bin/busybox date +%s; "+file+" date +%s"))
		d.Outer = outer
		if outer != nil { // by the /proc that these tests have
			d.attributes.Cloneflags = 0
		}
		o, log := carryOut(t, d)
		if f := strings.Fields(log); o.Code != 0 || len(f) != 2 || f[0] != "2208988800" || number(t, f[1]) >= start2040 {
			t.Errorf("%s: %+v %q", name, o, log)
		}
		d = nobody(shown(60, build(t, runtime.GOARCH), "undumpable"))
		d.Outer = outer
		if outer != nil { // by the /proc that these tests have
			d.attributes.Cloneflags = 0
		}
		if o, got := carryOut(t, d); o.Code != 0 || got != "true true\n" {
			t.Errorf("%s: %+v %q", name, o, got)
		}
	}
}
