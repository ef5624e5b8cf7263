package docker

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	engine "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/system"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
)

func TestNewSaysWhatToDo(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/from-environment.sock")
	for name, c := range map[string]struct {
		config Config
		says   []string
	}{
		"no engine": {Config{Host: "unix:///nonexistent/docker.sock", Owner: "o", ScratchDir: "/s"},
			[]string{"unix:///nonexistent/docker.sock", "systemctl start docker", "--sandbox native"}},
		"from the environment": {Config{Owner: "o", ScratchDir: "/s"}, []string{"/nonexistent/from-environment.sock"}},
		"another machine":      {Config{Host: "tcp://192.0.2.1:2375", Owner: "o", ScratchDir: "/s"}, []string{"tcp://192.0.2.1:2375", "unix://"}},
		"no owner":             {Config{ScratchDir: "/s"}, []string{"owner"}},
		"relative scratch":     {Config{Owner: "o", ScratchDir: "s"}, []string{`"s"`, "absolute"}},
		"scratch with comma":   {Config{Owner: "o", ScratchDir: "/a,b"}, []string{"comma"}},
	} {
		r, err := New(context.Background(), c.config)
		if r != nil || !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("%s: %v, %v, want ErrUnavailable", name, r, err)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %q does not say %q", name, err, s)
			}
		}
	}
}

func TestCheckEngine(t *testing.T) {
	linux := system.Info{OSType: "linux", Runtimes: map[string]system.RuntimeWithStatus{"runc": {}, "runsc": {}}}
	rootless := linux
	rootless.SecurityOptions = []string{"name=seccomp,profile=default", "name=rootless"}
	for name, c := range map[string]struct {
		info    system.Info
		runtime string
		says    string // empty: accepted
	}{
		"default runtime": {linux, "", ""},
		"named runtime":   {linux, "runsc", ""},
		"shim":            {linux, "io.containerd.kata.v2", ""},
		"path":            {linux, "/usr/bin/crun", ""},
		"unknown runtime": {linux, "kata", "only runc, runsc"},
		"rootless":        {rootless, "", "rootless"},
		"windows":         {system.Info{OSType: "windows"}, "", "windows"},
	} {
		err := checkEngine(c.info, c.runtime)
		if (err == nil) != (c.says == "") || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
	}
}

func TestWeaknesses(t *testing.T) {
	strong := system.Info{
		SecurityOptions: []string{"name=seccomp,profile=default"},
		MemoryLimit:     true, SwapLimit: true, PidsLimit: true, CPUCfsQuota: true,
	}
	if got := weaknesses(strong); len(got) != 0 {
		t.Errorf("a strong engine has weaknesses %q", got)
	}
	for word, weaken := range map[string]func(*system.Info){
		"seccomp":    func(i *system.Info) { i.SecurityOptions = nil },
		"memory":     func(i *system.Info) { i.MemoryLimit = false },
		"swap":       func(i *system.Info) { i.SwapLimit = false },
		"processes":  func(i *system.Info) { i.PidsLimit = false },
		"CPU":        func(i *system.Info) { i.CPUCfsQuota = false },
		"containerd": func(i *system.Info) { i.DriverStatus = [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}} },
	} {
		weak := strong
		weaken(&weak)
		if got := weaknesses(weak); len(got) != 1 || !strings.Contains(got[0], word) {
			t.Errorf("weak in %s: %q", word, got)
		}
	}
}

func TestHostConfig(t *testing.T) {
	r := &Runner{config: Config{Owner: "me", Runtime: "runsc"}, cpus: 4, seccomp: "{}", initPath: "/scratch/init-1"}
	s := sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 64 << 20, CPUMillis: 1500, Pids: 20, DiskBytes: 1 << 20}}
	h := r.hostConfig("abc", s, imageFacts{volumes: []string{"/data", "/tmp", "/build"}}, files{container.Scratch{Dir: "/scratch/runs/abc"}, "/scratch/cpus/2"})
	if h.NetworkMode != "none" || h.Runtime != "runsc" || !h.ReadonlyRootfs || h.Privileged || h.UsernsMode != "" ||
		!slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.CapAdd) != 0 || !slices.Equal(h.SecurityOpt, []string{"no-new-privileges", "seccomp={}"}) {
		t.Errorf("isolation: %+v", h)
	}
	if h.Memory != 64<<20 || h.MemorySwap != h.Memory || *h.PidsLimit != 20+pid1.Threads || h.NanoCPUs != 1_500_000_000 {
		t.Errorf("limits: %+v", h.Resources)
	}
	if got := h.Tmpfs["/tmp"]; !strings.Contains(got, "size=1048576") || !strings.Contains(got, "mode=1777") {
		t.Errorf("/tmp: %s", got)
	}
	checkMounts(t, h)
	s.Limits.CPUMillis, s.Network, r.remapped = 64_000, true, true
	h = r.hostConfig("abc", s, imageFacts{}, files{})
	if h.NanoCPUs != 4_000_000_000 || h.NetworkMode != "host" || h.UsernsMode != "host" {
		t.Errorf("CPUs beyond the engine's %d, network %q, user namespace %q", h.NanoCPUs, h.NetworkMode, h.UsernsMode)
	}
}

