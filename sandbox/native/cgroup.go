package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// boxProcesses is room in a cgroup's process limit for the box itself: a Go
// program of one main thread and a few of its runtime.
const boxProcesses = 8

// cpuPeriodMicros is the kernel's default period of CPU quotas.
const cpuPeriodMicros = 100_000

// Removing a cgroup can fail for a moment after its last process was reaped.
const (
	removePause    = 500 * time.Microsecond
	removeAttempts = 400
)

// cgroups makes one cgroup a command, below a directory of its own in each
// hierarchy. It is safe for concurrent use.
type cgroups struct {
	unified bool
	// dirs are this runner's own directories: of version 2 only "", else of
	// memory, pids and cpu.
	dirs map[string]string
	next atomic.Int64
	// unbound are controllers of version 2 that its owner did not delegate, of
	// those that a sandbox can do without.
	unbound []string
	// removeDir is rmdir; a test's directories have files in them.
	removeDir func(string) error
}

// controllers are what a sandbox needs, in the order in which its groups are made.
var controllers = []string{"memory", "pids", "cpu"}

// newCgroups makes the runner's directories at the given places.
func newCgroups(at cgroupPlaces, name string) (*cgroups, error) {
	c := &cgroups{unified: at.unified, dirs: make(map[string]string), removeDir: unix.Rmdir}
	for controller, parent := range at.dirs {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			c.close()
			return nil, fmt.Errorf("making cgroup %s: %w", dir, err)
		}
		c.dirs[controller] = dir
	}
	if c.unified {
		c.unbound = at.unbound
		if err := enableControllers(c.dirs[""], at.unbound); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// enableControllers gives the children of a version 2 group the controllers they need, but for the unbound.
func enableControllers(dir string, unbound []string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	var enable []string
	for _, controller := range controllers {
		if !slices.Contains(unbound, controller) {
			enable = append(enable, "+"+controller)
		}
	}
	if err := writeControl(file, strings.Join(enable, " ")); err != nil {
		return fmt.Errorf("enabling controllers: %w", err)
	}
	return nil
}

func writeControl(file, value string) error {
	// O_CREATE does nothing on a cgroup file system, and lets a directory stand for one.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// group is the cgroup of one command.
type group struct {
	owner *cgroups
	dirs  []string // to remove
	procs []int    // descriptors to join by writing "0"
}

// setting is one limit; an optional one may be missing from the kernel.
type setting struct {
	file, value string
	optional    bool
}

// settings are the files of one controller for these limits.
func (c *cgroups) settings(controller string, l sandbox.Limits, own int64) []setting {
	memory := strconv.FormatInt(l.MemoryBytes, 10)
	quota := strconv.FormatInt(l.CPUMillis*cpuPeriodMicros/1000, 10)
	switch {
	case controller == "memory" && c.unified:
		return []setting{{"memory.max", memory, false}, {"memory.swap.max", "0", true}, {"memory.oom.group", "1", true}}
	case controller == "memory":
		// In this order: memory and swap together may not be below memory.
		return []setting{{"memory.limit_in_bytes", memory, false}, {"memory.memsw.limit_in_bytes", memory, true}}
	case controller == "pids":
		return []setting{{"pids.max", strconv.FormatInt(l.Pids+own, 10), false}}
	case l.CPUMillis == 0 || slices.Contains(c.unbound, controller):
		return nil
	case c.unified:
		return []setting{{"cpu.max", quota + " " + strconv.Itoa(cpuPeriodMicros), false}}
	}
	return []setting{{"cpu.cfs_quota_us", quota, false}}
}

// create makes an empty group without limits.
func (c *cgroups) create() (*group, error) {
	g := &group{owner: c}
	name := strconv.FormatInt(c.next.Add(1), 10)
	for _, parent := range c.parents() {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("making a cgroup: %w", err), g.remove())
		}
		g.dirs = append(g.dirs, dir)
		fd, err := unix.Open(filepath.Join(dir, "cgroup.procs"), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening a cgroup: %w", err), g.remove())
		}
		g.procs = append(g.procs, fd)
	}
	return g, nil
}

// parents are the directories of new groups: that of version 2, or one a controller, in their order.
func (c *cgroups) parents() []string {
	if c.unified {
		return []string{c.dirs[""]}
	}
	var dirs []string
	for _, controller := range controllers {
		dirs = append(dirs, c.dirs[controller])
	}
	return dirs
}

// limit writes the limits, which bind what is in the group already too. So many
// processes of the box's own come on top of those that the command may have.
func (g *group) limit(l sandbox.Limits, own int64) error {
	for i, controller := range controllers {
		dir := g.dirs[0]
		if !g.owner.unified {
			dir = g.dirs[i]
		}
		for _, s := range g.owner.settings(controller, l, own) {
			file := filepath.Join(dir, s.file)
			if s.optional && !exists(file) {
				continue
			}
			if err := writeControl(file, s.value); err != nil {
				return fmt.Errorf("limiting a cgroup: %w", err)
			}
		}
	}
	return nil
}

// oomKilled says whether the kernel killed anything of the group for memory.
func (g *group) oomKilled() (bool, error) {
	file := "memory.oom_control"
	if g.owner.unified {
		file = "memory.events"
	}
	b, err := os.ReadFile(filepath.Join(g.dirs[0], file))
	if err != nil {
		return false, fmt.Errorf("reading what was killed: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == "oom_kill" {
			return value != "0", nil
		}
	}
	return false, fmt.Errorf("reading what was killed: no oom_kill in %s", file)
}

// takeProcs hands over the means to join.
func (g *group) takeProcs() []int {
	fds := g.procs
	g.procs = nil
	return fds
}

// remove deletes the group, whose processes are all dead.
func (g *group) remove() error {
	closeAll(g.takeProcs())
	var failures []error
	for _, d := range g.dirs {
		failures = append(failures, g.owner.removeSoon(d))
	}
	return errors.Join(failures...)
}

func (c *cgroups) removeSoon(dir string) error {
	var err error
	for range removeAttempts {
		if err = c.removeDir(dir); err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		time.Sleep(removePause)
	}
	return fmt.Errorf("removing cgroup %s: %w", dir, err)
}

// close deletes the runner's directories.
func (c *cgroups) close() error {
	var failures []error
	for _, d := range c.dirs {
		failures = append(failures, c.removeSoon(d))
	}
	return errors.Join(failures...)
}
