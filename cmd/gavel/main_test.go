package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// playVariable makes this test binary play gavel, so that tests start real
// nodes, and under the race detector nodes that it watches.
const playVariable = "GAVEL_TEST_PLAYS"

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	maybeInit() // a sandbox of a node that this binary plays starts this binary again
	if os.Getenv(playVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// golden compares got with a file of testdata, or with -update writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// call runs gavel in this process.
func call(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(ctx, args, &out, &err)
	return code, out.String(), err.String()
}

// Bad usage is 2, a farm that is not there 4, whatever subcommand meets it; the
// sentence says what to do.
func TestExitStatusWithoutFarm(t *testing.T) {
	t.Setenv("GAVEL_FARM", "")
	t.Chdir(t.TempDir())
	project, id := t.TempDir(), strings.Repeat("ab", 32)
	file := filepath.Join(project, "file")
	if err := os.WriteFile(file, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	submit := func(args ...string) []string { return append([]string{"submit", "--farm", "nowhere"}, args...) }
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, exitDone, ""},
		{[]string{"submit", "--help"}, exitDone, ""},
		{[]string{"destroy"}, exitUsage, "unknown command"},
		{[]string{"submit", "--colour"}, exitUsage, "unknown flag"},
		{[]string{"submit"}, exitUsage, "what shall be built"},
		{submit(project), exitUsage, "after --"},
		{submit(project, "--", "make"), exitUsage, "--output"},
		{submit("--output", "a", "missing", "--", "make"), exitUsage, "there is no directory missing"},
		{submit("--output", "a", file, "--", "make"), exitUsage, "no directory"},
		{submit("--output", "../a", project, "--", "make"), exitUsage, "inside DIR"},
		{submit("--output", "a", "--image", "sha256:12", project, "--", "make"), exitUsage, "no image"},
		{submit("--output", "a", "--verify", "0%", project, "--", "make"), exitUsage, "--verify"},
		{submit("--output", "a", "--verify", "5%", "--validators", "3", project, "--", "make"), exitUsage, "exclude"},
		{submit("--output", "a", "--on-unverified", "shrug", project, "--", "make"), exitUsage, "fail or warn"},
		{submit("--output", "a", "--max-price", "-1", project, "--", "make"), exitUsage, "negative"},
		{submit("--output", "a", "--max-price", "much", project, "--", "make"), exitUsage, "much"},
		{submit("--output", "a", "--memory", "lots", project, "--", "make"), exitUsage, "--memory"},
		{submit("--output", "a", "--timeout", "25h", project, "--", "make"), exitUsage, "24h"},
		{submit("--output", "a", "--env", "X", project, "--", "make"), exitUsage, "NAME=VALUE"},
		{submit("--output", "a", project, "--", "make"), exitNoFarm, "gavel up --dir nowhere"},
		{[]string{"status", id}, exitUsage, "GAVEL_FARM"},
		{[]string{"status", "--farm", "nowhere"}, exitUsage, "BUILD is missing"},
		{[]string{"status", "--farm", "nowhere", id}, exitNoFarm, "gavel up"},
		{[]string{"status", "--farm", "nowhere", id, "more"}, exitUsage, "one argument too many"},
		{[]string{"logs", "--farm", "nowhere", id}, exitNoFarm, "gavel up"},
		{[]string{"cancel", "--farm", "nowhere", id}, exitNoFarm, "gavel up"},
		{[]string{"download", "--farm", "nowhere", id}, exitUsage, "-o DIR"},
		{[]string{"download", "--farm", "nowhere", id, "-o", project}, exitUsage, "not empty"},
		{[]string{"account", "--farm", "nowhere"}, exitNoFarm, "gavel up"},
		{[]string{"account", "mint", "alice", "lots", "--farm", "nowhere"}, exitUsage, "no amount"},
		{[]string{"cluster", "status", "--farm", "nowhere"}, exitNoFarm, "gavel up"},
		{[]string{"up"}, exitUsage, "--dir"},
		{[]string{"up", "--dir", "d", "--coordinators", "10"}, exitUsage, "1 to 9"},
		{[]string{"up", "--dir", "d", "--workers", "0"}, exitUsage, "1 to 64"},
		{[]string{"up", "--dir", "d", "--sandbox", "chroot"}, exitUsage, "native, docker, oci"},
		{[]string{"up", "--dir", "d", "--misbehave", "9=forge"}, exitUsage, "numbered 1 to 8"},
		{[]string{"up", "--dir", "d", "--misbehave", "1=snore"}, exitUsage, "snore"},
		{[]string{"up", "--dir", "d", "--listen", "here"}, exitUsage, "HOST:PORT"},
		{[]string{"up", "--dir", project}, exitUsage, "holds \"file\" and no farm"},
		{[]string{"coordinator"}, exitUsage, "--config"},
		{[]string{"coordinator", "--config", "missing"}, exitUsage, "missing"},
		{[]string{"worker"}, exitUsage, "--config"},
		{[]string{"verify", "bundle"}, exitUsage, "FILE is missing"},
		{[]string{"verify", file, file}, exitUsage, "--key"},
		{[]string{"verify", os.DevNull, file}, exitUsage, "BUNDLE comes first"},
		{[]string{"verify", file, file, "--key", "missing"}, exitUsage, "reading the key"},
		{[]string{"verify", file, file, "--cluster", "", "--key", "missing"}, exitUsage, "--cluster is given, but empty"},
		{[]string{"audit", "--dir", t.TempDir(), "--url="}, exitUsage, "--url is given, but empty"},
		{[]string{"verify", file, file, "--key", "/dev/zero"}, exitUsage, "larger than"},
		{[]string{"verify", file, file, "--genesis", "/dev/zero"}, exitUsage, "larger than"},
		{[]string{"verify", file, file, "--cluster", "abc"}, exitUsage, "64 hex digits"},
		{[]string{"keys", "new", "k", "--algorithm", "rot13"}, exitUsage, "rot13"},
		{[]string{"keys", "new", file}, exitUsage, "exists already: " + file},
		{[]string{"keys", "new", "--seal", file}, exitUsage, "already exists: " + file},
		{[]string{"keys", "show", "missing"}, exitUsage, "missing"},
		{[]string{"audit", "--farm", "nowhere"}, exitNoFarm, "gavel up"},
	} {
		code, _, stderr := call(t.Context(), c.args...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("gavel %s: exit status %d, want %d; it said %q, want %q in it", strings.Join(c.args, " "), code, c.code, stderr, c.says)
		}
		if c.code != exitDone && !strings.HasPrefix(stderr, "gavel: ") {
			t.Errorf("gavel %s: %q does not say who speaks", strings.Join(c.args, " "), stderr)
		}
	}
}

