package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Collect removes the blobs that unwanted names, by hash, and says how many there
// were and of how many bytes. A dry run counts alone. Who holds a blob open can
// still read it; what a power cut brings back is whole.
func (s *Store) Collect(ctx context.Context, unwanted func(hash string, info fs.FileInfo) bool, dry bool) (blobs int, bytes int64, err error) {
	err = filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process collects too
		}
		if err != nil || !unwanted(e.Name(), info) {
			return err
		}
		if !dry {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		blobs++
		bytes += info.Size()
		return nil
	})
	if err != nil {
		err = fmt.Errorf("collecting blobs: %w", err)
	}
	return blobs, bytes, err
}
