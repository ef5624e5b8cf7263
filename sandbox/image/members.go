package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// members are the files of an archive of images or a layout, by clean slash-separated name.
type members interface {
	// member opens one. Its error wraps fs.ErrNotExist when it is not there.
	member(name string) (io.ReadCloser, int64, error)
}

// read returns the content of a small member.
func read(m members, name string, most int64) ([]byte, error) {
	r, size, err := m.member(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > most {
		return nil, refuse("its %s has %d bytes; at most %d", name, size, most)
	}
	b, err := io.ReadAll(io.LimitReader(r, size))
	if err != nil {
		return nil, fmt.Errorf("reading its %s: %w", name, err)
	}
	if int64(len(b)) != size {
		return nil, refuse("its %s is cut off; make the archive again", name)
	}
	return b, nil
}

// cleanName refuses names that leave where they start, as manifests may hold them.
func cleanName(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsRune(name, 0) {
		return "", refuse("it names the file %q outside itself; make the archive again with docker save", name)
	}
	return clean, nil
}

// directory is a layout on disk. os.Root keeps links inside.
type directory struct{ root *os.Root }

func (d directory) member(name string) (io.ReadCloser, int64, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() { // a fifo would never open
		return nil, 0, refuse("its %s is no file", name)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// tarball is an uncompressed archive, by where its members lie.
type tarball struct {
	file  *os.File
	files map[string]span
	links map[string]string // of old archives: equal layers are links to one
}

type span struct{ at, size int64 }

func (t *tarball) member(name string) (io.ReadCloser, int64, error) {
	for range maxLinkHops {
		if s, ok := t.files[name]; ok {
			return io.NopCloser(io.NewSectionReader(t.file, s.at, s.size)), s.size, nil
		}
		next, ok := t.links[name]
		if !ok {
			return nil, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		name = next
	}
	return nil, 0, refuse("its links lead in a circle at %s", name)
}

// indexTarball finds the members of an archive in f, without reading them.
func indexTarball(ctx context.Context, f *os.File) (*tarball, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t := &tarball{file: f, files: map[string]span{}, links: map[string]string{}}
	tr := tar.NewReader(f)
	for count := 0; ; count++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := tr.Next()
		if err == io.EOF {
			return t, nil
		}
		var broken *fs.PathError
		if errors.As(err, &broken) {
			return nil, err
		}
		if err != nil {
			return nil, refuse("it is not a whole tar archive: %v; make it again with docker save", err)
		}
		if count == maxMembers {
			return nil, refuse("it has more than %d files", maxMembers)
		}
		// The reader has read the header and not a byte more.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name, err := cleanName(h.Name)
		if err != nil {
			if h.Typeflag == tar.TypeDir { // "./" is of no use, and no harm
				continue
			}
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if h.Size > info.Size()-at {
				return nil, refuse("its %s is cut off; make the archive again", name)
			}
			t.files[name] = span{at, h.Size}
			delete(t.links, name)
		case tar.TypeSymlink, tar.TypeLink:
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), target)
			}
			if target, err = cleanName(target); err != nil {
				return nil, err
			}
			t.links[name] = target
			delete(t.files, name)
		}
	}
}

// compression is how bytes are packed, told by how they begin.
type compression string

const (
	plain compression = "none"
	gzip1 compression = "gzip"
	zstd1 compression = "zstd"
)

func compressionOf(head []byte) compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip1
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd1
	}
	return plain
}

// openTarball opens the archive in the file at p, which stays open until the
// source is closed; one that is compressed is decompressed to a temporary file.
func openTarball(ctx context.Context, r *reader, p string) (*tarball, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	r.source.close = append(r.source.close, f.Close)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, refuse("%s is no file; oci: and dir: read directories", p)
	}
	head := make([]byte, 4)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if compressionOf(head[:n]) != plain {
		r.progress("decompressing " + p)
		spooled, err := r.spool(ctx, f, maxArchiveBytes)
		if err != nil {
			return nil, err
		}
		if f, err = os.Open(spooled.path); err != nil {
			return nil, err
		}
		r.source.close = append(r.source.close, f.Close)
	}
	return indexTarball(ctx, f)
}

// openArchive opens a file by what it holds.
func openArchive(ctx context.Context, r *reader, p string) error {
	t, err := openTarball(ctx, r, p)
	if err != nil {
		return err
	}
	switch {
	case t.has(dockerManifest):
		return readDockerArchive(ctx, r, t)
	case t.has(ociIndex):
		return readOCI(ctx, r, &layout{t}, "")
	}
	return refuse("the archive has neither a %s nor an %s, so it holds no image; if it holds a root file system, unpack it and give its directory as dir:PATH", dockerManifest, ociIndex)
}

func (t *tarball) has(name string) bool {
	r, _, err := t.member(name)
	if err == nil {
		r.Close()
	}
	return err == nil
}

// plainLayer is a layer whose bytes are a member as it is.
func plainLayer(m members, name string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) {
		r, _, err := m.member(name)
		return r, err
	}
}
