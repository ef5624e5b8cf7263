package inputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gavel/cas"
	"gavel/cas/tree"
)

// layOut fetches and writes t's tree and gives it its name.
func (c *Cache) layOut(ctx context.Context, t *laidOut, from cas.Fetcher) error {
	if err := c.trimIfDue(ctx); err != nil {
		return err
	}
	through := through{local: c.blobs, remote: from, fetched: &c.fetched}
	loaded, err := tree.Load(ctx, through, t.key.root, c.config.Limits)
	if err != nil {
		return err
	}
	// Beside its bytes every entry takes at most one block that it does not fill.
	bytes := loaded.Totals.Bytes + blockBytes*(loaded.Totals.Entries+1)
	if err := c.reserve(t, bytes); err != nil {
		return err
	}
	building := c.newPath()
	if err := os.Mkdir(building, 0o755); err != nil {
		return err
	}
	w := writer{dir: filepath.Join(building, "root"), options: t.key.options, blobs: through}
	if err := w.write(ctx, loaded); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	dir := filepath.Join(c.dir, "trees", t.key.name(bytes))
	// A crash before this leaves something under building/, which Open removes;
	// a crash after it a complete tree, which a later boot does not trust.
	if err := os.Rename(building, dir); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	c.mu.Lock()
	t.dir = dir
	c.mu.Unlock()
	return nil
}

// trimIfDue brings the blobs back under their bound once enough were fetched. It
// may take one from under a tree being laid out, if that has not read it for
// long; through.open then fetches it again.
func (c *Cache) trimIfDue(ctx context.Context) error {
	if c.fetched.Load() <= c.config.BlobBytes/trimFraction || !c.trim.TryLock() {
		return nil
	}
	defer c.trim.Unlock()
	if err := c.blobs.Trim(ctx, c.config.BlobBytes); err != nil {
		return err
	}
	c.fetched.Store(0)
	return nil
}

// writer writes one tree.
type writer struct {
	dir     string
	options Options
	blobs   through
}

func (w writer) write(ctx context.Context, t *tree.Tree) error {
	if err := w.blobs.ensure(ctx, t.Files()); err != nil {
		return err
	}
	if err := w.directory(""); err != nil {
		return err
	}
	var files, links, dirs []tree.Entry
	err := t.Walk(func(e tree.Entry) error {
		switch e.Type {
		case tree.Dir:
			dirs = append(dirs, e)
			return w.directory(e.Path)
		case tree.Symlink:
			links = append(links, e)
		default:
			files = append(files, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := cas.Parallel(ctx, writers, files, w.file); err != nil {
		return err
	}
	for _, e := range links {
		if err := w.symlink(e); err != nil {
			return err
		}
	}
	// Last: whatever is made in a directory changes its time.
	for _, e := range dirs {
		if err := w.stamp(e.Path); err != nil {
			return err
		}
	}
	return w.stamp("")
}

// path is where an entry goes. Names are clean and no two entries share one, so
// nothing on the way to it can be a link.
func (w writer) path(p string) string { return filepath.Join(w.dir, p) }

func (w writer) directory(p string) error {
	if err := os.Mkdir(w.path(p), 0o755); err != nil {
		return err
	}
	return os.Chmod(w.path(p), 0o755) // whatever the umask
}

func (w writer) file(ctx context.Context, e tree.Entry) error {
	err := w.copy(ctx, e)
	if errors.Is(err, cas.ErrNotFound) {
		// A large blob shows its damage only while it is read, and has then been
		// set aside: once more, from the remote.
		if err = os.RemoveAll(w.path(e.Path)); err == nil {
			err = w.copy(ctx, e)
		}
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", e.Path, err)
	}
	return w.stamp(e.Path)
}

func (w writer) copy(ctx context.Context, e tree.Entry) error {
	r, err := w.blobs.open(ctx, e.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	mode := os.FileMode(0o644)
	if e.Executable {
		mode = 0o755
	}
	f, err := os.OpenFile(w.path(e.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

func (w writer) symlink(e tree.Entry) error {
	if err := os.Symlink(e.Target, w.path(e.Path)); err != nil {
		return err
	}
	return w.stamp(e.Path)
}

// stamp gives an entry its owner and time, a symlink its own.
func (w writer) stamp(p string) error {
	if w.options.UID >= 0 || w.options.GID >= 0 {
		if err := os.Lchown(w.path(p), w.options.UID, w.options.GID); err != nil {
			return fmt.Errorf("giving input files to uid %d (this needs root, or a runner that does not ask for it): %w", w.options.UID, err)
		}
	}
	if err := lutimes(w.path(p), w.options.Epoch); err != nil {
		return fmt.Errorf("setting the time of %q: %w", p, err)
	}
	return nil
}
