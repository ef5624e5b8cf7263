package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gavel/sandbox"
	"gavel/sandbox/container"
)

// Run runs one command in a container of its own, which is gone when Run returns.
func (r *Runner) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	if err := s.Validate(); err != nil {
		return sandbox.Result{}, err
	}
	if err := r.enter(); err != nil {
		return sandbox.Result{}, err
	}
	defer r.running.Done()
	image, release, err := r.image(s.Root)
	if err != nil {
		return sandbox.Result{}, err
	}
	defer release()
	if err := s.ValidateInputs(); err != nil {
		return sandbox.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return sandbox.Result{}, err
	}
	s.Limits = s.Limits.WithDefaults()
	return r.runIn(ctx, s, image)
}

// runIn runs s over an unpacked image, or none, and removes all that it makes.
func (r *Runner) runIn(ctx context.Context, s sandbox.Spec, image string) (_ sandbox.Result, err error) {
	began, run := time.Now(), container.NewRunID()
	sc := r.place.Run(run)
	defer func() {
		if rmErr := errors.Join(sc.Remove(), os.RemoveAll(r.bundlePath(run))); rmErr != nil && err == nil {
			err = container.Unavailable(fmt.Errorf("removing a run's files: %w", rmErr))
		}
	}()
	taken, dir, err := r.shown.For(s)
	if err != nil {
		return sandbox.Result{}, err
	}
	tree := container.TreeOf(s, sandbox.IDBase)
	if err := sc.Make(tree); err != nil {
		return sandbox.Result{}, container.Unavailable(err)
	}
	d := shown{cpus: dir}
	if d.work, err = sc.Show(); err != nil {
		return sandbox.Result{}, container.Unavailable(err)
	}
	trees := []string{r.skeletonPath()}
	if image != "" {
		trees = append(trees, image)
	}
	if d.root, err = sc.MountRoot(tree, r.mountPoints(s), trees...); err != nil {
		return sandbox.Result{}, container.Unavailable(err)
	}
	if info, err := os.Lstat(filepath.Join(d.root, "etc")); err == nil && info.IsDir() {
		d.etc = true
	}
	if err := writeBundle(r.bundlePath(run), r.spec(run, s, d)); err != nil {
		return sandbox.Result{}, container.Unavailable(err)
	}
	p := &process{r: r, run: run, course: container.NewCourse(s, began)}
	res, err := p.execute(ctx, container.Order(s, taken), s.Surroundings().UID)
	if err != nil {
		return sandbox.Result{}, err
	}
	if err := container.Collect(ctx, s, sc, &res); err != nil {
		return sandbox.Result{}, err
	}
	return res, nil
}
