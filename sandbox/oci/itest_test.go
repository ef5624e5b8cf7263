//go:build itest

package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/containertest"
	"gavel/sandbox/sandboxtest"
)

// runtimes are those that every test runs with.
var runtimes = []string{"runc", "crun"}

// initFile is PID 1's program.
var initFile string

func TestMain(m *testing.M) {
	code, err := prepared(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the oci tests:", err)
		code = 1
	}
	os.Exit(code)
}

func prepared(m *testing.M) (int, error) {
	if len(os.Args) > 2 && os.Args[1] == crashWorker {
		return 0, runAndHang(os.Args[2:])
	}
	dir, err := os.MkdirTemp("", "gavel-oci-itest")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	initFile = filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", initFile, "../container/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building the init program: %w\n%s", err, out)
	}
	if err := containertest.UseVersionOne(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// newRunner returns a runner of an owner of its own, not closed by it.
func newRunner(t testing.TB, runtime string, change ...func(*Config)) *Runner {
	t.Helper()
	dir := t.TempDir()
	c := Config{
		Runtime: runtime, ScratchDir: filepath.Join(dir, "scratch"), ImageDir: filepath.Join(dir, "images"),
		Owner: "itest-" + container.NewRunID(), Init: initFile,
	}
	for _, f := range change {
		f(&c)
	}
	r, err := New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever closes it does so before.
	t.Cleanup(func() {
		dir := filepath.Join(mountsDir, r.name)
		if entries, err := os.ReadDir(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind: %v, %v", dir, entries, err)
			os.RemoveAll(dir)
		}
	})
	return r
}

func closing(t testing.TB, r *Runner) {
	t.Helper()
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
}

func take(t testing.TB, r *Runner, img sandbox.Image) string {
	t.Helper()
	root, err := r.TakeImage(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// leftovers lists what an owner has of mounts, cgroups and files of runs.
func leftovers(t testing.TB, r *Runner) []string {
	t.Helper()
	var left []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, r.name) {
			left = append(left, "mount "+line)
		}
	}
	hierarchies, err := findHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range hierarchies.groups(r.name) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				left = append(left, "cgroup "+filepath.Join(dir, e.Name()))
			}
		}
	}
	for _, dir := range []string{r.statePath(), filepath.Dir(r.bundlePath("any")), filepath.Join(mountsDir, r.name, "runs")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // Close removes one
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	return left
}

func noLeftovers(t testing.TB, r *Runner) {
	t.Helper()
	if left := leftovers(t, r); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func each(t *testing.T, test func(t *testing.T, runtime string)) {
	for _, runtime := range runtimes {
		t.Run(runtime, func(t *testing.T) { test(t, runtime) })
	}
}

func TestContract(t *testing.T) {
	img := containertest.Busybox(t)
	each(t, func(t *testing.T, runtime string) {
		var r *Runner
		sandboxtest.Contract(t, sandboxtest.Config{
			New: func(t testing.TB) sandbox.Runner {
				r = newRunner(t, runtime)
				take(t, r, img)
				return r
			},
			Root:            img.Root(),
			ForeignRoot:     sandbox.HostRoot,
			ForeignRootSays: "--sandbox native",
			Leftovers:       func(t testing.TB) []string { return leftovers(t, r) },
		})
	})
}
