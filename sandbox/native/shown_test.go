package native

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

func runShell(t *testing.T, r *Runner, script string, change func(*sandbox.Spec)) string {
	t.Helper()
	var log bytes.Buffer
	s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"/bin/sh", "-c", script}, InputDir: t.TempDir(), OutputDir: t.TempDir(), Log: &log}
	change(&s)
	res, err := r.Run(context.Background(), s)
	if err != nil || res.Status != sandbox.Exited {
		t.Fatalf("%+v %v\n%s", res, err, log.String())
	}
	return log.String()
}

// interfaces cuts the names out of /proc/net/dev.
func interfaces(dev string) []string {
	var names []string
	for line := range strings.Lines(dev) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

func TestNetworkIsTheMachinesWhenAskedFor(t *testing.T) {
	r := newRunner(t)
	machine, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	got := runShell(t, r, "cat /proc/net/dev", func(s *sandbox.Spec) { s.Network = true })
	if a, b := strings.Join(interfaces(got), " "), strings.Join(interfaces(string(machine)), " "); a != b {
		t.Errorf("sees interfaces %s, the machine has %s", a, b)
	}
	names, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		names = nil // a machine without has an empty one inside
	}
	if got := runShell(t, r, "cat /etc/resolv.conf", func(s *sandbox.Spec) { s.Network = true }); got != string(names) {
		t.Errorf("resolv.conf is %q", got)
	}
	if got := runShell(t, r, "cat /etc/resolv.conf", func(*sandbox.Spec) {}); got != "" {
		t.Errorf("without network resolv.conf is %q", got)
	}
}

func TestGorootElsewhereIsShownAtAFixedPlace(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "gotool"), []byte("#!/bin/sh\necho $0; touch $0 2>/dev/null || echo read-only\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t)
	r.goroot = goroot{outside: root, inside: shownGoroot}
	if got := runShell(t, r, "gotool", func(*sandbox.Spec) {}); got != "/opt/go/bin/gotool\nread-only\n" {
		t.Errorf("log %q", got)
	}
}

func TestEtcIsFiltered(t *testing.T) {
	r := newRunner(t)
	got := runShell(t, r, "cat /etc/passwd /etc/hostname; for f in shadow machine-id ssh sudoers; do test -e /etc/$f && echo $f; done; true", func(*sandbox.Spec) {})
	if got != etcWritten["passwd"]+"gavel\n" {
		t.Errorf("log %q", got)
	}
}

// The CPU limit cannot be seen in a result, but in the accounting of the command itself.
func TestCPULimitSlowsDown(t *testing.T) {
	r := newRunner(t)
	if r.cgroups == nil {
		t.Log("without cgroups CPU is not bounded, as the runner's notes say")
		return
	}
	s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"/bin/sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"}, InputDir: t.TempDir(), OutputDir: t.TempDir()}
	run := func(millis int64) int64 {
		s.Limits.CPUMillis = millis
		res, err := r.Run(context.Background(), s)
		if err != nil || res.Status != sandbox.Exited {
			t.Fatalf("%+v %v", res, err)
		}
		return res.RunNanos
	}
	free, bound := run(0), run(100)
	if bound < 2*free {
		t.Errorf("a tenth of a CPU took %d ns, all took %d", bound, free)
	}
}

// Found when a worker was started by a shell that had descriptors open: commands
// got them, and with a directory among them the whole machine.
func TestDescriptorsOfTheWorkerStayOutside(t *testing.T) {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0) // inherited by whatever this process starts
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if got := runShell(t, newRunner(t), "ls /proc/self/fd | tr '\\n' ' '", func(*sandbox.Spec) {}); got != "0 1 2 3 " {
		t.Errorf("a command starts with descriptors %s(3 is ls's own)", got)
	}
}
