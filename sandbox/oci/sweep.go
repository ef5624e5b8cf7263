package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"gavel/sandbox/container"
)

// What lies in ScratchDir besides the skeleton: the runtime's own state, and one
// bundle a run.
func (r *Runner) statePath() string { return filepath.Join(r.config.ScratchDir, "state") }

func (r *Runner) bundlePath(run string) string {
	return filepath.Join(r.config.ScratchDir, "bundles", run)
}

// sweep removes what a process that was killed left: first whatever still runs,
// then its mounts, and the files about it. The runtime that began it may be
// another than today's, so it is asked to remove its containers, and not relied on.
func (r *Runner) sweep(ctx context.Context) error {
	container.Kill(r.name+"/", container.KillTimeout)
	entries, err := os.ReadDir(r.statePath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	for _, e := range entries {
		_ = r.runtime.remove(ctx, e.Name()) // what it leaves is removed below
	}
	errs := []error{r.removeCgroups(), r.place.Sweep()}
	for _, dir := range []string{r.statePath(), filepath.Dir(r.bundlePath("any"))} {
		errs = append(errs, os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
	}
	return errors.Join(errs...)
}
