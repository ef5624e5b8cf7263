package native

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gavel/sandbox"
)

func TestFindCgroups(t *testing.T) {
	const v2mount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	const v1mounts = "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"32 23 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"33 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	for name, c := range map[string]struct {
		mountinfo, self string
		want            []cgroupPlaces
	}{
		"version 2": {v2mount, "0::/user.slice/w.scope\n", []cgroupPlaces{
			{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup/user.slice/w.scope"}},
			{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup"}}}},
		"version 2 at the top": {v2mount, "0::/\n", []cgroupPlaces{{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup"}}}},
		"version 1": {v1mounts, "3:memory:/a\n2:pids:/b\n1:cpu,cpuacct:/\n", []cgroupPlaces{{dirs: map[string]string{
			"memory": "/sys/fs/cgroup/memory/a", "pids": "/sys/fs/cgroup/pids/b", "cpu": "/sys/fs/cgroup/cpu,cpuacct"}}}},
		"hybrid": {v1mounts + "34 23 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "3:memory:/\n2:pids:/\n1:cpu,cpuacct:/\n0::/\n",
			[]cgroupPlaces{{dirs: map[string]string{"memory": "/sys/fs/cgroup/memory", "pids": "/sys/fs/cgroup/pids", "cpu": "/sys/fs/cgroup/cpu,cpuacct"}}}},
		"part of the tree is mounted": {"30 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/docker/x/y\n", []cgroupPlaces{
			{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup/y"}}, {unified: true, dirs: map[string]string{"": "/sys/fs/cgroup"}}}},
		"outside of the mount": {"30 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/elsewhere\n", []cgroupPlaces{
			{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup"}}}},
		"outside of a cgroup namespace": {"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/../../elsewhere\n", []cgroupPlaces{
			{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup"}}}},
		"container that sees its parents": {"30 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n", []cgroupPlaces{
			{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup"}}}},
		"container in a container": {"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n40 30 0:26 /docker/a/docker/b /inner/cgroup rw - cgroup2 cgroup2 rw\n", "0::/docker/a/docker/b\n", []cgroupPlaces{
			{unified: true, dirs: map[string]string{"": "/sys/fs/cgroup/docker/a/docker/b"}}, {unified: true, dirs: map[string]string{"": "/sys/fs/cgroup"}},
			{unified: true, dirs: map[string]string{"": "/inner/cgroup"}}}},
		"blank in a path": {`30 23 0:26 / /a\040b rw - cgroup2 cgroup2 rw` + "\n", "0::/\n", []cgroupPlaces{{unified: true, dirs: map[string]string{"": "/a b"}}}},
		"nothing":         {"", "0::/\n", nil},
		"nonsense":        {"x\n- -\n", ":::\n\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := findCgroups(c.mountinfo, c.self)
			if (err != nil) != (c.want == nil) {
				t.Fatalf("error %v", err)
			}
			same := func(a, b cgroupPlaces) bool { return a.unified == b.unified && maps.Equal(a.dirs, b.dirs) }
			if !slices.EqualFunc(got, c.want, same) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// fakeTree is a directory that stands for cgroup file systems.
func fakeTree(t *testing.T, unified bool) *cgroups {
	t.Helper()
	root := t.TempDir()
	at := cgroupPlaces{unified: unified, dirs: map[string]string{"": root}}
	if !unified {
		at.dirs = make(map[string]string)
		for _, c := range controllers {
			at.dirs[c] = filepath.Join(root, c)
			if err := os.Mkdir(at.dirs[c], 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, err := newCgroups(at, "gavel-test")
	if err != nil {
		t.Fatal(err)
	}
	c.removeDir = os.RemoveAll
	return c
}

func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(root, p)
		found[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUnifiedLimits(t *testing.T) {
	c := fakeTree(t, true)
	g, err := c.create()
	if err != nil {
		t.Fatal(err)
	}
	// What only some kernels have is written only where it is.
	for _, f := range []string{"memory.swap.max", "memory.oom.group"} {
		if err := os.WriteFile(filepath.Join(g.dirs[0], f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.limit(sandbox.Limits{MemoryBytes: 1 << 20, Pids: 10, CPUMillis: 1500}, boxProcesses); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"cgroup.subtree_control": "+memory +pids +cpu",
		"1/cgroup.procs":         "", "1/memory.max": "1048576", "1/memory.swap.max": "0", "1/memory.oom.group": "1",
		"1/pids.max": "18", "1/cpu.max": "150000 100000",
	}
	if got := contents(t, c.dirs[""]); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for events, killed := range map[string]bool{"low 0\nmax 3\noom 1\noom_kill 0\n": false, "oom 1\noom_kill 2\noom_group_kill 1\n": true} {
		if err := os.WriteFile(filepath.Join(g.dirs[0], "memory.events"), []byte(events), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := g.oomKilled(); got != killed || err != nil {
			t.Errorf("%q: killed %v %v", events, got, err)
		}
	}
	if err := g.remove(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dirs[""], "[0-9]*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestVersion1Limits(t *testing.T) {
	c := fakeTree(t, false)
	g, err := c.create()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.limit(sandbox.Limits{MemoryBytes: 1 << 20, Pids: 10, CPUMillis: 500}, boxProcesses); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"memory/gavel-test/1/cgroup.procs": "", "memory/gavel-test/1/memory.limit_in_bytes": "1048576",
		"pids/gavel-test/1/cgroup.procs": "", "pids/gavel-test/1/pids.max": "18",
		"cpu/gavel-test/1/cgroup.procs": "", "cpu/gavel-test/1/cpu.cfs_quota_us": "50000",
	}
	if got := contents(t, filepath.Dir(filepath.Dir(c.dirs["memory"]))); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := g.oomKilled(); err == nil {
		t.Error("a kernel that counts no kills is not noticed")
	}
	if err := os.WriteFile(filepath.Join(g.dirs[0], "memory.oom_control"), []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if killed, err := g.oomKilled(); !killed || err != nil {
		t.Errorf("killed %v %v", killed, err)
	}
}
