package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Trim removes the least recently used blobs of a cache until the rest has at
// most maxBytes. Who holds a blob open can still read it.
func (s *Store) Trim(ctx context.Context, maxBytes int64) error {
	if !s.options.Cache {
		return errors.New("trimming blob store: it is no cache, what it loses is lost")
	}
	type blob struct {
		path string
		size int64
		used time.Time
	}
	var blobs []blob
	var total int64
	err := filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process trims too
		}
		if err != nil {
			return err
		}
		blobs = append(blobs, blob{path, info.Size(), info.ModTime()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return fmt.Errorf("trimming blob store: %w", err)
	}
	slices.SortFunc(blobs, func(a, b blob) int { return a.used.Compare(b.used) })
	for _, b := range blobs {
		if total <= maxBytes {
			break
		}
		if err := os.Remove(b.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trimming blob store: %w", err)
		}
		total -= b.size
	}
	return nil
}
