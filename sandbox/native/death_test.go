package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/native/box"
)

// workerScratch makes this test binary a worker that runs one command until it is killed.
const workerScratch = "GAVEL_TEST_WORKER_SCRATCH"

// patience is how long the kernel may take for what it does by itself.
const patience = 30 * time.Second

func beWorker(scratch string) {
	r, err := New(context.Background(), Config{ScratchDir: scratch})
	if err == nil {
		_, err = r.Run(context.Background(), sandbox.Spec{
			Root: sandbox.HostRoot, Argv: []string{"/bin/sh", "-c", "setsid sleep 987654321 & echo ready; wait"},
			InputDir: scratch, OutputDir: scratch, Log: os.Stdout,
		})
	}
	fmt.Println("worker:", err)
	os.Exit(1)
}

// eventually waits for a state that the kernel brings about by itself.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !reached(); {
		if time.Now().After(end) {
			t.Fatalf("after %v: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// processes lists live processes of the machine by a part of their arguments.
func processes(t *testing.T, argument string) []int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, n := range names {
		b, err := os.ReadFile(n) // one that ended meanwhile is not alive
		if err == nil && bytes.Contains(b, []byte(argument)) {
			pid, _ := strconv.Atoi(strings.Split(n, "/")[2])
			found = append(found, pid)
		}
	}
	return found
}

func TestNothingSurvivesAKilledWorker(t *testing.T) {
	scratch := t.TempDir()
	worker := exec.Command("/proc/self/exe")
	worker.Env = append(os.Environ(), workerScratch+"="+scratch)
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Process.Kill() }) // a failure must leave nothing for the next run to find
	said := make([]byte, 6)
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "ready\n" {
		t.Fatalf("the worker said %q (%v)", said, err)
	}
	// It says so before it has become what is looked for.
	eventually(t, "the command is not found while it runs", func() bool { return len(processes(t, "\x00987654321\x00")) > 0 })
	dirs, err := filepath.Glob(filepath.Join(scratch, dirPrefix+"*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("the worker's directories are %v (%v)", dirs, err)
	}
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait() // it was killed
	eventually(t, "the command outlives its worker", func() bool { return len(processes(t, "\x00987654321\x00")) == 0 })

	r := openRunner(t, Config{ScratchDir: scratch})
	defer r.Close()
	if _, err := os.Stat(dirs[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left (%v)", dirs[0], err)
	}
	if r.cgroups != nil {
		for _, own := range r.cgroups.dirs {
			left := filepath.Join(filepath.Dir(own), filepath.Base(dirs[0]))
			if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left (%v)", left, err)
			}
		}
	}
}

// killSpawner kills the runner's present spawner and returns when it is dead.
func killSpawner(t *testing.T, r *Runner) {
	t.Helper()
	p, err := r.spawner.wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.died
}

func TestADeadSpawnerIsReplaced(t *testing.T) {
	r := newRunner(t)
	for range 3 {
		killSpawner(t, r)
		s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"true"}, InputDir: t.TempDir(), OutputDir: t.TempDir()}
		if res, err := r.Run(context.Background(), s); err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
			t.Fatalf("%+v %v", res, err)
		}
	}
}

func TestASpawnerDyingMidwayIsUnavailable(t *testing.T) {
	r := newRunner(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := r.Run(context.Background(), sandbox.Spec{
			Root: sandbox.HostRoot, Argv: []string{"/bin/sh", "-c", "echo ready; sleep 123454321"},
			InputDir: t.TempDir(), OutputDir: t.TempDir(), Log: write,
		})
		ended <- err
	}()
	if _, err := io.ReadFull(read, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	killSpawner(t, r)
	if err := <-ended; !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v, want that the runner failed, not the command", err)
	}
	if left := processes(t, "\x00123454321\x00"); len(left) > 0 {
		t.Errorf("still alive: %v", left)
	}
}

// A stranger on the machine who kills a sandbox makes no result of it, which other
// workers would not share and this one would answer for: the run can be repeated.
func TestKillingTheFirstProcessFromOutsideIsNoResult(t *testing.T) {
	r := newRunner(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	type end struct {
		res sandbox.Result
		err error
	}
	ended := make(chan end, 1)
	go func() {
		res, err := r.Run(context.Background(), sandbox.Spec{
			Root: sandbox.HostRoot, Argv: []string{"/bin/sh", "-c", "sleep 135797531 & echo ready; wait"},
			InputDir: t.TempDir(), OutputDir: t.TempDir(), Log: write,
		})
		ended <- end{res, err}
	}()
	if _, err := io.ReadFull(read, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	var shells []int
	eventually(t, "the shell and its sleep are not told apart", func() bool { // a forked one looks like the shell until it executes
		shells = processes(t, "sleep 135797531 &")
		return len(shells) == 1
	})
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", shells[0]))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	first, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; !errors.Is(got.err, sandbox.ErrUnavailable) || !strings.Contains(got.err.Error(), "from outside") {
		t.Errorf("%+v, %v, want that the sandbox failed, not the command", got.res, got.err)
	}
	if left := processes(t, "135797531"); len(left) > 0 {
		t.Errorf("still alive: %v", left)
	}
	s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"true"}, InputDir: t.TempDir(), OutputDir: t.TempDir()}
	if res, err := r.Run(context.Background(), s); err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
		t.Errorf("afterwards: %+v %v", res, err)
	}
}

// A command may kill the first process of its own sandbox: that is its own end.
func TestKillingTheFirstProcessIsASignal(t *testing.T) {
	r := newRunner(t)
	s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"/bin/sh", "-c", "kill -9 1; kill -SEGV 1; kill -TERM 1; sleep 1; exit 3"},
		InputDir: t.TempDir(), OutputDir: t.TempDir()}
	res, err := r.Run(context.Background(), s)
	if err != nil {
		t.Fatalf("blamed on the runner: %v", err)
	}
	if res.Status == sandbox.Exited && res.ExitCode == 0 || res.Status == sandbox.Timeout {
		t.Errorf("%+v", res)
	}
}

func TestClosingLeavesNoProcess(t *testing.T) {
	r := openRunner(t, Config{ScratchDir: t.TempDir()})
	p, err := r.spawner.wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.cmd.Process.Pid, 0); err != unix.ESRCH {
		t.Errorf("the spawner lives: %v", err)
	}
	entries, err := os.ReadDir(r.config.ScratchDir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left in scratch: %v %v", entries, err)
	}
}

func TestSetupFailuresNameTheStep(t *testing.T) {
	r := newRunner(t)
	err := setupFailure(box.Report{Kind: box.SetupFailed, Errno: unix.EINVAL, Text: "mounting the overlay on /build"})
	if !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "overlay") || !strings.Contains(err.Error(), "invalid argument") {
		t.Errorf("error %v", err)
	}
	if _, _, err := r.acquire("sha256:" + strings.Repeat("a", 64)); !errors.Is(err, sandbox.ErrRefused) {
		t.Errorf("error %v", err)
	}
}
