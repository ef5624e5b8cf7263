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
