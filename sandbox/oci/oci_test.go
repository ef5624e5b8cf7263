package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gavel/sandbox"
	"gavel/sandbox/container/pid1"
	"gavel/sandbox/native"
	"gavel/sandbox/seccomp/profile"
)

// Images and inputs that one runner's users own must be another's, too.
func TestUsersAreTheNativeOnes(t *testing.T) {
	if sandbox.IDBase != native.IDBase {
		t.Errorf("users begin at %d here and at %d in the native sandbox", sandbox.IDBase, native.IDBase)
	}
}

func TestConfigSaysWhatToDo(t *testing.T) {
	good := Config{Runtime: "runc", Owner: "o", ScratchDir: "/s", ImageDir: "/i"}
	for says, change := range map[string]func(*Config){
		"owner":                func(c *Config) { c.Owner = "" },
		`scratch directory "s`: func(c *Config) { c.ScratchDir = "s" },
		`image directory ""`:   func(c *Config) { c.ImageDir = "" },
	} {
		c := good
		change(&c)
		if r, err := New(context.Background(), c); r != nil || !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want ErrUnavailable that says %q", err, says)
		}
	}
}

func TestRuntimeIsLookedUp(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, says := range map[string]string{
		"":               "name runc, crun or runsc",
		"runc":           "apt-get install runc",
		"crun":           "apt-get install crun",
		"runsc":          "gvisor.dev",
		"/opt/x/runsc":   "gvisor.dev",
		"other":          "give its path",
		"/nonexistent/x": "/nonexistent/x is not installed",
	} {
		if _, err := findRuntime(context.Background(), name, "/state"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want it to say %q", name, err, says)
		}
	}
}

