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
	"gavel/sandbox/cpus"
)

// BenchmarkStart measures the design's promise, that a sandbox with everything
// on starts no slower than bubblewrap with the same namespaces and mounts, also
// from a worker with a large heap. bubblewrap has it easier: this version knows no
// overlay, and it makes no cgroup, filter or outputs. The three ways take turns, so
// that a disturbance of the machine meets all alike; reported is the median of a
// whole Run of an empty command as a multiple of bubblewrap's and of fork and exec's.
func BenchmarkStart(b *testing.B) {
	for _, heapMegabytes := range []int{0, 512} {
		b.Run(fmt.Sprintf("heap=%dMB", heapMegabytes), func(b *testing.B) {
			heap := ballast(heapMegabytes)
			starts := newStarts(b, newRunner(b))
			for b.Loop() {
				starts.turn(b)
			}
			runtime.KeepAlive(heap)
			plain, bwrap, native := starts.median()
			b.ReportMetric(0, "ns/op") // of all three together
			b.ReportMetric(float64(native.Microseconds())/1e3, "ms/start")
			b.ReportMetric(float64(native)/float64(bwrap), "x-bwrap")
			b.ReportMetric(float64(native)/float64(plain), "x-fork+exec")
		})
	}
}

// ballast is a heap of that size, all of it touched.
func ballast(megabytes int) []byte {
	heap := make([]byte, megabytes<<20)
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	return heap
}

// starts measures three ways to start one empty command.
type starts struct {
	runner *Runner
	spec   sandbox.Spec
	bwrap  []string
	took   [3][]time.Duration // plain, bwrap, native
}

func newStarts(tb testing.TB, r *Runner) *starts {
	if len(initBinary) == 0 {
		tb.Fatal("built without the init binary: run `make itest` or `make bench`, which build it and set the tag gavel_init")
	}
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		tb.Fatal("bubblewrap is needed for comparison: apt install bubblewrap")
	}
	s := &starts{runner: r, spec: sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"/usr/bin/true"}, InputDir: tb.TempDir(), OutputDir: tb.TempDir()}}
	s.bwrap = append([]string{bwrap}, bwrapArguments(tb, r, s.spec.InputDir)...)
	return s
}

// turn starts the command once each way.
func (s *starts) turn(tb testing.TB) {
	for i, argv := range [][]string{{"/usr/bin/true"}, s.bwrap} {
		begin := time.Now()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			tb.Fatalf("%s: %v: %s", argv[0], err, out)
		}
		s.took[i] = append(s.took[i], time.Since(begin))
	}
	begin := time.Now()
	res, err := s.runner.Run(context.Background(), s.spec)
	if err != nil || res.Status != sandbox.Exited || res.ExitCode != 0 {
		tb.Fatalf("native: %+v %v", res, err)
	}
	s.took[2] = append(s.took[2], time.Since(begin))
}

func (s *starts) median() (plain, bwrap, native time.Duration) {
	return middle(s.took[0]), middle(s.took[1]), middle(s.took[2])
}

func middle(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// bwrapArguments asks bubblewrap for what native shows of the host.
func bwrapArguments(tb testing.TB, r *Runner, inputs string) []string {
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
	// The only way to have it mount terminals; it is a tmpfs with the same devices and links.
	a = append(a, "--dev", "/dev", "--mqueue", "/dev/mqueue", "--tmpfs", "/dev/shm")
	for _, p := range hiddenProc {
		hidden := filepath.Join("/proc", p)
		if info, err := os.Stat(hidden); err == nil && info.IsDir() {
			a = append(a, "--tmpfs", hidden)
		} else if err == nil {
			a = append(a, "--ro-bind", "/dev/null", hidden)
		}
	}
	for _, p := range protectedProc {
		if _, err := os.Stat("/proc/" + p); err == nil {
			a = append(a, "--ro-bind", "/proc/"+p, "/proc/"+p)
		}
	}
	shown, err := r.cpuDir(r.spread.Count())
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range []string{cpus.SysDir, cpus.InfoFile, cpus.StatFile} {
		a = append(a, "--ro-bind", filepath.Join(shown, p), "/"+p)
	}
	return append(a, "--remount-ro", "/", "--chdir", "/build", "/usr/bin/true")
}
