//go:build itest

package oci

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gavel/sandbox"

	"gavel/sandbox/container/containertest"
)

// crashWorker makes this test binary a worker that runs one endless command.
const crashWorker = "crash-worker"

func runAndHang(args []string) error {
	if len(args) != 7 {
		return fmt.Errorf("want runtime, scratch, images, owner, init, image, input; got %q", args)
	}
	r, err := New(context.Background(), Config{Runtime: args[0], ScratchDir: args[1], ImageDir: args[2], Owner: args[3], Init: args[4]})
	if err != nil {
		return err
	}
	_, err = r.Run(context.Background(), sandbox.Spec{
		Root: args[5], Argv: []string{"/bin/sh", "-c", "echo made > out; sleep 1000000 & echo ready; wait"},
		InputDir: args[6], OutputDir: args[6], Log: os.Stdout,
	})
	return fmt.Errorf("the endless command ended: %w", err)
}

// awaitNone waits until no process is in cgroups whose path holds a text, not
// even a dead one that nobody has reaped yet.
func awaitNone(t *testing.T, text string) {
	t.Helper()
	giveUp := time.Now().Add(time.Minute)
	for {
		alive := members(t, text)
		if len(alive) == 0 {
			return
		}
		if time.Now().After(giveUp) {
			t.Fatalf("%v live on", alive)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A worker killed in the middle of a build cannot clean up. Its container must
// end all the same, and the next worker of its name must find and remove the
// rest, also if it has another runtime.
func TestKilledWorkerLeavesNothing(t *testing.T) {
	img := containertest.Busybox(t)
	each(t, func(t *testing.T, runtime string) {
		first := newRunner(t, runtime) // to take the image, and to look
		root := take(t, first, img)
		c := first.config
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		worker := exec.Command(os.Args[0], crashWorker, c.Runtime, c.ScratchDir, c.ImageDir, c.Owner, c.Init, root, t.TempDir())
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
		if alive := members(t, first.name+"/"); len(alive) < 2 {
			t.Fatalf("its container has %d processes", len(alive))
		}
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		worker.Wait()
		awaitNone(t, first.name+"/") // it must end by itself
		if left := leftovers(t, first); len(left) == 0 {
			t.Error("nothing is left to remove, which is not what this test is about")
		}
		c.Runtime = runtimes[0]
		next, err := New(context.Background(), c)
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
	})
}

// A command that is still alive when its owner starts again, because nobody told
// it of the worker's end, is ended by the sweep.
func TestSweepEndsWhatLives(t *testing.T) {
	r := newRunner(t, "runc")
	root := take(t, r, containertest.Busybox(t))
	s, log := shell(t, root, "echo ready; sleep 1000000")
	ended := make(chan error, 1)
	go func() {
		_, err := r.Run(context.Background(), s)
		ended <- err
	}()
	<-log.seen
	if err := r.place.Release(); err != nil { // as if this process were gone
		t.Fatal(err)
	}
	if err := r.shelf.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := New(context.Background(), r.config)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, next)
	if err := <-ended; err == nil {
		t.Error("the run of the worker before ended well")
	}
	noLeftovers(t, next)
	awaitNone(t, r.name+"/")
	if entries, err := os.ReadDir(filepath.Join(mountsDir, next.name, "runs")); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// Someone who cleaned /run made every later build of a worker fail until it was restarted.
func TestCleanedMountsAreMadeAgain(t *testing.T) {
	r := newRunner(t, "crun")
	closing(t, r)
	root := take(t, r, containertest.Busybox(t))
	dir := filepath.Join(mountsDir, r.name)
	for _, gone := range []string{"", "runs", "cpus", "lock"} {
		if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
		s, _ := shell(t, root, "cat /proc/cpuinfo")
		if res := mustRun(t, r, s); res.Status != sandbox.Exited || res.ExitCode != 0 {
			t.Errorf("without %q: %+v", gone, res)
		}
		noLeftovers(t, r)
		if gone == "lock" { // alone it is not missed
			continue
		}
		if _, err := New(context.Background(), r.config); err == nil || !strings.Contains(err.Error(), "another worker") {
			t.Errorf("without %q a second worker of the name: %v", gone, err)
		}
	}
}

// A worker that waits for another's end to take its place must not take a lock
// whose file is gone.
func TestPlaceChangesHands(t *testing.T) {
	for range 5 {
		first := newRunner(t, "crun")
		closed := make(chan error, 1)
		go func() { closed <- first.Close() }()
		var next *Runner
		for giveUp := time.Now().Add(time.Minute); next == nil; {
			var err error
			if next, err = New(context.Background(), first.config); err != nil && time.Now().After(giveUp) {
				t.Fatal(err)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if _, err := New(context.Background(), first.config); err == nil {
			t.Error("two workers have one place")
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}
}
