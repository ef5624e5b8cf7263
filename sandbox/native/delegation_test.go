package native

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gavel/sandbox"
)

// files writes a directory that stands for a group of version 2.
func files(t *testing.T, dir string, content map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGroupsThatAreNoGoodSayWhy(t *testing.T) {
	for name, c := range map[string]struct {
		content map[string]string
		unbound string
		says    string // empty: it is good
	}{
		"top":                      {map[string]string{"cgroup.controllers": "cpuset cpu io memory pids misc\n"}, "", ""},
		"delegated":                {map[string]string{"cgroup.type": "domain\n", "cgroup.controllers": "cpu memory pids\n"}, "", ""},
		"delegated without cpu":    {map[string]string{"cgroup.type": "domain\n", "cgroup.controllers": "memory pids\n"}, "cpu", ""},
		"nothing delegated":        {map[string]string{"cgroup.type": "domain\n", "cgroup.controllers": "\n"}, "", "lacks the controllers memory and pids and cpu"},
		"without memory":           {map[string]string{"cgroup.type": "domain\n", "cgroup.controllers": "cpu pids\n"}, "", "lacks the controllers memory: start the worker in a scope"},
		"of threads":               {map[string]string{"cgroup.type": "threaded\n", "cgroup.controllers": "cpu memory pids\n"}, "", `is of type "threaded"`},
		"above a group of threads": {map[string]string{"cgroup.type": "domain threaded\n", "cgroup.controllers": "cpu memory pids\n"}, "", `is of type "domain threaded"`},
		"spoiled":                  {map[string]string{"cgroup.type": "domain invalid\n", "cgroup.controllers": "cpu memory pids\n"}, "", `is of type "domain invalid"`},
		"no group at all":          {map[string]string{}, "", "reading the controllers"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files(t, dir, c.content)
			unbound, err := usable(dir)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || strings.Join(unbound, " ") != c.unbound {
				t.Errorf("unbound %v, error %v", unbound, err)
			}
		})
	}
}

func TestWithoutTheCPUControllerTheRestIsBound(t *testing.T) {
	root := t.TempDir()
	files(t, root, map[string]string{"cgroup.type": "domain\n", "cgroup.controllers": "memory pids\n"})
	c, err := openPlace(cgroupPlaces{unified: true, dirs: map[string]string{"": root}}, "gavel-test")
	if err != nil {
		t.Fatal(err)
	}
	c.removeDir = os.RemoveAll
	g, err := c.create()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.limit(sandbox.Limits{MemoryBytes: 1 << 20, Pids: 10, CPUMillis: 1500}, boxProcesses); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"cgroup.subtree_control": "+memory +pids", "1/cgroup.procs": "", "1/memory.max": "1048576", "1/pids.max": "18"}
	if got := contents(t, c.dirs[""]); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// In a delegated scope this process is in the way of its own groups, and moves.
// Here a link stands for the kernel's refusal: it leads nowhere before the move.
func TestRoomIsMadeInADelegatedScope(t *testing.T) {
	scope := func(t *testing.T, procs string) string {
		t.Helper()
		dir := t.TempDir()
		files(t, dir, map[string]string{"cgroup.type": "domain\n", "cgroup.controllers": "cpu memory pids\n", "cgroup.procs": procs})
		if err := os.Symlink("gavel-worker/enabled", filepath.Join(dir, "cgroup.subtree_control")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	alone := scope(t, strconv.Itoa(os.Getpid())+"\n")
	c, err := openPlace(cgroupPlaces{unified: true, dirs: map[string]string{"": alone}}, "gavel-test")
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, filepath.Join(alone, "gavel-worker")); got["cgroup.procs"] != "0" || got["enabled"] != "+memory +pids +cpu" {
		t.Errorf("moved: %v", got)
	}
	if c.dirs[""] != filepath.Join(alone, "gavel-test") {
		t.Errorf("groups are made in %s", c.dirs[""])
	}
	// Again, as the next worker in the same scope does.
	if _, err := openPlace(cgroupPlaces{unified: true, dirs: map[string]string{"": alone}}, "gavel-next"); err != nil {
		t.Error(err)
	}
	shared := scope(t, strconv.Itoa(os.Getpid())+"\n1\n")
	_, err = openPlace(cgroupPlaces{unified: true, dirs: map[string]string{"": shared}}, "gavel-test")
	if err == nil || !strings.Contains(err.Error(), "has other processes") || !strings.Contains(err.Error(), "Delegate=yes") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(shared, "gavel-test")); err == nil {
		t.Error("a group is left where none may be")
	}
}

func TestSweepingKillsAtOnceWhereTheKernelCan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gavel-test")
	files(t, dir, nil)
	files(t, filepath.Join(dir, "1"), map[string]string{"cgroup.kill": ""})
	// A file stands in the way of removing the directories, as a living process does.
	if err := sweepGroup(dir); err == nil {
		t.Error("nothing is said of groups that stay")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "1", "cgroup.kill")); err != nil || string(b) != "1" {
		t.Errorf("cgroup.kill got %q (%v)", b, err)
	}
}
