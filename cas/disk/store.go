package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gavel/cas"
)

// Options say what a store is for.
type Options struct {
	// Cache says that every blob can be fetched again from elsewhere: nothing is
	// fsynced, because whatever a power cut damages is found by verification, and
	// uses are recorded for Trim.
	Cache bool
	// RecordUse has uses recorded for Sweep, each blob's at most once in so long: that
	// a blob was there when Missing asked for it, or was opened. Zero records none.
	RecordUse time.Duration
}

// Store is a directory of blobs:
//
//	blobs/ab/ab…   one file a blob, named by hash, in 256 directories
//	incoming/…     unfinished uploads, one directory for each process (see staging)
//	damaged/…      what verification found wrong
//	swept/…        blobs on their way out, see Sweep
type Store struct {
	dir     string
	options Options
	files   filesystem
	staging *staging
	chunks  sync.Pool // of *[chunkBytes]byte
}

var _ cas.Store = (*Store)(nil)

// Open opens the store in dir, which it makes if need be.
func Open(dir string, o Options) (*Store, error) { return open(dir, o, osFiles{}) }

func open(dir string, o Options, files filesystem) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening blob store: %w", err)
	}
	if err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("opening blob store (is %s writable?): %w", dir, err)
	}
	st, err := openStaging(filepath.Join(dir, "incoming"))
	if err != nil {
		return nil, fmt.Errorf("opening blob store: %w", err)
	}
	if err := restoreSwept(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("opening blob store: %w", err), st.close())
	}
	s := &Store{dir: dir, options: o, files: files, staging: st}
	s.chunks.New = func() any { return new([chunkBytes]byte) }
	return s, nil
}

// makeDirs makes the directories and has them on the disk before the first blob:
// a blob is only as durable as the path to it.
func makeDirs(dir string) error {
	blobs := filepath.Join(dir, "blobs")
	if _, err := os.Stat(filepath.Join(blobs, "ff")); err == nil {
		return nil // made last, so all are there
	}
	for _, d := range []string{dir, blobs, filepath.Join(dir, "damaged")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for i := range 256 {
		if err := os.Mkdir(filepath.Join(blobs, fmt.Sprintf("%02x", i)), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, d := range []string{blobs, dir, filepath.Dir(dir)} {
		if err := (osFiles{}).SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// Close gives up this process's unfinished uploads. Blobs stay.
func (s *Store) Close() error { return s.staging.close() }

func (s *Store) path(d cas.Digest) string {
	return filepath.Join(s.dir, "blobs", d.Hash[:2], d.Hash)
}

// Missing implements cas.Store. It looks at sizes, not at contents.
func (s *Store) Missing(ctx context.Context, ds []cas.Digest) ([]cas.Digest, error) {
	var missing []cas.Digest
	for _, d := range cas.Unique(ds) {
		if err := errors.Join(ctx.Err(), d.Validate()); err != nil {
			return nil, err
		}
		if d == cas.Empty {
			continue
		}
		switch info, err := os.Lstat(s.path(d)); {
		case errors.Is(err, fs.ErrNotExist), err == nil && (info.Size() != d.Size || !s.recordUse(info)):
			missing = append(missing, d)
		case err != nil:
			return nil, fmt.Errorf("looking for blob %s: %w", d, err)
		}
	}
	return missing, nil
}

// Open implements cas.Store. Damage found while reading is reported as
// cas.ErrNotFound, and the blob has been set aside when the error is seen.
func (s *Store) Open(ctx context.Context, d cas.Digest) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), d.Validate()); err != nil {
		return nil, err
	}
	if d == cas.Empty {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	f, err := os.Open(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cas.NotFound(d)
	}
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", d, err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != d.Size {
		// Either the caller's size is a lie or the file was cut short; the next
		// Put of the true digest replaces it in either case.
		err = cas.NotFound(d)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	_ = s.recordUse(info) // it is open: whatever becomes of its name, it can be read
	r := &reader{store: s, digest: d, file: f, verified: cas.Verify(d, f)}
	if d.Size > wholeBytes {
		return r, nil
	}
	return r.whole()
}
