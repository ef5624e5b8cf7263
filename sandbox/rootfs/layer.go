package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// source is a layer's bytes. It remembers what went wrong in reading them, so
// that a malformed archive can be told from an archive that could not be read.
type source struct {
	ctx   context.Context
	inner io.Reader
	err   error
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = err
		return 0, err
	}
	n, err := s.inner.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// image applies all layers of img.
func (u *unpacker) image(ctx context.Context, img sandbox.Image) error {
	for n := range img.Layers {
		if err := u.layer(ctx, img, n); err != nil {
			return fmt.Errorf("unpacking layer %d of image %s: %w", n+1, img.Root(), err)
		}
	}
	if err := u.finish(); err != nil {
		return fmt.Errorf("unpacking image %s: %w", img.Root(), err)
	}
	return nil
}

// layer applies layer n of img, and reads it to its end, where its digest is judged.
func (u *unpacker) layer(ctx context.Context, img sandbox.Image, n int) error {
	r, err := img.Read(ctx, n)
	if err != nil {
		return err
	}
	defer r.Close()
	u.lower = n > 0
	if u.lower {
		u.made, u.cleared = map[entryKey]bool{}, map[uint64]bool{}
	}
	bytes := &source{ctx: ctx, inner: r}
	err = u.archive(tar.NewReader(bytes))
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, bytes, u.buffer)
	}
	if bytes.err != nil {
		return bytes.err // whatever it made of the archive
	}
	return err
}

func (u *unpacker) archive(tr *tar.Reader) error {
	last := ""
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !(errors.Is(err, tar.ErrInsecurePath) && h != nil) { // names are judged here
			return fmt.Errorf("%w: the layer is not a tar archive (after its entry %q): %v", sandbox.ErrRefused, last, err)
		}
		last = h.Name
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // a comment, as git writes it
		}
		if err := u.count(h.Name); err != nil {
			return err
		}
		if err := u.entry(h, tr); err != nil {
			return err
		}
	}
}

// entry applies one entry.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	elements, err := split(h.Name)
	if err != nil {
		return err
	}
	hides, hidden, err := whiteout(h.Name, elements)
	if err != nil {
		return err
	}
	if hides != hidesNothing {
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeLink { // aufs linked its whiteouts to each other
			return refuseEntry(h.Name, "has the name of a whiteout and is no plain file")
		}
		return u.hide(h.Name, elements[:len(elements)-1], hides, hidden)
	}
	a, err := attributesOf(h)
	if err != nil {
		return err
	}
	if len(elements) == 0 {
		return u.rootEntry(h, a)
	}
	parent, err := u.parent(h.Name, elements[:len(elements)-1])
	if err != nil {
		return err
	}
	defer parent.close()
	base := elements[len(elements)-1]
	if err := u.fits(h.Name, parent, base); err != nil {
		return err
	}
	kept, err := u.make(h, elements, parent, base, a, content)
	if err != nil {
		return err
	}
	if kept {
		u.mark(parent, base)
	}
	return nil
}

// rootEntry applies an entry about the root itself.
func (u *unpacker) rootEntry(h *tar.Header, a attributes) error {
	if h.Typeflag != tar.TypeDir {
		return refuseEntry(h.Name, "would replace the root by something else than a directory")
	}
	ino, err := inode(u.root)
	if err == nil {
		err = u.setDirectory(u.root, a, ino, true)
	}
	if err != nil {
		return entryError(h.Name, "setting its attributes", err)
	}
	return nil
}

// make puts the entry into parent, in place of what is there. It returns
// false for what is left out.
func (u *unpacker) make(h *tar.Header, elements []string, parent place, base string, a attributes, content io.Reader) (kept bool, err error) {
	switch h.Typeflag {
	case tar.TypeDir:
		return true, u.directory(h.Name, parent, base, a)
	case tar.TypeReg, tar.TypeGNUSparse:
		return true, u.file(h, parent, base, a, content)
	case tar.TypeSymlink:
		return true, u.symlink(h, parent, base, a)
	case tar.TypeLink:
		return u.hardLink(h, elements, parent, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return false, u.leaveOut(h.Name, elements, parent, base)
	}
	return false, refuseEntry(h.Name, "has the type %q, which no file has", h.Typeflag)
}

// leaveOut removes what the entry replaces and puts nothing there.
func (u *unpacker) leaveOut(name string, elements []string, parent place, base string) error {
	if u.leftOut == nil {
		u.leftOut = map[string]bool{}
	}
	u.leftOut[strings.Join(elements, "/")] = true
	u.leftOutCount++
	return u.clear(name, parent, base)
}

// clear removes whatever is called base in parent.
func (u *unpacker) clear(name string, parent place, base string) error {
	if err := removeAt(parent.fd, base); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("entry %q: removing what it replaces: %w", name, err)
	}
	return nil
}
