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
	"gavel/sandbox/container/containertest"
	"gavel/sandbox/sandboxtest"
)

// privateEngine is a Docker engine of the test's own, which it may kill.
type privateEngine struct {
	dir, host string
	flags     []string
	daemon    *exec.Cmd
}

func startEngine(t *testing.T, flags ...string) *privateEngine {
	t.Helper()
	// Not t.TempDir: socket paths are short, and the engine's mounts outlive it.
	dir, err := os.MkdirTemp("", "gavel-engine")
	if err != nil {
		t.Fatal(err)
	}
	e := &privateEngine{dir: dir, host: "unix://" + filepath.Join(dir, "sock"), flags: flags}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.remove(t) })
	e.start(t)
	return e
}

// start starts the daemon, for the first time or after kill, and waits for its answer.
func (e *privateEngine) start(t *testing.T) {
	t.Helper()
	log := filepath.Join(e.dir, "log")
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// The containerd of an engine that was killed dies with it, but where nobody
	// reaps it an engine takes it for alive.
	if err := os.Remove(filepath.Join(e.dir, "exec/containerd/containerd.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	e.daemon = exec.Command("dockerd", append([]string{"--config-file", filepath.Join(e.dir, "daemon.json"), "--data-root", filepath.Join(e.dir, "data"),
		"--exec-root", filepath.Join(e.dir, "exec"), "--pidfile", filepath.Join(e.dir, "pid"), "--host", e.host,
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs"}, e.flags...)...)
	e.daemon.Stdout, e.daemon.Stderr = out, out
	if err := e.daemon.Start(); err != nil {
		t.Fatalf("starting a Docker engine for this test: %v; install dockerd", err)
	}
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
			return
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
	took := time.Since(log.at())
	if !errors.Is(err, sandbox.ErrUnavailable) || took > restartTimeout {
		t.Errorf("error %v after %v, want ErrUnavailable at once", err, took)
	}
	<-killed
	if alive := told(t, marker); len(alive) > 0 {
		t.Errorf("the command outlived its engine and its run: %v", alive)
	}
	if err := r.Close(); err == nil || !strings.Contains(err.Error(), "no Docker engine answers") {
		t.Errorf("closing without an engine: %v, want to be told what was not removed", err)
	}
}

// An engine that is away when a command is to be started, as in an upgrade, is
// waited for: the worker need not begin again.
func TestEngineKilledBeforeTheCommand(t *testing.T) {
	e := startEngine(t)
	e.copyImage(t, busybox)
	r := newRunner(t, func(c *Config) { c.Host = e.host })
	closing(t, r)
	s, log := shell(t, busybox, "echo ran")
	mustRun(t, r, s)
	e.kill(t)
	type end struct {
		res sandbox.Result
		err error
	}
	ended := make(chan end, 1)
	s.OutputDir = t.TempDir()
	go func() {
		res, err := r.Run(context.Background(), s)
		ended <- end{res, err}
	}()
	select {
	case got := <-ended:
		t.Errorf("%+v, %v while there was no engine", got.res, got.err)
	case <-time.After(4 * restartPoll):
	}
	e.start(t)
	if got := <-ended; got.err != nil || got.res.Status != sandbox.Exited || log.String() != "ran\nran\n" {
		t.Errorf("%+v, %v, log %q", got.res, got.err, log)
	}
	noLeftovers(t, r)
}

// Another runtime than the engine's own is asked for by its name there, and must
// keep the whole contract.
func TestOtherRuntime(t *testing.T) {
	crun, err := exec.LookPath("crun")
	if err != nil {
		t.Fatalf("%v; apt-get install crun", err)
	}
	if err := containertest.UseVersionOne(); err != nil {
		t.Fatal(err)
	}
	e := startEngine(t, "--add-runtime", "other="+crun)
	e.copyImage(t, busybox)
	var r *Runner
	sandboxtest.Contract(t, sandboxtest.Config{
		New: func(t testing.TB) sandbox.Runner {
			r = newRunner(t, func(c *Config) { c.Host, c.Runtime = e.host, "other" })
			s, _ := shell(t, busybox, "echo ready; sleep 1000000")
			log := newSignal("ready")
			s.Log = log
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := r.Run(ctx, s)
				ended <- err
			}()
			select {
			case err := <-ended:
				t.Fatal(err)
			case <-log.seen:
			}
			for run := range r.currentRuns() {
				found, err := r.engine.ContainerInspect(ctx, containerName(run))
				if err != nil || found.HostConfig.Runtime != "other" {
					t.Errorf("the container is run by %+v, %v", found.HostConfig, err)
				}
			}
			cancel()
			<-ended
			return r
		},
		Root:            busybox,
		ForeignRoot:     sandbox.HostRoot,
		ForeignRootSays: "--sandbox native",
		Leftovers:       func(t testing.TB) []string { return leftovers(t, r) },
	})
}
