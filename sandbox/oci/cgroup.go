package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/container"
)

// cgroupMounts are where cgroup hierarchies are mounted, of either version.
// A container's cgroup has one path in all that the runtime uses.
type cgroupMounts []string

// findHierarchies reads the mount table.
func findHierarchies() (cgroupMounts, error) {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("reading where cgroups are mounted: %w", err)
	}
	return parseHierarchies(string(table)), nil
}

func parseHierarchies(mounts string) cgroupMounts {
	var found cgroupMounts
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) >= 3 && (f[2] == "cgroup" || f[2] == "cgroup2") {
			found = append(found, strings.ReplaceAll(f[1], `\040`, " "))
		}
	}
	return found
}

// limitSwap says whether the kernel counts swap.
func (m cgroupMounts) limitSwap() bool {
	for _, mount := range m {
		for _, file := range []string{"memory.memsw.limit_in_bytes", "*/memory.swap.max"} { // a root has none of version 2
			if found, err := filepath.Glob(filepath.Join(mount, file)); err == nil && len(found) > 0 {
				return true
			}
		}
	}
	return false
}

// oomKilled says whether the kernel killed anything of a cgroup for memory.
func (m cgroupMounts) oomKilled(group string) bool {
	for _, mount := range m {
		for _, file := range []string{"memory.oom_control", "memory.events"} {
			text, err := os.ReadFile(filepath.Join(mount, group, file))
			if err != nil {
				continue // another hierarchy, or version
			}
			for line := range strings.Lines(string(text)) {
				if count, ok := strings.CutPrefix(line, "oom_kill "); ok && strings.TrimSpace(count) != "0" {
					return true
				}
			}
		}
	}
	return false
}

// groups lists the cgroups of that name that exist.
func (m cgroupMounts) groups(group string) []string {
	var found []string
	for _, mount := range m {
		dir := filepath.Join(mount, group)
		if _, err := os.Stat(dir); err == nil {
			found = append(found, dir)
		}
	}
	return found
}

// removeCgroups removes the owner's cgroups, with the processes of all that is
// in them: when it is called none belongs to a run.
func (r *Runner) removeCgroups() error {
	mounts, err := findHierarchies()
	if err != nil {
		return err
	}
	groups := mounts.groups(r.name)
	if len(groups) == 0 {
		return nil
	}
	container.Kill(r.name, container.KillTimeout)
	var errs []error
	for _, dir := range groups {
		errs = append(errs, removeGroup(dir))
	}
	return errors.Join(errs...)
}

// removeGroup removes a cgroup and those in it, whose processes have ended.
func removeGroup(dir string) error {
	giveUp := time.Now().Add(removeTimeout)
	for {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() && path != dir {
				if err := removeGroup(path); err != nil {
					return err
				}
				return fs.SkipDir
			}
			return nil // its files, or what has gone meanwhile
		})
		if err == nil {
			err = unix.Rmdir(dir)
		}
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("removing cgroup %s: %w", dir, err)
		}
		time.Sleep(removePoll)
	}
}

// unifiedControllers are those of version 2, on a machine that has both.
func unifiedControllers() []string {
	text, err := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}
