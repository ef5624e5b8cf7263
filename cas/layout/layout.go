package layout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"gavel/cas"
)

// blobsDir is where blobs lie, relative to the directory (OCI image layout specification).
const blobsDir = "blobs/sha256"

// Dir is a directory with blobs.
type Dir struct {
	path string
	root *os.Root
	next atomic.Uint64 // names of blobs under way
}

var _ cas.Store = (*Dir)(nil)

// Is says whether path looks like a directory that Open reads.
func Is(path string) bool {
	info, err := os.Stat(filepath.Join(path, filepath.FromSlash(blobsDir)))
	return err == nil && info.IsDir()
}

// Open opens a directory that has blobs. It writes nothing there until Put is called.
func Open(path string) (*Dir, error) {
	if !Is(path) {
		return nil, fmt.Errorf("opening inputs: %s has no %s: want a directory that gavel download --inputs wrote", path, blobsDir)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("opening inputs: %w", err)
	}
	return &Dir{path: path, root: root}, nil
}

// Create makes a directory for blobs, or opens it where there is one.
func Create(path string) (*Dir, error) {
	if err := os.MkdirAll(filepath.Join(path, filepath.FromSlash(blobsDir)), 0o777); err != nil {
		return nil, fmt.Errorf("making a directory for inputs: %w", err)
	}
	return Open(path)
}

// Path is the directory's, as it was opened.
func (d *Dir) Path() string { return d.path }

// Close closes the directory. Blobs that are open stay readable.
func (d *Dir) Close() error { return d.root.Close() }

func name(hash string) string { return blobsDir + "/" + hash }

// file opens a blob's file, whatever it holds. The error for one that is not there
// wraps cas.ErrNotFound.
func (d *Dir) file(g cas.Digest) (*os.File, int64, error) {
	if err := g.Validate(); err != nil {
		return nil, 0, err
	}
	f, err := d.root.OpenFile(name(g.Hash), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo would never open
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, cas.NotFound(g)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name(g.Hash))
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Missing implements cas.Store. A file of another size than the blob's is not the blob.
func (d *Dir) Missing(ctx context.Context, ds []cas.Digest) ([]cas.Digest, error) {
	var missing []cas.Digest
	for _, g := range cas.Unique(ds) {
		if err := errors.Join(ctx.Err(), g.Validate()); err != nil {
			return nil, err
		}
		if g == cas.Empty {
			continue
		}
		info, err := d.root.Stat(name(g.Hash))
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && info.Size() != g.Size:
			missing = append(missing, g)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

// Open implements cas.Store.
func (d *Dir) Open(_ context.Context, g cas.Digest) (io.ReadCloser, error) {
	f, _, err := d.file(g)
	if errors.Is(err, cas.ErrNotFound) && g == cas.Empty {
		return io.NopCloser(cas.Verify(g, eof{})), nil
	}
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{cas.Verify(g, f), f}, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Put implements cas.Store. The blob survives the process, and no power cut.
func (d *Dir) Put(ctx context.Context, g cas.Digest, r io.Reader) error {
	if err := errors.Join(ctx.Err(), g.Validate()); err != nil {
		return err
	}
	temp := fmt.Sprintf("%s/.incoming-%d-%d", blobsDir, os.Getpid(), d.next.Add(1))
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("writing blob %s: %w", g, err)
	}
	_, err = io.Copy(f, cas.Verify(g, r))
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(temp, name(g.Hash))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing blob %s: %w", g, err), d.root.Remove(temp))
	}
	return nil
}

// Finding is a blob that is not what it is named.
type Finding struct {
	Want cas.Digest
	// Got is the digest of what lies in its place; the zero Digest where nothing does.
	Got cas.Digest
}

// Absent says that nothing lies in the blob's place.
func (f Finding) Absent() bool { return f.Got == cas.Digest{} }

// Check reads ds and returns those that are not there or have other bytes, in order.
func (d *Dir) Check(ctx context.Context, ds []cas.Digest) ([]Finding, error) {
	ds = cas.Unique(ds)
	got := make([]cas.Digest, len(ds))
	at := make([]int, len(ds))
	for i := range at {
		at[i] = i
	}
	err := cas.Parallel(ctx, readers, at, func(_ context.Context, i int) (err error) {
		got[i], err = d.found(ds[i]) // each index belongs to one call
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("checking inputs: %w", err)
	}
	var out []Finding
	for i, g := range got {
		if g != ds[i] {
			out = append(out, Finding{Want: ds[i], Got: g})
		}
	}
	return out, nil
}

// found is the digest of what lies in a blob's place, zero for nothing.
func (d *Dir) found(g cas.Digest) (cas.Digest, error) {
	f, _, err := d.file(g)
	switch {
	case errors.Is(err, cas.ErrNotFound) && g == cas.Empty:
		return g, nil
	case errors.Is(err, cas.ErrNotFound):
		return cas.Digest{}, nil
	case err != nil:
		return cas.Digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return cas.Digest{}, fmt.Errorf("reading %s: %w", name(g.Hash), err)
	}
	return cas.OfSum([sha256.Size]byte(h.Sum(nil)), n), nil
}

// OpenFound opens what Check found in a blob's place; its bytes have the digest f.Got.
func (d *Dir) OpenFound(f Finding) (io.ReadCloser, error) {
	in, _, err := d.file(f.Want)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{cas.Verify(f.Got, in), in}, nil
}

// OpenSum opens a blob of which the SHA-256 alone is known, of at most limit bytes.
func (d *Dir) OpenSum(ctx context.Context, sum [sha256.Size]byte, limit int64) (io.ReadCloser, error) {
	hash := cas.OfSum(sum, 1).Hash
	info, err := d.root.Stat(name(hash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", hash, cas.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("blob %s: %w: it has %d bytes, at most %d", hash, cas.ErrTooLarge, info.Size(), limit)
	}
	return d.Open(ctx, cas.Digest{Hash: hash, Size: info.Size()})
}
