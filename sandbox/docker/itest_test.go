//go:build itest

package docker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/sandboxtest"
)

// What TestMain prepares for every test of this file's build tag.
var (
	busybox  string // id of an image with only a static busybox
	stubborn string // the same files, with a config that asks for everything
	initFile string // PID 1's program
)

func TestMain(m *testing.M) {
	code, err := prepared(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the docker tests:", err)
		code = 1
	}
	os.Exit(code)
}

func prepared(m *testing.M) (int, error) {
	if len(os.Args) > 2 && os.Args[1] == crashWorker {
		return 0, runAndHang(os.Args[2:])
	}
	if len(os.Args) > 2 && os.Args[1] == crashLoop {
		return 0, runForEver(os.Args[2:])
	}
	dir, err := os.MkdirTemp("", "gavel-docker-itest")
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
	if busybox, err = makeImage(); err != nil {
		return 0, err
	}
	if stubborn, err = makeImage("--stubborn"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func makeImage(args ...string) (string, error) {
	script := exec.Command("../../testdata/images/busybox.sh", args...)
	script.Stderr = os.Stderr
	id, err := script.Output()
	return strings.TrimSpace(string(id)), err
}

// newRunner returns a runner of an owner of its own, not closed by it.
func newRunner(t testing.TB, change ...func(*Config)) *Runner {
	t.Helper()
	c := Config{ScratchDir: t.TempDir(), Owner: "itest-" + container.NewRunID(), Init: initFile}
	for _, f := range change {
		f(&c)
	}
	r, err := New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
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

// leftovers lists what an owner has in the engine and on the mount table, once its
// spare is dropped.
func leftovers(t testing.TB, r *Runner) []string {
	t.Helper()
	r.dropSpare()
	r.removals.Wait()
	ctx := context.Background()
	mine := filters.NewArgs(filters.Arg("label", ownerLabel+"="+r.config.Owner))
	var left []string
	containers, err := r.engine.ContainerList(ctx, engine.ListOptions{All: true, Filters: mine})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		left = append(left, "container "+c.ID+" "+c.Status)
	}
	volumes, err := r.engine.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes.Volumes {
		left = append(left, "volume "+v.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, r.config.ScratchDir) {
			left = append(left, "mount "+line)
		}
	}
	runs, err := r.place.Runs()
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		left = append(left, "scratch "+run)
	}
	return left
}

func noLeftovers(t testing.TB, r *Runner) {
	t.Helper()
	if left := leftovers(t, r); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestContract(t *testing.T) {
	for name, root := range map[string]string{"plain image": busybox, "stubborn image": stubborn} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r *Runner
			sandboxtest.Contract(t, sandboxtest.Config{
				New: func(t testing.TB) sandbox.Runner {
					r = newRunner(t)
					return r
				},
				Root:            root,
				ForeignRoot:     sandbox.HostRoot,
				ForeignRootSays: "--sandbox native",
				Leftovers:       func(t testing.TB) []string { return leftovers(t, r) },
			})
		})
	}
}
