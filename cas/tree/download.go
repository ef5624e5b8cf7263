package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"gavel/cas"
)

// Download writes the entries under dir, which it makes if need be. Files there
// under the same names are replaced, each by rename of a complete one; what is
// not listed stays. It never writes through a symlink, not through one that was
// there before either, and makes links after all files. Modes are 0644 or 0755
// as the umask allows.
func Download(ctx context.Context, from cas.Fetcher, es []Entry, dir string, o Options) error {
	if err := CheckEntries(es, o.Limits); err != nil {
		return fmt.Errorf("refusing to download: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("downloading: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("downloading: %w", err)
	}
	defer root.Close()
	w := &download{root: root, options: o, paths: map[cas.Digest][]Entry{}}
	if err := w.run(ctx, from, es); err != nil {
		return fmt.Errorf("downloading to %s: %w", dir, err)
	}
	return nil
}

type download struct {
	root    *os.Root
	options Options
	paths   map[cas.Digest][]Entry // where each blob goes

	mu       sync.Mutex
	progress Progress // guarded by mu
}

func (w *download) run(ctx context.Context, from cas.Fetcher, es []Entry) error {
	made := map[string]struct{}{}
	var want []cas.Digest
	for _, e := range es {
		parents := strings.Split(e.Path, "/")
		if e.Type != Dir {
			parents = parents[:len(parents)-1]
		}
		if err := w.directories(parents, made); err != nil {
			return err
		}
		if e.Type == File {
			if len(w.paths[e.Digest]) == 0 {
				want = append(want, e.Digest)
				w.progress.BlobBytes += e.Digest.Size
			}
			w.paths[e.Digest] = append(w.paths[e.Digest], e)
		}
	}
	w.progress.Blobs = len(want)
	w.options.report(w.progress)
	if err := from.Fetch(ctx, want, w.files); err != nil {
		return err
	}
	for _, e := range es {
		if e.Type == Symlink {
			if err := w.symlink(e); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// directories makes the directory at names and its parents. What stands in the
// way and is no real directory is refused rather than followed or removed.
func (w *download) directories(names []string, made map[string]struct{}) error {
	for i := range names {
		path := strings.Join(names[:i+1], "/")
		if _, done := made[path]; done {
			continue
		}
		err := w.root.Mkdir(path, 0o777)
		if errors.Is(err, fs.ErrExist) {
			var info fs.FileInfo
			if info, err = w.root.Lstat(path); err == nil && !info.IsDir() {
				err = fmt.Errorf("%q is in the way and is no directory; move it or choose another directory", path)
			}
		}
		if err != nil {
			return err
		}
		made[path] = struct{}{}
	}
	return nil
}

// files writes a blob to each of its paths.
func (w *download) files(d cas.Digest, r io.Reader) error {
	entries := w.paths[d]
	if err := w.file(entries[0], r); err != nil {
		return err
	}
	for _, e := range entries[1:] {
		first, err := w.root.Open(entries[0].Path)
		if err != nil {
			return err
		}
		err = w.file(e, first)
		first.Close()
		if err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress.MovedBlobs++
	w.progress.MovedBlobBytes += d.Size
	w.options.report(w.progress)
	return nil
}

func (w *download) file(e Entry, r io.Reader) error {
	mode := fs.FileMode(0o666)
	if e.Executable {
		mode = 0o777
	}
	temp, f, err := w.create(e.Path, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = w.root.Rename(temp, e.Path) // replaces a link itself, not what it points to
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %q: %w", e.Path, err), w.root.Remove(temp))
	}
	return nil
}

// create makes a new file in the directory of path, under a name of its own.
func (w *download) create(path string, mode fs.FileMode) (string, *os.File, error) {
	dir := path[:strings.LastIndexByte(path, '/')+1]
	for i := 0; ; i++ {
		temp := fmt.Sprintf("%s.gavel-%d-%d", dir, os.Getpid(), i)
		f, err := w.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return temp, f, err
		}
	}
}

func (w *download) symlink(e Entry) error {
	switch info, err := w.root.Lstat(e.Path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("directory %q is in the way of a symlink; move it or choose another directory", e.Path)
	default:
		if err := w.root.Remove(e.Path); err != nil {
			return err
		}
	}
	return w.root.Symlink(e.Target, e.Path)
}
