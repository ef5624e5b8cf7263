//go:build itest

package native

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"gavel/sandbox"
)

// startRuns is how often each way of starting is measured, in turns so that a
// disturbance of the machine meets all alike.
const startRuns = 150

// TestStartIsNoSlowerThanBubblewrap holds the design's promise: a sandbox with
// everything on starts no slower than bubblewrap with the same namespaces and
// mounts, also from a worker with a large heap. bubblewrap has it easier: this
// version knows no overlay, and it makes no cgroup, filter or outputs.
func TestStartIsNoSlowerThanBubblewrap(t *testing.T) {
	if len(initBinary) == 0 {
		t.Fatal("built without the init binary: run `make itest`, which builds it and sets the tag gavel_init")
	}
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		t.Fatal("bubblewrap is needed for comparison: apt install bubblewrap")
	}
	r := newRunner(t)
	for _, heapMegabytes := range []int{0, 512} {
		heap := make([]byte, heapMegabytes<<20)
		for i := 0; i < len(heap); i += 4096 {
			heap[i] = 1
		}
		compareStarts(t, r, bwrap, heapMegabytes)
		runtime.KeepAlive(heap)
	}
}

func compareStarts(t *testing.T, r *Runner, bwrap string, heapMegabytes int) {
	s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"/usr/bin/true"}, InputDir: t.TempDir(), OutputDir: t.TempDir()}
	var setup []time.Duration
	ways := []struct {
		name string
		run  func() error
	}{
		{"plain", func() error { return exec.Command("/usr/bin/true").Run() }},
		{"bwrap", func() error {
			out, err := exec.Command(bwrap, bwrapArguments(r, s.InputDir)...).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		}},
		{"native", func() error {
			res, err := r.Run(context.Background(), s)
			setup = append(setup, time.Duration(res.SetupNanos))
			return err
		}},
	}
	took := make([][]time.Duration, len(ways))
	for range startRuns {
		for i, w := range ways {
			start := time.Now()
			if err := w.run(); err != nil {
				t.Fatalf("%s: %v", w.name, err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	median := make([]time.Duration, len(ways))
	for i, w := range ways {
		slices.Sort(took[i])
		median[i] = took[i][startRuns/2]
		t.Logf("heap %d MB: %-6s p50 %v p95 %v", heapMegabytes, w.name, median[i], took[i][startRuns*95/100])
	}
	slices.Sort(setup)
	ratio := float64(median[2]) / float64(median[1])
	t.Logf("heap %d MB: native/bwrap %.2f, native/plain %.2f, until the command runs %v", heapMegabytes, ratio, float64(median[2])/float64(median[0]), setup[len(setup)/2])
	if ratio > 1 {
		t.Errorf("heap %d MB: native starts %.2f times as slow as bubblewrap, promised is at most 1", heapMegabytes, ratio)
	}
}

// bwrapArguments asks bubblewrap for what native shows of the host.
func bwrapArguments(r *Runner, inputs string) []string {
	a := []string{"--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup",
		"--uid", "65534", "--gid", "65534", "--hostname", "gavel", "--die-with-parent", "--new-session"}
	for _, d := range hostDirs {
		if target, err := os.Readlink("/" + d); err == nil {
			a = append(a, "--symlink", target, "/"+d)
		} else if _, err := os.Stat("/" + d); err == nil {
			a = append(a, "--ro-bind", "/"+d, "/"+d)
		}
	}
	a = append(a, "--ro-bind", r.etcDir(), "/etc", "--tmpfs", "/tmp", "--tmpfs", "/build", "--ro-bind", inputs, "/inputs", "--proc", "/proc")
	for _, d := range etcBound {
		if _, err := os.Stat(filepath.Join(r.etcDir(), d)); err == nil {
			a = append(a, "--ro-bind", "/etc/"+d, "/etc/"+d)
		}
	}
	for _, d := range []string{"null", "zero", "full", "random", "urandom"} {
		a = append(a, "--dev-bind", "/dev/"+d, "/dev/"+d)
	}
	a = append(a, "--tmpfs", "/dev/shm")
	for _, p := range hiddenProc {
		hidden := filepath.Join("/proc", p)
		if info, err := os.Stat(hidden); err == nil && info.IsDir() {
			a = append(a, "--tmpfs", hidden)
		} else if err == nil {
			a = append(a, "--ro-bind", "/dev/null", hidden)
		}
	}
	return append(a, "--ro-bind", "/proc/sys", "/proc/sys", "--remount-ro", "/", "--chdir", "/build", "/usr/bin/true")
}
