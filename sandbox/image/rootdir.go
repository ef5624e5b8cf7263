package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/rootfs"
)

// epoch is the time of everything in an image that is made here.
var epoch = time.Unix(0, 0).UTC()

// openDir makes an image of a root file system.
func openDir(ctx context.Context, r *reader, dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "opening", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	r.progress("packing " + dir)
	left := 0
	layer, err := r.keep(func(w io.Writer) error {
		p := &packer{ctx: ctx, out: tar.NewWriter(w), links: map[fileID]string{}, bytesLeft: r.left}
		if err := p.pack(fd); err != nil {
			return err
		}
		left = p.leftOut
		return p.out.Close()
	})
	if err != nil {
		return err
	}
	if left > 0 {
		r.progress(fmt.Sprintf("left out %d devices, fifos, sockets and mounts of %s", left, dir))
	}
	config, err := json.Marshal(imagespec.Image{
		Created:  &epoch,
		Platform: imagespec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		RootFS:   imagespec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.digest}},
		History:  []imagespec.History{{Created: &epoch, CreatedBy: "gavel"}},
	})
	if err != nil {
		return err
	}
	r.source.Image.Config = config
	return r.add(layer.layer())
}

// packer writes a tree as a layer that depends on nothing but the tree: names
// in order, one time for all, numbers for owners, and no inode or device numbers.
type packer struct {
	ctx       context.Context
	out       *tar.Writer
	device    uint64 // of the root; what is mounted below it is left out
	links     map[fileID]string
	bytesLeft int64
	leftOut   int
}

type fileID struct{ device, inode uint64 }

func (p *packer) pack(root int) error {
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return err
	}
	p.device = uint64(st.Dev)
	return p.directory(root, ".", &st)
}

// header is what all entries have. fd has the file open, or names it.
func (p *packer) header(name string, st *unix.Stat_t) (*tar.Header, error) {
	if st.Uid > 65535 || st.Gid > 65535 {
		return nil, refuse("its %q belongs to user %d and group %d; a sandbox has 0 to 65535: chown it", name, st.Uid, st.Gid)
	}
	return &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: epoch, Format: tar.FormatPAX,
	}, nil
}

func (p *packer) directory(fd int, name string, st *unix.Stat_t) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	h, err := p.header(name, st)
	if err != nil {
		return err
	}
	h.Typeflag, h.Name = tar.TypeDir, name+"/"
	if err := addXattrs(h, fd); err != nil {
		return err
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	if uint64(st.Dev) != p.device {
		p.leftOut++
		return nil
	}
	names, err := namesIn(fd)
	if err != nil {
		return fmt.Errorf("listing %q: %w", name, err)
	}
	slices.Sort(names)
	for _, base := range names {
		if strings.HasPrefix(base, ".wh.") {
			return refuse("its %q has a name that means a removal in an image; rename it", path.Join(name, base))
		}
		if err := p.entry(fd, base, path.Join(name, base)); err != nil {
			return err
		}
	}
	return nil
}

func namesIn(fd int) ([]string, error) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(again), "directory")
	defer d.Close()
	return d.Readdirnames(-1)
}

func (p *packer) entry(dir int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("looking at %q: %w", name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return p.symlink(dir, base, name, &st)
	case unix.S_IFDIR, unix.S_IFREG:
	default:
		p.leftOut++
		return nil
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 1 {
		id := fileID{uint64(st.Dev), st.Ino}
		if first, ok := p.links[id]; ok {
			return p.link(name, first, &st)
		}
		p.links[id] = name
	}
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, base, flags, 0)
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("opening %q: %w; run this as root, or as the owner", name, err)
	}
	if err != nil {
		return fmt.Errorf("opening %q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var opened unix.Stat_t
	if err := unix.Fstat(fd, &opened); err != nil {
		return err
	}
	if opened.Ino != st.Ino || opened.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT {
		return fmt.Errorf("%q was replaced while it was read; stop what writes there and try again", name)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return p.directory(fd, name, &opened)
	}
	return p.file(f, name, &opened)
}

func (p *packer) file(f *os.File, name string, st *unix.Stat_t) error {
	h, err := p.header(name, st)
	if err != nil {
		return err
	}
	if p.bytesLeft -= st.Size; p.bytesLeft < 0 {
		return refuse("its files have more than %d bytes; leave out what no build needs", int64(sandbox.MaxImageBytes))
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := addXattrs(h, int(f.Fd())); err != nil {
		return err
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	in := &input{ctx: p.ctx, inner: io.LimitReader(f, st.Size)}
	n, err := io.Copy(p.out, in)
	if err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if n != st.Size {
		return fmt.Errorf("%q became shorter while it was read; stop what writes there and try again", name)
	}
	return nil
}

func (p *packer) symlink(dir int, base, name string, st *unix.Stat_t) error {
	h, err := p.header(name, st)
	if err != nil {
		return err
	}
	target := make([]byte, 4096)
	n, err := unix.Readlinkat(dir, base, target)
	if err != nil {
		return fmt.Errorf("reading the symlink %q: %w", name, err)
	}
	h.Typeflag, h.Linkname = tar.TypeSymlink, string(target[:n])
	return p.out.WriteHeader(h)
}

func (p *packer) link(name, first string, st *unix.Stat_t) error {
	h, err := p.header(name, st)
	if err != nil {
		return err
	}
	h.Typeflag, h.Linkname = tar.TypeLink, first
	return p.out.WriteHeader(h)
}

// addXattrs adds the attributes that are part of an image, as rootfs keeps them.
func addXattrs(h *tar.Header, fd int) error {
	buf := make([]byte, 64<<10) // the kernel's XATTR_LIST_MAX
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing the attributes of %q: %w", h.Name, err)
	}
	for _, name := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		if !rootfs.KeepsAttribute(name) {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Fgetxattr(fd, name, value)
		if err != nil {
			return fmt.Errorf("reading the attribute %s of %q: %w", name, h.Name, err)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = string(value[:n])
	}
	return nil
}
