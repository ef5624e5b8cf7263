package native

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	MaybeInit()
	if scratch := os.Getenv(workerScratch); scratch != "" {
		beWorker(scratch)
	}
	if os.Getenv(countCPUs) != "" {
		sayCPUs()
	}
	if os.Getenv(askKernel) != "" {
		callKernel()
	}
	if kind := os.Getenv(holdMemory); kind != "" {
		beHolder(kind)
	}
	os.Exit(m.Run())
}

// newRunner starts a runner with scratch of its own, closed at the end.
func newRunner(t testing.TB) *Runner {
	t.Helper()
	r := openRunner(t, Config{ScratchDir: t.TempDir()})
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return r
}

func openRunner(t testing.TB, c Config) *Runner {
	t.Helper()
	r, err := New(context.Background(), c)
	if err != nil {
		t.Fatalf("starting a runner: %v", err)
	}
	for _, n := range r.Describe().Notes {
		t.Log(n)
	}
	return r
}

// held lists the cgroups of commands that a runner still has.
func held(t testing.TB, r *Runner) []string {
	t.Helper()
	if r.cgroups == nil {
		return nil
	}
	if err := r.dropSpare(); err != nil {
		t.Error(err)
	}
	var found []string
	for _, dir := range r.cgroups.dirs {
		groups, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, groups...)
	}
	return found
}

func TestContract(t *testing.T) {
	t.Parallel()
	contract(t, func(*Runner) {})
}

// The contract holds as well on kernels where inputs must be copied.
func TestContractWithCopiedInputs(t *testing.T) {
	t.Parallel()
	contract(t, func(r *Runner) { r.copies = true })
}

// contract runs the suite against a runner that was changed before its first command.
func contract(t *testing.T, change func(*Runner)) {
	var r *Runner
	sandboxtest.Contract(t, sandboxtest.Config{
		New: func(t testing.TB) sandbox.Runner {
			r = openRunner(t, Config{ScratchDir: t.TempDir()})
			change(r)
			return r
		},
		Root:            sandbox.HostRoot,
		PathTail:        findGoroot(os.Getenv).pathTail(),
		ForeignRoot:     "sha256:" + strings.Repeat("0", 64),
		ForeignRootSays: "needs a worker started with --sandbox docker",
		Leftovers:       func(t testing.TB) []string { return held(t, r) },
	})
}

func TestClosedRunnerIsUnavailable(t *testing.T) {
	r := openRunner(t, Config{ScratchDir: t.TempDir()})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s := sandbox.Spec{Root: sandbox.HostRoot, Argv: []string{"true"}, InputDir: t.TempDir(), OutputDir: t.TempDir()}
	if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}
