//go:build itest

package clock

import "testing"

// Programs of the older architecture keep the machine's times of files, as it says.
func TestNarrowTimesOfFiles(t *testing.T) {
	d := nobody(shown(60, "sh", "-c", "$0 stats /proc/self/", build(t, "386")))
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

// Programs of the older architecture, which the kernel still runs.
func TestNarrowPrograms(t *testing.T) {
	file := build(t, "386")
	for mode, want := range map[string]string{"now": "2208988800\n", "flood": "good\n", "measure": "true false true\n", "execs": "1000\n"} {
		if o, got := carryOut(t, nobody(shown(60, file, mode))); o.Code != 0 || got != want {
			t.Errorf("%s: %+v %q, want %q", mode, o, got, want)
		}
	}
}
