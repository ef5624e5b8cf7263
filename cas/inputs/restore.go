package inputs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// name is the directory name of a tree; parseName reads it back.
func (k key) name(bytes int64) string {
	return fmt.Sprintf("%s_%d_%d_%d_%d_%d", k.root.Hash, k.root.Size, k.options.UID, k.options.GID, k.options.Epoch, bytes)
}

func parseName(name string) (k key, bytes int64, err error) {
	fields := strings.ReplaceAll(name, "_", " ")
	_, err = fmt.Sscanf(fields, "%s %d %d %d %d %d", &k.root.Hash, &k.root.Size, &k.options.UID, &k.options.GID, &k.options.Epoch, &bytes)
	return k, bytes, errors.Join(err, k.root.Validate())
}

// restore finds the trees that an earlier process left. Those of an earlier boot
// are removed: they were never fsynced, and a power cut may have emptied files.
func (c *Cache) restore() error {
	trees, building := filepath.Join(c.dir, "trees"), filepath.Join(c.dir, "building")
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	marker := filepath.Join(c.dir, "boot")
	if last, rerr := os.ReadFile(marker); err != nil || rerr != nil || string(last) != string(boot) {
		if err := os.RemoveAll(trees); err != nil {
			return err
		}
	}
	err = errors.Join(os.RemoveAll(building), os.MkdirAll(building, 0o755), os.MkdirAll(trees, 0o755), os.WriteFile(marker, boot, 0o644))
	if err != nil {
		return err
	}
	found, err := os.ReadDir(trees)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	close(ready)
	for _, e := range found {
		k, bytes, err := parseName(e.Name())
		info, ierr := e.Info()
		if err = errors.Join(err, ierr); err != nil {
			return fmt.Errorf("%q is no tree of this cache; remove it: %w", filepath.Join(trees, e.Name()), err)
		}
		c.trees[k] = &laidOut{key: k, ready: ready, dir: filepath.Join(trees, e.Name()), bytes: bytes, last: info.ModTime()}
		c.used += bytes
	}
	return nil
}
