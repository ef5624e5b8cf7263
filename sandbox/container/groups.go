package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RemoveGroups removes the cgroups of a dead container that its engine has
// forgotten: one that is killed while it starts a container, and then started
// again, knows nothing of them. Only empty ones can be removed, which the kernel
// sees to; one whose last process was just killed may take a moment.
func RemoveGroups(id string, patience time.Duration) error {
	if id == "" {
		return nil // every name holds that
	}
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("reading where cgroups are mounted: %w", err)
	}
	var dirs []string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup" && f[2] != "cgroup2" {
			continue
		}
		_ = filepath.WalkDir(strings.ReplaceAll(f[1], `\040`, " "), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() && strings.Contains(path, id) {
				dirs = append(dirs, path)
			}
			return nil // those of others come and go meanwhile
		})
	}
	var errs []error
	giveUp := time.Now().Add(patience)
	for _, dir := range slices.Backward(dirs) { // children before their parents
		err := unix.Rmdir(dir)
		for errors.Is(err, unix.EBUSY) && time.Now().Before(giveUp) {
			time.Sleep(10 * time.Millisecond)
			err = unix.Rmdir(dir)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("removing cgroup %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
