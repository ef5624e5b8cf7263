//go:build itest

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownEngine is a Docker engine of the test's own, so that killing it ends nobody
// else's containers.
type ownEngine struct {
	dir, host string
	daemon    *exec.Cmd
}

func newOwnEngine(t *testing.T) *ownEngine {
	t.Helper()
	// Not t.TempDir: socket paths are short, and the engine's mounts outlive it.
	dir, err := os.MkdirTemp("", "gavel-kills")
	if err != nil {
		t.Fatal(err)
	}
	e := &ownEngine{dir: dir, host: "unix://" + filepath.Join(dir, "sock")}
	t.Cleanup(func() { e.remove(t) })
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.start(t)
	return e
}

// start starts the engine, for the first time or after kill.
func (e *ownEngine) start(t *testing.T) {
	t.Helper()
	mounted := e.layerMounts()
	out, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// Where nobody reaps the containerd that was killed, an engine takes it for alive.
	if err := os.Remove(filepath.Join(e.dir, "exec/containerd/containerd.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	e.daemon = exec.Command("dockerd", "--config-file", filepath.Join(e.dir, "daemon.json"), "--data-root", filepath.Join(e.dir, "data"),
		"--exec-root", filepath.Join(e.dir, "exec"), "--pidfile", filepath.Join(e.dir, "pid"), "--host", e.host,
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "overlay2",
		"--cgroup-parent", "/"+e.group())
	e.daemon.Stdout, e.daemon.Stderr = out, out
	if err := e.daemon.Start(); err != nil {
		t.Fatalf("starting a Docker engine for this test: %v; install dockerd", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if exec.Command("docker", "--host", e.host, "version").Run() == nil {
			e.unmountOrphans(t, mounted)
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(e.dir, "log"))
			t.Fatalf("the test's Docker engine does not answer:\n%s", said)
		}
	}
}

// layerMounts lists where layers are mounted.
func (e *ownEngine) layerMounts() (found []string) {
	for _, m := range mountPoints() {
		if strings.HasPrefix(m, filepath.Join(e.dir, "data/overlay2")+"/") {
			found = append(found, m)
		}
	}
	return found
}

// unmountOrphans unmounts those of the layers mounted when the engine was killed
// that no container has. It mounts a layer to prepare it before there is a
// container, and one killed in that moment never looks for the mount again: no
// worker can know of it, and a power cut would have ended it.
func (e *ownEngine) unmountOrphans(t *testing.T, mounted []string) {
	t.Helper()
	if len(mounted) == 0 {
		return
	}
	has := make(map[string]bool)
	ids, err := exec.Command("docker", "--host", e.host, "ps", "--all", "--quiet", "--no-trunc").Output()
	if err != nil {
		t.Fatalf("listing the containers of the test's engine: %v", err)
	}
	for _, id := range strings.Fields(string(ids)) {
		// A worker may have removed it meanwhile, and its mount with it.
		dir, err := exec.Command("docker", "--host", e.host, "inspect", "--format", "{{.GraphDriver.Data.MergedDir}}", id).Output()
		if err == nil {
			has[strings.TrimSpace(string(dir))] = true
		}
	}
	for _, m := range mounted {
		if has[m] || !slices.Contains(e.layerMounts(), m) {
			continue
		}
		t.Logf("the engine was killed while it prepared %s, and does not unmount it", m)
		_ = unix.Unmount(m, unix.MNT_DETACH) // what stays mounted is found as left over
	}
}

// processes are the daemon, its containerd and the shims of its containers: each
// is told a path in the engine's directory.
func (e *ownEngine) processes() (pids []int) {
	for _, p := range allProcesses() {
		if strings.Contains(p.command, "\x00"+e.dir+"/") {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// group is the cgroup in which it makes those of its containers.
func (e *ownEngine) group() string { return filepath.Base(e.dir) }

// kill kills the daemon, its containerd and all shims, as a power cut would.
func (e *ownEngine) kill() {
	for _, pid := range e.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended meanwhile needs none
	}
	_ = e.daemon.Wait() // killed
}

// owned lists what bears a worker's label, as id and owner.
func (e *ownEngine) owned(t *testing.T) (containers, volumes [][2]string) {
	t.Helper()
	list := func(args ...string) (found [][2]string) {
		t.Helper()
		var out []byte
		var err error
		for deadline := time.Now().Add(farmPatience); ; time.Sleep(50 * time.Millisecond) { // it may be restarting
			if out, err = exec.Command("docker", append([]string{"--host", e.host}, args...)...).Output(); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
			}
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) == 2 {
				found = append(found, [2]string{f[0], f[1]})
			}
		}
		return found
	}
	const label, format = "label=gavel.owner", `{{.Label "gavel.owner"}}`
	return list("ps", "--all", "--no-trunc", "--filter", label, "--format", "{{.ID}} "+format),
		list("volume", "ls", "--filter", label, "--format", "{{.Name}} "+format)
}

// loading says whether the engine is unpacking an image.
func (e *ownEngine) loading() bool {
	found, err := filepath.Glob(filepath.Join(e.dir, "data/tmp/docker-import-*"))
	return err == nil && len(found) > 0
}

// left lists what there is of containers: shims, mounts and cgroups.
func (e *ownEngine) left() (found []string) {
	for _, p := range allProcesses() {
		if strings.Contains(p.command, "\x00"+e.dir+"/") && strings.Contains(p.command, "containerd-shim") {
			found = append(found, "shim "+strings.ReplaceAll(p.command, "\x00", " "))
		}
	}
	for _, m := range mountPoints() {
		if strings.HasPrefix(m, e.dir+"/") && (strings.Contains(m, "/merged") || strings.Contains(m, "/rootfs") || strings.Contains(m, "/volumes/")) {
			found = append(found, "mount of the engine "+m)
		}
	}
	for _, g := range cgroupsOf([]string{e.group() + "/"}) {
		found = append(found, "cgroup "+g)
	}
	return found
}

func (e *ownEngine) remove(t *testing.T) {
	t.Helper()
	if e.daemon != nil && e.daemon.Process != nil {
		e.kill()
	}
	for _, m := range mountPoints() {
		if strings.HasPrefix(m, e.dir+"/") {
			_ = unix.Unmount(m, unix.MNT_DETACH)
		}
	}
	for _, g := range cgroupsOf([]string{e.group()}) {
		if err := os.Remove(g); err != nil {
			t.Errorf("removing the test's engine: %v", err)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		t.Errorf("removing the test's engine: %v", err)
	}
}
