//go:build itest

package clock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// runsHere says whether the kernel runs a program at all: many are built, or
// started, without what programs of the older architecture need.
func runsHere(t *testing.T, file string) bool {
	t.Helper()
	out, err := exec.Command(file, "now").CombinedOutput()
	if err != nil && !errors.Is(err, syscall.ENOEXEC) {
		t.Fatalf("%s on the machine itself: %v\n%s", file, err, out)
	}
	return err == nil
}

// refuses wants a program that the kernel does not run refused in the way of the
// kernel, whatever the clock.
func refuses(t *testing.T, file string) {
	t.Helper()
	if runsHere(t, file) {
		t.Fatalf("this machine runs %s", file)
	}
	if o, got := carryOut(t, nobody(shown(60, file, "now"))); o.Errno != int(syscall.ENOEXEC) || o.Code != 0 || got != "" {
		t.Errorf("%+v %q, want %v at the start", o, got, syscall.ENOEXEC)
	}
}

// narrow builds the test's program for the older architecture. Where the kernel
// does not run such programs it holds the refusal instead, and returns "".
func narrow(t *testing.T) string {
	t.Helper()
	file := build(t, "386")
	if runsHere(t, file) {
		return file
	}
	t.Log("this kernel runs no 32-bit programs: they are to be refused")
	refuses(t, file)
	return ""
}

func TestProgramsOfNoMachine(t *testing.T) {
	program, err := os.ReadFile(build(t, runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	const machine = 18 // where an ELF file names its machine, in two bytes
	program[machine], program[machine+1] = 0, 0
	file := filepath.Join(scratch, "of-no-machine")
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	refuses(t, file)
}

// Programs of the older architecture keep the machine's times of files, as it says.
func TestNarrowTimesOfFiles(t *testing.T) {
	file := narrow(t)
	if file == "" {
		return
	}
	d := nobody(shown(60, "sh", "-c", "$0 stats /proc/self/", file))
	if o, got := carryOut(t, d); o.Code != 0 || len(got) == 0 || got >= "2208988800" {
		t.Errorf("%+v %q", o, got)
	}
}

// Who makes itself untraceable gets no times of files rather than others.
func TestUntracedChild(t *testing.T) {
	script := `$| = 1; $p = syscall 56, 0x800011, 0, 0, 0, 0; if (!$p) { print((stat "/") ? "times" : $!, "\n"); syscall 231, 0 } waitpid $p, 0; print((stat "/") ? "times" : $!, "\n")`
	if o, got := carryOut(t, nobody(shown(60, "perl", "-e", script))); o.Code != 0 || got != "Function not implemented\ntimes\n" {
		t.Errorf("%+v %q", o, got)
	}
}

// Programs of the older architecture, which many kernels still run.
func TestNarrowPrograms(t *testing.T) {
	file := narrow(t)
	if file == "" {
		return
	}
	for mode, want := range map[string]string{"now": "2208988800\n", "flood": "good\n", "measure": "true false true\n", "execs": "1000\n"} {
		if o, got := carryOut(t, nobody(shown(60, file, mode))); o.Code != 0 || got != want {
			t.Errorf("%s: %+v %q, want %q", mode, o, got, want)
		}
	}
}
