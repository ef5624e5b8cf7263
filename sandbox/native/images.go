package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"gavel/sandbox"
	"gavel/sandbox/rootfs"
)

// openImages opens the shelf, if the runner has one.
func (r *Runner) openImages() error {
	if r.config.ImageDir == "" {
		return nil
	}
	var opts rootfs.Options
	if r.ranged {
		opts.Shift = IDBase
	} else {
		r.notes = append(r.notes, "the files of images appear to be the command's own, or nobody's: this worker may not give sandboxes more than one user; start it as root")
	}
	shelf, err := rootfs.OpenShelf(r.config.ImageDir, r.config.ImageBytes, opts)
	if err != nil {
		return err
	}
	r.shelf = shelf
	return nil
}

// TakeImage unpacks an image that is not unpacked here; see sandbox.ImageTaker.
func (r *Runner) TakeImage(ctx context.Context, img sandbox.Image) (root string, err error) {
	leave, err := r.enter()
	if err != nil {
		return "", err
	}
	defer leave()
	if r.shelf == nil {
		return "", fmt.Errorf("%w: this worker keeps no images; start it with a directory for them", sandbox.ErrUnavailable)
	}
	root, err = r.shelf.Take(ctx, img)
	if err != nil && ctx.Err() == nil && !errors.Is(err, sandbox.ErrRefused) && !errors.Is(err, sandbox.ErrUnavailable) {
		err = unavailable(err)
	}
	return root, err
}

// acquire returns the directory of an image, which stays until release, or "" of HostRoot.
func (r *Runner) acquire(root string) (dir string, release func(), err error) {
	if root == sandbox.HostRoot {
		return "", func() {}, nil
	}
	if r.shelf == nil {
		return "", nil, fmt.Errorf("%w: image %s needs a worker started with --sandbox docker, or with the image unpacked", sandbox.ErrRefused, root)
	}
	dir, release, err = r.shelf.Acquire(root)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("%w: image %s is not among this worker's; give it the image first", sandbox.ErrRefused, root)
	}
	return dir, release, err
}

// Roots lists HostRoot and the unpacked images.
func (r *Runner) Roots(context.Context) ([]string, error) {
	roots := []string{sandbox.HostRoot}
	if r.shelf != nil {
		roots = append(roots, r.shelf.Roots()...)
	}
	return roots, nil
}
