//go:build itest

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
)

// shell returns a Spec that runs a script over an empty tree, and its log.
func shell(t testing.TB, root, script string) (sandbox.Spec, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	return sandbox.Spec{
		Root: root, Argv: []string{"/bin/sh", "-c", script},
		InputDir: t.TempDir(), OutputDir: t.TempDir(), Log: log,
	}, log
}

func mustRun(t testing.TB, r *Runner, s sandbox.Spec) sandbox.Result {
	t.Helper()
	res, err := r.Run(context.Background(), s)
	if err != nil {
		t.Fatalf("running %q: %v", s.Argv, err)
	}
	return res
}

func TestImageConfigHasNoEffect(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	s, log := shell(t, stubborn, `cat /var/data/file; pwd
		for d in /var/data /scratch; do { echo x > $d/new; } 2>/dev/null && echo "$d is writable"; done
		env | grep -E 'IMAGE|evil'; ls /tmp; id -u`)
	mustRun(t, r, s)
	if want := "kept\n/build\n65534\n"; log.String() != want {
		t.Errorf("saw %q, want %q", log, want)
	}
	noLeftovers(t, r) // the image's volumes among them
}

func TestNothingOfTheEngineInside(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	s, log := shell(t, busybox, "find / -name '*.sock' 2>/dev/null; cat /proc/self/cgroup | sed 's/.*://' | sort -u; grep -c . /etc/resolv.conf; true")
	mustRun(t, r, s)
	if strings.Contains(log.String(), "sock") || strings.Contains(log.String(), "docker") {
		t.Errorf("shows the engine:\n%s", log)
	}
}

func TestHostNetwork(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	const script = "sed '1,2d;s/:.*//;s/ //g' /proc/net/dev | sort | tr '\\n' ' '; uname -n"
	s, log := shell(t, busybox, script)
	s.Network = true
	mustRun(t, r, s)
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join("/sys/class/net", e.Name(), "address")); err == nil && !strings.Contains(log.String(), e.Name()+" ") {
			t.Errorf("does not see the host's %s: %s", e.Name(), log)
		}
	}
	if !strings.HasSuffix(log.String(), " gavel\n") {
		t.Errorf("host name: %s", log)
	}
}

func TestLargeCommand(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	s, log := shell(t, busybox, "")
	s.Argv = []string{"/bin/sh", "-c", `echo $# ${#V0}`}
	for i := range 10 {
		s.Argv = append(s.Argv, strings.Repeat("a", 80_000))
		s.Env = append(s.Env, fmt.Sprintf("V%d=%s", i, strings.Repeat("v", 80_000)))
	}
	if res := mustRun(t, r, s); res.Status != sandbox.Exited || log.String() != "9 80000\n" {
		t.Errorf("%+v, log %q", res, log)
	}
}

func TestSmallestLimits(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	s, log := shell(t, busybox, "sed -n 's/^Threads:.//p' /proc/1/status")
	s.Limits = sandbox.Limits{MemoryBytes: 16 << 20, Pids: 2, DiskBytes: 1 << 20, CPUMillis: 50}
	res := mustRun(t, r, s)
	threads, err := strconv.Atoi(strings.TrimSpace(log.String()))
	if res.Status != sandbox.Exited || err != nil || threads > pid1.Threads {
		t.Errorf("%+v, PID 1 has %s threads, want at most %d", res, log, pid1.Threads)
	}
}

func TestUnknownImage(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	ghost := "sha256:" + strings.Repeat("0", 64)
	check := func(id string) {
		t.Helper()
		s, _ := shell(t, id, "true")
		_, err := r.Run(context.Background(), s)
		if want := "image " + id + " is not in this engine; docker import or load it"; !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	check(ghost)
	// An image that was there when its config was read, and is not any more.
	r.images[ghost] = imageFacts{id: ghost}
	check(ghost)
	if _, still := r.images[ghost]; still {
		t.Error("still thinks it knows the image")
	}
	noLeftovers(t, r)
}

func TestRootsAreImageIDs(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	roots, err := r.Roots(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range roots {
		if i > 0 && roots[i-1] >= id {
			t.Errorf("not sorted: %s before %s", roots[i-1], id)
		}
	}
	for _, id := range []string{busybox, stubborn} {
		if !strings.Contains(strings.Join(roots, " "), id) {
			t.Errorf("%s is not among %q", id, roots)
		}
	}
	list, err := r.engine.ImageList(context.Background(), image.ListOptions{})
	if err != nil || len(list) != len(roots) {
		t.Errorf("%d roots of %d images, %v", len(roots), len(list), err)
	}
}

// Memory that the kernel takes back by killing PID 1 itself leaves no report;
// then the engine's word counts.
func TestFirstProcessKilledForMemory(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	// Files in /tmp are memory that belongs to no process, so everybody is killed.
	s, log := shell(t, busybox, "dd if=/dev/zero of=/tmp/big bs=1048576 count=200; dd if=/dev/zero of=/tmp/more bs=1048576 count=200; sleep 100")
	s.Limits = sandbox.Limits{MemoryBytes: 16 << 20, DiskBytes: 1 << 30, TimeMillis: 20_000}
	if res := mustRun(t, r, s); res.Status != sandbox.OOM || !strings.Contains(res.Detail, "16777216") {
		t.Errorf("%+v, log %q", res, log)
	}
	noLeftovers(t, r)
}

func TestKilledFromOutside(t *testing.T) {
	r := newRunner(t)
	closing(t, r)
	s, _ := shell(t, busybox, "echo ready; sleep 1000000")
	log := newSignal("ready")
	s.Log = log
	go func() {
		<-log.seen
		for run := range r.currentRuns() {
			if err := r.engine.ContainerKill(context.Background(), containerName(run), "KILL"); err != nil {
				t.Error(err)
			}
		}
	}()
	_, err := r.Run(context.Background(), s)
	if !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "from outside") {
		t.Errorf("error %v", err)
	}
	noLeftovers(t, r)
}

// currentRuns is a copy, for tests that play an administrator.
func (r *Runner) currentRuns() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	runs := map[string]bool{}
	for run := range r.runs {
		runs[run] = true
	}
	return runs
}

func TestClosed(t *testing.T) {
	r := newRunner(t)
	s, _ := shell(t, busybox, "true")
	mustRun(t, r, s)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := r.engine.ContainerList(context.Background(), engine.ListOptions{All: true}); err != nil {
		t.Error(err)
	} else {
		for _, c := range left {
			if c.Labels[ownerLabel] == r.config.Owner {
				t.Errorf("container %s outlived Close", c.ID)
			}
		}
	}
	if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v of a closed runner", err)
	}
}

func TestScratchHasOneRunner(t *testing.T) {
	r := newRunner(t)
	c := r.config
	if second, err := New(context.Background(), c); second != nil || !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "another worker") {
		t.Errorf("a second runner in one directory: %v, %v", second, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	third, err := New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, third)
}

func TestDynamicInitIsRefused(t *testing.T) {
	_, err := New(context.Background(), Config{ScratchDir: t.TempDir(), Owner: "itest-" + container.NewRunID(), Init: "/bin/sh"})
	if !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("error %v", err)
	}
}