// Every subcommand is its own manual.
func TestEveryCommandHasAManual(t *testing.T) {
	root := rootCommand()
	queue := root.Commands()
	for len(queue) > 0 {
		c := queue[0]
		queue = append(queue[1:], c.Commands()...)
		if c.Name() == "help" || c.Name() == "completion" || c.Parent().Name() == "completion" {
			continue
		}
		if c.Short == "" || c.Long == "" {
			t.Errorf("%s has no manual", c.CommandPath())
		}
	}
}

// A key that is made is shown with the same account, from either half; it is
// never written over.
func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice")
	code, made, stderr := call(t.Context(), "keys", "new", path, "--json")
	if code != exitDone {
		t.Fatalf("keys new: %d %s", code, stderr)
	}
	for _, half := range []string{path, path + ".pub"} {
		code, shown, stderr := call(t.Context(), "keys", "show", half, "--json")
		if want := strings.Replace(made, path, half, 1); code != exitDone || shown != want {
			t.Errorf("keys show %s: %d %s%s, want %s", half, code, shown, stderr, want)
		}
	}
	if code, _, stderr := call(t.Context(), "keys", "new", path); code == exitDone || !strings.Contains(stderr, "exists already") {
		t.Errorf("a key was written over: %d %s", code, stderr)
	}
	if code, out, stderr := call(t.Context(), "keys", "new", path+"-seal", "--seal"); code != exitDone || len(strings.TrimSpace(out)) != 64 {
		t.Errorf("keys new --seal: %d %q %s", code, out, stderr)
	}
}

// What a command fails of may be a stranger's word: it is shown, never acted upon.
func TestErrorMovesNoTerminal(t *testing.T) {
	if code, _, says := call(t.Context(), "audit", "--dir", "a\x1b[31mb\xff"); code != exitUsage || !strings.Contains(says, `a\x1b[31mb\xff`) {
		t.Errorf("exit status %d: %q", code, says)
	}
}

// A command that waits where it cannot be interrupted, here for a pipe to end, ends at
// the second signal.
func TestSecondSignalEnds(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "audit", "--dir", filepath.Dir(pipe), "--since", pipe)
	c.Env = append(os.Environ(), playVariable+"=1")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = c.Process.Kill() })
	defer late.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // how it ended is in its state
	}()
	var end *os.File
	for end == nil { // there is no such end until the command reads
		if end, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err != nil && !errors.Is(err, syscall.ENXIO) {
			t.Fatal(err)
		}
		select {
		case <-ended:
			t.Fatalf("it read nothing: %v", c.ProcessState)
		case <-time.After(time.Millisecond):
		}
	}
	defer func() { _ = end.Close() }()
	for again := true; again; {
		_ = c.Process.Signal(os.Interrupt) // it may have ended already
		select {
		case <-ended:
			again = false
		case <-time.After(300 * time.Millisecond):
		}
	}
	if how := c.ProcessState.Sys().(syscall.WaitStatus); how.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v", c.ProcessState)
	}
}
