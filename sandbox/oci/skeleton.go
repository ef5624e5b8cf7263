package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gavel/sandbox"
	"gavel/sandbox/container"
	"gavel/sandbox/container/pid1"
)

// skeletonFiles are what every root shows instead of the image's own, if any:
// what engines write, too. Host names vary by run, so /etc/hostname is not here.
var skeletonFiles = map[string]string{
	"etc/hosts":       "127.0.0.1 localhost " + sandbox.Hostname + "\n::1 localhost\n",
	"etc/resolv.conf": "",
}

func (r *Runner) skeletonPath() string { return filepath.Join(r.config.ScratchDir, "skeleton") }

// makeSkeleton makes the tree that lies before every image.
func (r *Runner) makeSkeleton() error {
	dir := r.skeletonPath()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing an old skeleton: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		return fmt.Errorf("making the skeleton of roots: %w", err)
	}
	for name, content := range skeletonFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("making the skeleton of roots: %w", err)
		}
	}
	program, err := container.InstallInit(r.config.ScratchDir, r.config.Init)
	if err != nil {
		return err
	}
	if err := os.Rename(program, filepath.Join(dir, strings.TrimPrefix(pid1.Path, "/"))); err != nil {
		return fmt.Errorf("making the skeleton of roots: %w", err)
	}
	// As root's inside, whatever this process's umask is.
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if e.IsDir() || path == filepath.Join(dir, pid1.Path) {
			mode = 0o755
		}
		return errors.Join(os.Chmod(path, mode), os.Chown(path, sandbox.IDBase, sandbox.IDBase))
	})
}
