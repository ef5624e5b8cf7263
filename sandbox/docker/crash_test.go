//go:build itest

package docker

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"gavel/sandbox"
	"gavel/sandbox/container"
)

// signal is a log that tells when it holds a text.
type signal struct {
	mu   sync.Mutex
	text string
	all  strings.Builder
	once sync.Once
	when time.Time
	seen chan struct{}
}

func newSignal(text string) *signal { return &signal{text: text, seen: make(chan struct{})} }

func (s *signal) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
	if strings.Contains(s.all.String(), s.text) {
		s.once.Do(func() {
			s.when = time.Now()
			close(s.seen)
		})
	}
	return len(p), nil
}

// at is when the text was seen.
func (s *signal) at() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.when
}

// crashWorker makes this test binary a worker that runs one endless command.
const crashWorker = "crash-worker"

func runAndHang(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("want scratch, owner, init, image, input; got %q", args)
	}
	r, err := New(context.Background(), Config{ScratchDir: args[0], Owner: args[1], Init: args[2]})
	if err != nil {
		return err
	}
	_, err = r.Run(context.Background(), sandbox.Spec{
		Root: args[3], Argv: []string{"/bin/sh", "-c", "echo made > out; sleep 1000000 & echo ready; wait"},
		InputDir: args[4], OutputDir: args[4], Log: os.Stdout,
	})
	return fmt.Errorf("the endless command ended: %w", err)
}

// crashLoop makes it one that runs empty commands without end.
const crashLoop = "crash-loop"

func runForEver(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("want scratch, owner, init, image, input; got %q", args)
	}
	r, err := New(context.Background(), Config{ScratchDir: args[0], Owner: args[1], Init: args[2]})
	if err != nil {
		return err
	}
	for {
		s := sandbox.Spec{Root: args[3], Argv: []string{"/bin/true"}, InputDir: args[4], OutputDir: args[4]}
		if _, err := r.Run(context.Background(), s); err != nil {
			return err
		}
		fmt.Println("ran")
	}
}

// A worker may be killed while its spare is created, attached, started, waits, gets
// its inputs or its order. None of it may stay, and no container may stay awake.
func TestKilledWorkerLeavesNoSpare(t *testing.T) {
	observer := newRunner(t)
	closing(t, observer)
	c := Config{ScratchDir: t.TempDir(), Owner: "itest-" + container.NewRunID(), Init: initFile}
	for i := range 6 {
		worker := exec.Command(os.Args[0], crashLoop, c.ScratchDir, c.Owner, c.Init, busybox, t.TempDir())
		worker.Stderr = os.Stderr
		out, err := worker.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := worker.Start(); err != nil {
			t.Fatal(err)
		}
		kill := sync.OnceFunc(func() {
			worker.Process.Kill()
			worker.Wait()
		})
		t.Cleanup(kill) // where the test did not come that far
		lines := bufio.NewReader(out)
		for range 1 + i%2 { // after a Run without a spare, or after one with
			if line, err := lines.ReadString('\n'); err != nil || line != "ran\n" {
				t.Fatalf("the worker said %q, %v", line, err)
			}
		}
		moment := time.Duration(i) * 100 * time.Millisecond
		time.Sleep(moment) // not to wait for anything: to come at another step each time
		kill()
		awaitAsleep(t, observer, c.Owner)
		next, err := New(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := shell(t, busybox, "true")
		mustRun(t, next, s) // its sweep finds what the engine was just creating
		if left := leftovers(t, next); len(left) > 0 {
			t.Errorf("killed after %d runs and %v: left behind: %q", 1+i%2, moment, left)
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("killed %v after run %d", moment, 1+i%2)
	}
}

// awaitAsleep waits until the containers of an owner ended by themselves; the test's
// own time limit is the bound.
func awaitAsleep(t *testing.T, r *Runner, owner string) {
	t.Helper()
	running := filters.NewArgs(filters.Arg("label", ownerLabel+"="+owner), filters.Arg("status", "running"))
	for {
		list, err := r.engine.ContainerList(context.Background(), engine.ListOptions{Filters: running})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A worker killed in the middle of a build cannot clean up. Its container must
// end all the same, and the next worker of its name must find and remove the rest.
func TestKilledWorkerLeavesNothing(t *testing.T) {
	for name, root := range map[string]string{"plain image": busybox, "image with volumes": stubborn} {
		t.Run(name, func(t *testing.T) { killWorker(t, root) })
	}
}

func killWorker(t *testing.T, root string) {
	observer := newRunner(t) // only to look, under another owner
	closing(t, observer)
	c := Config{ScratchDir: t.TempDir(), Owner: "itest-" + container.NewRunID(), Init: initFile}
	worker := exec.Command(os.Args[0], crashWorker, c.ScratchDir, c.Owner, c.Init, root, t.TempDir())
	worker.Stderr = os.Stderr
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		worker.Process.Kill() // where the test did not come that far
		worker.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the worker said %q, %v", line, err)
	}
	ctx := context.Background()
	mine, err := observer.engine.ContainerList(ctx, engine.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", ownerLabel+"="+c.Owner))})
	if err != nil || len(mine) != 1 {
		t.Fatalf("the worker has %d containers, %v", len(mine), err)
	}
	ended, failed := observer.engine.ContainerWait(ctx, mine[0].ID, engine.WaitConditionNextExit)

	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	worker.Wait()
	select { // the test's own time limit is the bound: it must end by itself
	case <-ended:
	case err := <-failed:
		t.Fatal(err)
	}

	next, err := New(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, next)
	noLeftovers(t, next)
	s, _ := shell(t, root, "true")
	if res := mustRun(t, next, s); res.Status != sandbox.Exited || res.ExitCode != 0 {
		t.Errorf("the next worker: %+v", res)
	}
	noLeftovers(t, next)
}

// What the sweep after each run finds belongs to the same owner and to no run,
// such as a container whose creation was answered to nobody.
func TestSweepAfterEachRun(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	ctx := context.Background()
	stray, err := r.engine.ContainerCreate(ctx, &engine.Config{Image: busybox, Cmd: []string{"true"}, Labels: r.labels("gone")}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.engine.ContainerCreate(ctx, &engine.Config{Image: busybox, Cmd: []string{"true"}, Labels: map[string]string{ownerLabel: "itest-other"}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.remove(ctx, other.ID)
	s, _ := shell(t, busybox, "true")
	mustRun(t, r, s)
	noLeftovers(t, r)
	if _, err := r.engine.ContainerInspect(ctx, stray.ID); err == nil {
		t.Error("the stray container is still there")
	}
	if _, err := r.engine.ContainerInspect(ctx, other.ID); err != nil {
		t.Errorf("another owner's container: %v", err)
	}
}
