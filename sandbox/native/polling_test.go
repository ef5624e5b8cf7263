package native

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// holdSegment makes this test binary a command that fills a shared memory
// segment and lets go of it.
const holdSegment = "GAVEL_TEST_HOLD_SEGMENT"

func beSegmentHolder() {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 128<<20, 0o600)
	if err == nil {
		var b []byte
		if b, err = unix.SysvShmAttach(id, 0, 0); err == nil {
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			err = unix.SysvShmDetach(b)
		}
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(2)
	}
	time.Sleep(5 * time.Second) // until it is noticed
	os.Exit(0)
}

// withoutCgroups is a runner as on a machine that refuses them.
func withoutCgroups(t testing.TB, c Config) *Runner {
	t.Helper()
	r := openRunner(t, c)
	if err := r.dropSpare(); err != nil {
		t.Error(err)
	}
	if r.cgroups != nil {
		if err := r.cgroups.close(); err != nil {
			t.Error(err)
		}
		r.cgroups = nil
	}
	return r
}

// The contract holds as well where memory is polled.
func TestContractWithoutCgroups(t *testing.T) {
	t.Parallel()
	sandboxtest.Contract(t, sandboxtest.Config{
		New:             func(t testing.TB) sandbox.Runner { return withoutCgroups(t, Config{ScratchDir: t.TempDir()}) },
		Root:            sandbox.HostRoot,
		PathTail:        findGoroot(os.Getenv).pathTail(),
		CannotVary:      []string{sandboxtest.VaryClock},
		ForeignRoot:     "sha256:" + strings.Repeat("0", 64),
		ForeignRootSays: "needs a worker started with --sandbox docker",
		Leftovers:       func(t testing.TB) []string { return nil },
	})
}

// Segments outlive the processes that filled them, and no process's size has them.
func TestSharedMemoryCountsAfterItsProcesses(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	inputs := t.TempDir()
	if err := os.WriteFile(filepath.Join(inputs, "hold"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Runner{"as the machine has it": openRunner(t, Config{ScratchDir: t.TempDir()}), "polled": withoutCgroups(t, Config{ScratchDir: t.TempDir()})} {
		res, err := r.Run(context.Background(), sandbox.Spec{
			Root: sandbox.HostRoot, Argv: []string{"./hold"}, Env: []string{holdSegment + "=1"}, InputDir: inputs, OutputDir: t.TempDir(), Log: os.Stderr,
			Limits: sandbox.Limits{MemoryBytes: 64 << 20},
		})
		if err != nil || res.Status != sandbox.OOM {
			t.Errorf("%s: %+v %v", name, res, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
