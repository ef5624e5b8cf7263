package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sweep removes blobs of which no use has been recorded since before, but those
// that keep names by hash, and says how many there were and of how many bytes. Being
// kept is a use. The store must record uses, more often than before lies back.
//
// No use is lost between the look at a blob and its removal: the blob is first
// moved out of sight, and moved back if it turns out to have been used meanwhile.
// Who used it before saw it there, and keeps it; who asks while it is out of sight
// is told that it is missing, and sends it again.
func (s *Store) Sweep(ctx context.Context, before time.Time, keep func(hash string) bool) (blobs int, bytes int64, err error) {
	if s.options.RecordUse == 0 {
		return 0, 0, errors.New("sweeping blob store: it records no uses, so nothing in it is known to be unused")
	}
	err = os.MkdirAll(filepath.Join(s.dir, sweptName), 0o755)
	if err == nil {
		err = filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return errors.Join(err, ctx.Err())
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // another process sweeps too
			}
			if err != nil {
				return err
			}
			if keep(e.Name()) {
				s.recordUse(info)
				return nil
			}
			if !info.ModTime().Before(before) {
				return nil
			}
			gone, err := s.sweep(path, e.Name(), before)
			if gone {
				blobs++
				bytes += info.Size()
			}
			return err
		})
	}
	if err != nil {
		err = fmt.Errorf("sweeping blob store: %w", err)
	}
	return blobs, bytes, err
}

// sweptName is the directory of blobs on their way out. What a crash leaves in it
// goes back when the store is opened.
const sweptName = "swept"

// sweep removes one blob unless it was used since before.
func (s *Store) sweep(path, name string, before time.Time) (gone bool, err error) {
	away := filepath.Join(s.dir, sweptName, name)
	if err := os.Rename(path, away); err != nil {
		return false, ignoreAbsent(err)
	}
	info, err := os.Lstat(away)
	if err != nil {
		return false, ignoreAbsent(err) // another process, which has just opened the store, has put it back
	}
	if !info.ModTime().Before(before) {
		return false, putBack(away, path)
	}
	return true, ignoreAbsent(os.Remove(away))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// putBack gives a blob its name again, unless it has been stored anew meanwhile.
func putBack(away, path string) error {
	if err := os.Link(away, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return ignoreAbsent(err)
	}
	return ignoreAbsent(os.Remove(away))
}

// restoreSwept puts back what a crash left out of sight: one of them may have been
// used. The next sweep judges them again.
func restoreSwept(dir string) error {
	list, err := os.ReadDir(filepath.Join(dir, sweptName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		if len(e.Name()) < 2 {
			continue
		}
		if err := putBack(filepath.Join(dir, sweptName, e.Name()), filepath.Join(dir, "blobs", e.Name()[:2], e.Name())); err != nil {
			return err
		}
	}
	return nil
}
