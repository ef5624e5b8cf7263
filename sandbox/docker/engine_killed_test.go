//go:build itest

package docker

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// privateEngine is a Docker engine of the test's own, which it may kill.
type privateEngine struct {
	dir, host string
	daemon    *exec.Cmd
}

func startEngine(t *testing.T) *privateEngine {
	t.Helper()
	// Not t.TempDir: socket paths are short, and the engine's mounts outlive it.
	dir, err := os.MkdirTemp("", "gavel-engine")
	if err != nil {
		t.Fatal(err)
	}
	e := &privateEngine{dir: dir, host: "unix://" + filepath.Join(dir, "sock")}
	config, log := filepath.Join(dir, "daemon.json"), filepath.Join(dir, "log")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	e.daemon = exec.Command("dockerd", "--config-file", config, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"), "--host", e.host,
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs")
	e.daemon.Stdout, e.daemon.Stderr = out, out
	if err := e.daemon.Start(); err != nil {
		t.Fatalf("starting a Docker engine for this test: %v; install dockerd", err)
	}
	t.Cleanup(func() { e.remove(t) })
	deadline, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	engine, err := connect(e.host)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := engine.Ping(deadline); err == nil {
			return e
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			said, _ := os.ReadFile(log)
			t.Fatalf("the test's Docker engine does not answer:\n%s", said)
		}
	}
}

// kill is kill -9 of the daemon alone; its containerd and containers stay.
func (e *privateEngine) kill(t *testing.T) {
	t.Helper()
	if err := e.daemon.Process.Kill(); err != nil {
		t.Error(err)
	}
	e.daemon.Wait()
}

// remove takes the daemon, the containerd it started, and their mounts away.
func (e *privateEngine) remove(t *testing.T) {
	t.Helper()
	e.daemon.Process.Kill()
	e.daemon.Wait()
	if text, err := os.ReadFile(filepath.Join(e.dir, "exec/containerd/containerd.pid")); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	for _, pid := range told(t, e.dir+"/") { // its containers' shims outlive daemon and containerd
		syscall.Kill(pid, syscall.SIGKILL)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if where := strings.Fields(line)[1]; strings.HasPrefix(where, e.dir+"/") {
			unix.Unmount(where, unix.MNT_DETACH)
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		t.Logf("removing the test's engine: %v", err)
	}
}

// told lists the processes that have an argument starting with prefix.
func told(t *testing.T, prefix string) []int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, name := range names {
		text, err := os.ReadFile(name) // a process that ended meanwhile has none
		if err != nil || !strings.Contains(string(text), "\x00"+prefix) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// copyImage loads an image of the machine's engine into this one.
func (e *privateEngine) copyImage(t *testing.T, id string) {
	t.Helper()
	save, load := exec.Command("docker", "save", id), exec.Command("docker", "--host", e.host, "load")
	r, w := io.Pipe()
	save.Stdout, load.Stdin = w, r
	go func() { w.CloseWithError(save.Run()) }()
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("copying the image: %v\n%s", err, out)
	}
}

// An engine that is killed leaves its containers running. The command must not
// go on unwatched, and the run must end well before the engine is back.
func TestEngineKilledDuringTheCommand(t *testing.T) {
	e := startEngine(t)
	e.copyImage(t, busybox)
	r := newRunner(t, func(c *Config) { c.Host = e.host })
	marker := "1" + strconv.FormatInt(time.Now().UnixNano()%1e9+1e9, 10) // seconds nobody else sleeps
	s, _ := shell(t, busybox, "sleep "+marker+" & echo ready; sleep "+marker)
	log := newSignal("ready")
	s.Log = log
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		<-log.seen // while the engine may still be in its start call
		e.kill(t)
	}()
	_, err := r.Run(context.Background(), s)
	if !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	<-killed
	if alive := told(t, marker); len(alive) > 0 {
		t.Errorf("the command outlived its engine and its run: %v", alive)
	}
	if err := r.Close(); err == nil || !strings.Contains(err.Error(), "no Docker engine answers") {
		t.Errorf("closing without an engine: %v, want to be told what was not removed", err)
	}
}
