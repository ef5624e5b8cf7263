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

func (r *Runner) skeletonPath() string { return filepath.Join(r.config.ScratchDir, "skeleton") }

// makeSkeleton makes the tree that lies before every image: PID 1's program.
func (r *Runner) makeSkeleton() error {
	dir := r.skeletonPath()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing an old skeleton: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the skeleton of roots: %w", err)
	}
	program, err := container.InstallInit(r.config.ScratchDir, r.config.Init)
	if err != nil {
		return err
	}
	if err := os.Rename(program, filepath.Join(dir, strings.TrimPrefix(pid1.Path, "/"))); err != nil {
		return fmt.Errorf("making the skeleton of roots: %w", err)
	}
	// As root's inside, whatever this process's umask is.
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o755), os.Chown(path, sandbox.IDBase, sandbox.IDBase))
	})
}
