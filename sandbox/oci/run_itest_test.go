//go:build itest

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/containertest"
	"gavel/sandbox/sandboxtest"
)

// shell returns a Spec that runs a script over an empty tree, and its log.
func shell(t testing.TB, root, script string) (sandbox.Spec, *signal) {
	t.Helper()
	log := newSignal("ready")
	return sandbox.Spec{
		Root: root, Argv: []string{"/bin/sh", "-c", script},
		InputDir: t.TempDir(), OutputDir: t.TempDir(), Log: log,
	}, log
}

// signal is a log that tells when it holds a text.
type signal struct {
	mu   sync.Mutex
	text string
	all  bytes.Buffer
	once sync.Once
	seen chan struct{}
}

func newSignal(text string) *signal { return &signal{text: text, seen: make(chan struct{})} }

func (s *signal) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
	if strings.Contains(s.all.String(), s.text) {
		s.once.Do(func() { close(s.seen) })
	}
	return len(p), nil
}

func (s *signal) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func mustRun(t testing.TB, r *Runner, s sandbox.Spec) sandbox.Result {
	t.Helper()
	res, err := r.Run(context.Background(), s)
	if err != nil {
		t.Fatalf("running %q: %v", s.Argv, err)
	}
	return res
}

// tree lists all that can be seen of a directory, with times.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d %d %d %d\n", path, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Nano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// An image that lacks every mount point, or has something else of its name,
// must serve, lead nowhere, and stay as it is.
func TestImageStaysPristine(t *testing.T) {
	for name, img := range map[string]sandbox.Image{"lacking": containertest.Busybox(t), "hostile": containertest.Hostile(t)} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, runtime string) {
				r := newRunner(t, runtime)
				closing(t, r)
				root := take(t, r, img)
				image := filepath.Join(r.config.ImageDir, strings.TrimPrefix(root, "sha256:"))
				before := tree(t, image)
				s, log := shell(t, root, `ls -l /proc/self/exe >/dev/null && echo proc; test -d /dev/shm && echo dev; echo x > /tmp/x && echo tmp; cat /tmp/x
					pwd -P; echo made > made; ls /sys; ls /sys/devices/system; test -L /.gavel-init || echo init
					for f in /bin/busybox /bin/new /new /etc/hosts /root/new /var/new; do { echo x > $f; } 2>/dev/null && echo "$f is writable"; done
					id -u; stat -c %u:%a / /bin /tmp`)
				s.Outputs = []string{"made"}
				res := mustRun(t, r, s)
				want := "proc\ndev\ntmp\nx\n/build\ndevices\ncpu\ninit\n65534\n0:755\n0:755\n0:1777\n"
				if res.Status != sandbox.Exited || log.String() != want {
					t.Errorf("%+v, saw\n%s\nwant\n%s", res, log, want)
				}
				if after := tree(t, image); after != before {
					t.Errorf("the image was\n%sand is\n%s", before, after)
				}
				noLeftovers(t, r)
			})
		})
	}
}

// The container's users are nobody of this machine.
func TestUsersAreMapped(t *testing.T) {
	img := containertest.Busybox(t)
	each(t, func(t *testing.T, runtime string) {
		r := newRunner(t, runtime)
		closing(t, r)
		s, log := shell(t, take(t, r, img), "cat /proc/self/uid_map /proc/self/gid_map; echo ready; sleep 1000000")
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := r.Run(ctx, s)
			ended <- err
		}()
		select {
		case <-log.seen:
		case err := <-ended:
			t.Fatal(err)
		}
		found := 0
		for _, pid := range members(t, r.name+"/") {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				continue // it has ended
			}
			found++
			if id := fmt.Sprint(sandbox.IDBase + sandbox.UID); !strings.Contains(string(status), "Uid:\t"+id+"\t"+id+"\t"+id) {
				t.Errorf("process %d is another user:\n%s", pid, status)
			}
		}
		if found < 2 { // PID 1 and the shell or its sleep
			t.Errorf("found %d processes", found)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		line := fmt.Sprintf("%10d %10d %10d\n", 0, sandbox.IDBase, sandbox.IDs)
		if want := line + line + "ready\n"; log.String() != want {
			t.Errorf("maps %q, want %q", log, want)
		}
		noLeftovers(t, r)
	})
}

// members lists the processes in cgroups whose path holds a text.
func members(t *testing.T, text string) []int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, name := range names {
		var pid int
		if _, err := fmt.Sscan(filepath.Base(name), &pid); err == nil && container.Holds(pid, text) {
			found = append(found, pid)
		}
	}
	return found
}

func TestLoopbackIsUp(t *testing.T) {
	img := containertest.Busybox(t)
	each(t, func(t *testing.T, runtime string) {
		r := newRunner(t, runtime)
		closing(t, r)
		s, log := shell(t, take(t, r, img), "(echo said | nc -l -p 7777 &); for i in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 7777 </dev/null 2>/dev/null && break; sleep 1; done; echo to-stdout > /dev/stdout")
		if res := mustRun(t, r, s); res.ExitCode != 0 || log.String() != "said\nto-stdout\n" {
			t.Errorf("%+v, log %q", res, log)
		}
	})
}

