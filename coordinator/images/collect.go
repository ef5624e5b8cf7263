package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Collection is what Collect does.
type Collection struct {
	// Unwanted says which images without a name may go. It is called while nothing
	// else changes the registry and no build can come to need one that it does not know of.
	Unwanted func() (func(*Image) bool, error)
	// Sweep is called with what the remaining images need, by hash, and the hashes of
	// those that go, after their records went: a crash in between leaves blobs that
	// nothing names, which the next collection sweeps.
	Sweep func(needed, gone map[string]bool) error
	// Dry removes no record; Sweep is called all the same.
	Dry bool
}

// Collect removes images that nothing needs, and returns them.
func (r *Registry) Collect(ctx context.Context, c Collection) (gone []*Image, err error) {
	err = r.change(ctx, func() error {
		all, err := r.List()
		if err != nil {
			return err
		}
		unwanted, err := c.Unwanted()
		if err != nil {
			return err
		}
		needed, freed := make(map[string]bool), make(map[string]bool)
		for i := range all {
			img := &all[i].Image
			goes := len(all[i].Names) == 0 && unwanted(img)
			if goes {
				if goes, err = r.unusedFor(img, admission); err != nil {
					return err
				}
			}
			set := needed
			if goes {
				set, gone = freed, append(gone, img)
			}
			for _, d := range img.Blobs() {
				set[d.Hash] = true
			}
		}
		if !c.Dry {
			if err := r.forget(gone); err != nil {
				return err
			}
		}
		return c.Sweep(needed, freed)
	})
	return gone, err
}

// unusedFor says whether nobody has asked for a build in an image for so long.
func (r *Registry) unusedFor(img *Image, long time.Duration) (bool, error) {
	info, err := os.Lstat(r.recordFile(img.Config.Hash))
	if err != nil {
		return false, fmt.Errorf("looking at an image's last use: %w", err)
	}
	return time.Since(info.ModTime()) >= long, nil
}

func (r *Registry) forget(gone []*Image) error {
	r.mu.Lock()
	for _, img := range gone {
		delete(r.known, img.Config.Hash)
	}
	r.mu.Unlock()
	for _, img := range gone {
		if err := os.Remove(r.recordFile(img.Config.Hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the record of an image: %w", err)
		}
	}
	return syncDir(filepath.Join(r.dir, "records"))
}
