package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gavel/cas"
)

// reader reads a blob's file and sets the blob aside when it is found damaged.
type reader struct {
	store    *Store
	digest   cas.Digest
	file     *os.File
	verified io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.verified.Read(p)
	if errors.Is(err, cas.ErrDigestMismatch) {
		err = r.setAside()
	}
	return n, err
}

func (r *reader) Close() error { return r.file.Close() }

// whole verifies all of a small blob before its first byte is handed out.
func (r *reader) whole() (io.ReadCloser, error) {
	defer r.Close()
	b := make([]byte, r.digest.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// setAside moves the damaged file out of sight, so that the next Missing asks
// for it again, and keeps it for whoever wonders about the disk.
func (r *reader) setAside() error {
	gone := fmt.Errorf("blob %s was damaged on disk and has been set aside: %w", r.digest, cas.ErrNotFound)
	path := r.store.path(r.digest)
	held, err := r.file.Stat()
	if err != nil {
		return errors.Join(gone, err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(held, now) {
		return gone // another process set it aside or replaced it
	}
	// One name for each blob: many damaged copies of it tell no more than the last.
	if err := os.Rename(path, filepath.Join(r.store.dir, "damaged", r.digest.Hash)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(gone, err)
	}
	return gone
}
