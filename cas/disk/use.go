package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// recordUse notes that a blob was asked for, in its modification time, which
// nothing else uses. It says whether the blob is still there: a sweep may have
// taken it since info was read, and whoever counts on it must know.
func (s *Store) recordUse(info fs.FileInfo) (there bool) {
	every := s.options.RecordUse
	if s.options.Cache {
		every = useGranularity
	}
	if every == 0 || time.Since(info.ModTime()) < every {
		return true
	}
	now, path := time.Now(), filepath.Join(s.dir, "blobs", info.Name()[:2], info.Name())
	if err := os.Chtimes(path, now, now); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	// Any other failure means an imprecise time and no more. The time may have been set
	// after the name was looked up and a sweep had moved the file away and judged it.
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