func TestHostNetwork(t *testing.T) {
	old := sandboxtest.Entry{Content: "nameserver 192.0.2.1\n"}
	old.Name = "etc/resolv.conf"
	img := containertest.Busybox(t, old)
	machines, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, runtime string) {
		r := newRunner(t, runtime)
		closing(t, r)
		s, log := shell(t, take(t, r, img), "readlink /proc/self/ns/net; uname -n; cat /etc/resolv.conf; ls /sys")
		s.Network = true
		ours, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		if res := mustRun(t, r, s); res.ExitCode != 0 || log.String() != ours+"\ngavel\n"+string(machines)+"devices\n" {
			t.Errorf("%+v, log %q", res, log)
		}
		noLeftovers(t, r)
	})
}

// Memory that the kernel takes back by killing PID 1 itself leaves no report;
// then the cgroup's word counts.
func TestFirstProcessKilledForMemory(t *testing.T) {
	img := containertest.Busybox(t)
	each(t, func(t *testing.T, runtime string) {
		r := newRunner(t, runtime)
		closing(t, r)
		// Files in /tmp are memory that belongs to no process, so everybody is killed.
		s, log := shell(t, take(t, r, img), "dd if=/dev/zero of=/tmp/big bs=1048576 count=200; dd if=/dev/zero of=/tmp/more bs=1048576 count=200; sleep 100")
		s.Limits = sandbox.Limits{MemoryBytes: 16 << 20, DiskBytes: 1 << 30, TimeMillis: 20_000}
		if res := mustRun(t, r, s); res.Status != sandbox.OOM || !strings.Contains(res.Detail, "16777216") {
			t.Errorf("%+v, log %q", res, log)
		}
		noLeftovers(t, r)
	})
}

func TestSmallestLimits(t *testing.T) {
	img := containertest.Busybox(t)
	each(t, func(t *testing.T, runtime string) {
		r := newRunner(t, runtime)
		closing(t, r)
		s, log := shell(t, take(t, r, img), "echo ran")
		s.Limits = sandbox.Limits{MemoryBytes: 16 << 20, Pids: 2, DiskBytes: 1 << 20, CPUMillis: 50}
		if res := mustRun(t, r, s); res.Status != sandbox.Exited || log.String() != "ran\n" {
			t.Errorf("%+v, log %q", res, log)
		}
	})
}

func TestKilledFromOutside(t *testing.T) {
	img := containertest.Busybox(t)
	each(t, func(t *testing.T, runtime string) {
		r := newRunner(t, runtime)
		closing(t, r)
		s, log := shell(t, take(t, r, img), "echo ready; sleep 1000000")
		go func() {
			<-log.seen
			container.Kill(r.name+"/", time.Minute)
		}()
		if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "from outside") {
			t.Errorf("error %v", err)
		}
		noLeftovers(t, r)
	})
}

func TestRefusals(t *testing.T) {
	r := newRunner(t, "runc")
	root := take(t, r, containertest.Busybox(t))
	s, _ := shell(t, "sha256:"+strings.Repeat("0", 64), "true")
	if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), "not among this worker's") {
		t.Errorf("error %v of an unknown image", err)
	}
	s.Root, s.Variation.CPUs = root, 4096
	if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v of more CPUs than there are", err)
	}
	c := r.config
	c.ScratchDir, c.ImageDir = t.TempDir(), t.TempDir()
	if second, err := New(context.Background(), c); second != nil || !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "another worker") {
		t.Errorf("a second runner of one owner: %v, %v", second, err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	hierarchies, err := findHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	if left := hierarchies.groups(r.name); len(left) > 0 {
		t.Errorf("Close leaves %q", left)
	}
	if _, err := os.Stat(filepath.Join(mountsDir, r.name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Close leaves the place of mounts: %v", err)
	}
	if _, err := r.Run(context.Background(), s); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v of a closed runner", err)
	}
	if _, err := r.TakeImage(context.Background(), containertest.Busybox(t)); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("error %v of a closed runner", err)
	}
}

// A runtime that cannot start containers is found out by New, and what of its
// attempt there was is gone.
func TestRuntimeThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "runc")
	script := "#!/bin/sh\n[ \"$1\" = --version ] && exec runc --version\nwhile [ $# -gt 0 ]; do [ \"$1\" = --log ] && log=$2; shift; done\n" +
		"echo 'cgroups in hybrid mode not supported, drop all controllers from cgroupv2' > $log; exit 1\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	c := Config{Runtime: path, ScratchDir: filepath.Join(dir, "s"), ImageDir: filepath.Join(dir, "i"), Owner: "itest-" + container.NewRunID(), Init: initFile}
	r, err := New(context.Background(), c)
	if r != nil || !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "trying "+path) || !strings.Contains(err.Error(), "hybrid mode") {
		t.Errorf("%v, %v", r, err)
	}
	again := newRunner(t, "runc", func(to *Config) { *to = c; to.Runtime = "runc" })
	closing(t, again)
	noLeftovers(t, again)
}