func checkMounts(t *testing.T, h *engine.HostConfig) {
	t.Helper()
	if len(h.Binds) != 0 || len(h.Mounts) != 6 {
		t.Fatalf("mounts: %+v %+v", h.Binds, h.Mounts)
	}
	if m := h.Mounts[0]; m.Type != mount.TypeBind || m.Source != "/scratch/init-1" || m.Target != pid1.Path || !m.ReadOnly {
		t.Errorf("PID 1: %+v", m)
	}
	build := h.Mounts[1]
	want := "nosuid,nodev,lowerdir=/scratch/runs/abc/lower,upperdir=/scratch/runs/abc/upper,workdir=/scratch/runs/abc/work"
	if build.Target != "/build" || build.Source != "" || build.VolumeOptions.DriverConfig.Options["o"] != want {
		t.Errorf("/build: %+v %+v", build, build.VolumeOptions.DriverConfig)
	}
	for i, target := range []string{"/proc/cpuinfo", "/proc/stat", "/sys/devices/system/cpu"} {
		if m := h.Mounts[2+i]; m.Type != mount.TypeBind || m.Source != "/scratch/cpus/2"+target || m.Target != target || !m.ReadOnly {
			t.Errorf("CPUs: %+v", m)
		}
	}
	if m := h.Mounts[5]; m.Target != "/data" || !m.ReadOnly || m.VolumeOptions.Labels[ownerLabel] != "me" {
		t.Errorf("a volume of the image: %+v", m)
	}
}

// A volume of the image in which the build directory's mount point must be made
// cannot be read-only; it is a small file system of root's instead.
func TestVolumeAboveTheBuildDirectory(t *testing.T) {
	r := &Runner{config: Config{Owner: "me"}, initPath: "/scratch/init-1"}
	s := sandbox.Spec{Variation: sandbox.Variation{WorkRoot: "/build/v3/tree"}}
	mounts := r.mounts("abc", s, imageFacts{volumes: []string{"/build", "/build/v3/tree", "/buildings"}}, files{})
	if len(mounts) != 7 || mounts[1].Target != "/build/v3/tree" {
		t.Fatalf("mounts: %+v", mounts)
	}
	if m := mounts[5]; m.Type != mount.TypeTmpfs || m.Target != "/build" || m.TmpfsOptions.Mode != 0o755 {
		t.Errorf("/build: %+v", m)
	}
	if m := mounts[6]; m.Type != mount.TypeVolume || m.Target != "/buildings" || !m.ReadOnly {
		t.Errorf("/buildings: %+v", m)
	}
}

func TestContainerConfigTakesNothingFromTheImage(t *testing.T) {
	r := &Runner{config: Config{Owner: "me"}}
	c := r.containerConfig("abc", sandbox.Spec{Root: "sha256:00", Argv: []string{"make"}}, imageFacts{id: "sha256:01"})
	if c.Image != "sha256:01" || c.User != "65534:65534" || c.Hostname != "gavel" || c.WorkingDir != "/" || !slices.Equal(c.Entrypoint, []string{pid1.Path}) ||
		!slices.Equal(c.Healthcheck.Test, []string{"NONE"}) || !c.StdinOnce || c.Tty {
		t.Errorf("%+v", c)
	}
	if c.Labels[ownerLabel] != "me" || c.Labels[runLabel] != "abc" {
		t.Errorf("labels %v", c.Labels)
	}
	o := container.Order(sandbox.Spec{Argv: []string{"make"}, WorkDir: "a/b", Env: []string{"K=V"}}, nil)
	if o.Dir != "/build/a/b" || o.Env[0] != "PATH="+sandbox.SearchPath || o.Env[len(o.Env)-1] != "K=V" {
		t.Errorf("order %+v", o)
	}
}

// retrier is a Runner of which only retry is used.
func retrier(t *testing.T) *Runner {
	t.Helper()
	engine, err := connect("unix:///nonexistent/docker.sock")
	if err != nil {
		t.Fatal(err)
	}
	return &Runner{engine: engine}
}

func TestRetryWaitsForAnEngineThatRestarts(t *testing.T) {
	r := retrier(t)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		calls := 0
		err := r.retry(context.Background(), "asking", func(context.Context) error {
			if calls++; time.Since(begin) < restartTimeout-time.Second {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
		if err != nil || calls < 2 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

func TestRetryGivesUp(t *testing.T) {
	r := retrier(t)
	refused := errors.New("no such thing")
	for name, c := range map[string]struct {
		err      error
		within   time.Duration
		attempts int // exactly, or any number if 0
		says     string
	}{
		"engine gone":    {io.EOF, restartTimeout + 2*restartPoll, 0, "systemctl start docker"},
		"engine refuses": {refused, 0, 1, "asking"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				calls := 0
				err := r.retry(context.Background(), "asking", func(context.Context) error {
					calls++
					return c.err
				})
				if !errors.Is(err, sandbox.ErrUnavailable) || !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(begin); took > c.within || (c.attempts != 0 && calls != c.attempts) {
					t.Errorf("took %v and %d calls", took, calls)
				}
			})
		})
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	r := retrier(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begin := time.Now()
		err := r.retry(ctx, "asking", func(context.Context) error { return io.EOF })
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sandbox.ErrUnavailable) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// An engine that takes a call and never answers it is no lost connection: the
// call is not repeated.
func TestRetryDoesNotRepeatACallThatHangs(t *testing.T) {
	r := retrier(t)
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		begin := time.Now()
		err := r.retry(context.Background(), "asking", func(ctx context.Context) error {
			calls++
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, sandbox.ErrUnavailable) || calls != 1 || time.Since(begin) != callTimeout {
			t.Errorf("%v after %d calls and %v", err, calls, time.Since(begin))
		}
	})
}