// fakeRuntime is a program that says what a runtime would.
func fakeRuntime(t *testing.T, script string) runtime {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runsc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	rt, err := findRuntime(context.Background(), path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

func TestRuntimeComplains(t *testing.T) {
	rt := fakeRuntime(t, `case "$1" in --version) echo "runsc version 7"; echo more; exit;; esac
		while [ $# -gt 0 ]; do case "$1" in --log) log=$2;; --bundle) bundle=$2;; esac; shift; done
		if [ -e "$bundle/well" ]; then echo 42 > "$bundle/pid"; exit; fi
		printf 'no luck\nat all\n' > "${log:-/dev/stderr}"; exit 3`)
	if notes := rt.notes(false); len(notes) != 3 || !strings.Contains(notes[0], "runsc version 7)") || !strings.Contains(notes[2], "swap") {
		t.Errorf("notes %q", notes)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	bundle := t.TempDir()
	_, err = rt.start(context.Background(), bundle, "id", [3]*os.File{null, null, null})
	if !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "no luck at all") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "well"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if pid, err := rt.start(context.Background(), bundle, "id", [3]*os.File{null, null, null}); pid != 42 || err != nil {
		t.Errorf("process %d, %v", pid, err)
	}
	if err := rt.remove(context.Background(), "id"); err != nil {
		t.Errorf("removing a container that is not there: %v", err)
	}
	if err := os.Mkdir(filepath.Join(rt.state, "id"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := rt.remove(context.Background(), "id"); !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), "no luck at all") {
		t.Errorf("removing one that is: %v", err)
	}
}

func TestHybridCgroupsAreExplained(t *testing.T) {
	said := fmt.Errorf("%w: cgroups in hybrid mode not supported, drop all controllers from cgroupv2", sandbox.ErrUnavailable)
	err := explain(said, []string{"hugetlb", "misc"})
	for _, want := range []string{
		"mkdir -p /sys/fs/cgroup/hugetlb && mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb; mkdir -p /sys/fs/cgroup/misc", "use runc",
	} {
		if !errors.Is(err, sandbox.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	for _, other := range []error{explain(said, nil), explain(sandbox.ErrUnavailable, []string{"hugetlb"})} {
		if strings.Contains(other.Error(), "mount") {
			t.Errorf("%v asks for a mount that does not help", other)
		}
	}
}

func TestHierarchies(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"memory/g/run/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"two/g/run/memory.events":         "oom 1\noom_kill 0\n",
		"two/g/swap/memory.swap.max":      "0\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	table := "proc /proc proc rw 0 0\ncgroup " + dir + "/memory cgroup rw,memory 0 0\ncgroup2 " + dir + "/two cgroup2 rw 0 0\nx /a\\040b cgroup rw 0 0\nshort\n"
	all := parseHierarchies(table)
	if want := []string{dir + "/memory", dir + "/two", "/a b"}; !slices.Equal(all, want) {
		t.Fatalf("found %q, want %q", all, want)
	}
	one, two := all[:1], all[1:2]
	if !all.oomKilled("g/run") || !one.oomKilled("g/run") || two.oomKilled("g/run") || all.oomKilled("g/other") {
		t.Error("misread what was killed")
	}
	if one.limitSwap() || two.limitSwap() {
		t.Error("sees a limit of swap where there is none")
	}
	if deep := (cgroupMounts{filepath.Join(dir, "two/g")}); !deep.limitSwap() {
		t.Error("does not see version 2's limit of swap")
	}
	if got := all.groups("g/run"); len(got) != 2 {
		t.Errorf("groups %q", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "memory/g/run/below"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestContainerIsolation(t *testing.T) {
	r := &Runner{config: Config{Owner: "me"}, name: "gavel-oci-00", filter: profile.OCI(false), swap: true}
	s := sandbox.Spec{Root: "sha256:00", Limits: sandbox.Limits{MemoryBytes: 64 << 20, CPUMillis: 1500, Pids: 20, DiskBytes: 1 << 20}}
	c := r.spec("abc", s, shown{root: "/run/root", work: "/run/work", cpus: "/run/cpus"})
	p := c.Process
	if p.Terminal || p.User.UID != sandbox.UID || p.User.GID != sandbox.UID || !slices.Equal(p.User.AdditionalGids, []uint32{sandbox.UID}) || !p.NoNewPrivileges ||
		!slices.Equal(p.Args, []string{pid1.Path}) || len(p.Env) != 0 || len(p.Rlimits) != 0 {
		t.Errorf("process %+v", p)
	}
	if caps, err := json.Marshal(p.Capabilities); string(caps) != "{}" || err != nil {
		t.Errorf("capabilities %s, %v", caps, err)
	}
	if !c.Root.Readonly || c.Hostname != sandbox.Hostname || c.Hooks != nil {
		t.Errorf("root %+v, host name %s, hooks %+v", c.Root, c.Hostname, c.Hooks)
	}
	l := c.Linux
	var kinds []specs.LinuxNamespaceType
	for _, n := range l.Namespaces {
		kinds = append(kinds, n.Type)
		if n.Path != "" {
			t.Errorf("joins %+v", n)
		}
	}
	if want := []specs.LinuxNamespaceType{"pid", "mount", "ipc", "uts", "cgroup", "user", "network"}; !slices.Equal(kinds, want) {
		t.Errorf("namespaces %q, want %q", kinds, want)
	}
	if l.Seccomp == nil || len(l.Devices) != 0 || l.Resources.Devices[0].Allow || l.CgroupsPath != "/gavel-oci-00/abc" {
		t.Errorf("%+v", l)
	}
	if m := l.UIDMappings; len(m) != 1 || m[0] != (specs.LinuxIDMapping{HostID: sandbox.IDBase, Size: 65536}) || !slices.Equal(m, l.GIDMappings) {
		t.Errorf("users %+v, groups %+v", m, l.GIDMappings)
	}
	res := l.Resources
	if *res.Memory.Limit != 64<<20 || *res.Memory.Swap != 64<<20 || *res.Pids.Limit != 20+pid1.Threads || *res.CPU.Quota != 150_000 || *res.CPU.Period != 100_000 {
		t.Errorf("limits %+v %+v %+v", res.Memory, res.Pids, res.CPU)
	}
	checkMounts(t, c.Mounts)

	s.Network, s.Variation, s.Limits.CPUMillis, r.swap = true, sandbox.Variation{UID: 7, Hostname: "h", WorkRoot: "/build/x"}, 0, false
	c = r.spec("abc", s, shown{work: "/run/work"})
	if c.Process.User.UID != 7 || c.Hostname != "h" || len(c.Linux.Namespaces) != 6 || c.Linux.Resources.CPU != nil || c.Linux.Resources.Memory.Swap != nil {
		t.Errorf("varied: %+v", c)
	}
	if !slices.ContainsFunc(c.Mounts, func(m specs.Mount) bool { return m.Source == "/run/work" && m.Destination == "/build/x" }) {
		t.Errorf("the build directory is not where it was asked for: %+v", c.Mounts)
	}
	if points := r.mountPoints(s); points["build/x"] != 0o755 || points["tmp"] != os.ModeSticky|0o777 {
		t.Errorf("mount points %v", points)
	}
}

func checkMounts(t *testing.T, mounts []specs.Mount) {
	t.Helper()
	at := map[string]specs.Mount{}
	for _, m := range mounts {
		at[m.Destination] = m
		if !slices.Contains(m.Options, "nosuid") {
			t.Errorf("%+v honours set-user programs", m)
		}
		writable := m.Type == "tmpfs" || m.Type == "devpts" || m.Type == "mqueue" || m.Type == "proc" || m.Destination == "/build"
		if writable == slices.Contains(m.Options, "ro") {
			t.Errorf("%+v: writable %v", m, writable)
		}
	}
	for target, option := range map[string]string{"/tmp": "size=1048576", "/dev/shm": "size=67108864"} {
		if !slices.Contains(at[target].Options, option) {
			t.Errorf("%s: %+v, want %s", target, at[target], option)
		}
	}
	for target, source := range map[string]string{"/build": "/run/work", "/sys": "/run/cpus/sys", "/proc/cpuinfo": "/run/cpus/proc/cpuinfo", "/proc/stat": "/run/cpus/proc/stat"} {
		if at[target].Source != source {
			t.Errorf("%s: %+v, want %s", target, at[target], source)
		}
	}
}
