package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// unpacker applies layers to one directory. Everything it touches it reaches
// from the descriptor of that directory, by a lookup that cannot leave it.
type unpacker struct {
	root  int // descriptor
	shift int
	owns  bool // owners are set: this process is root

	entries   int   // left of maxEntries
	bytesLeft int64 // of sandbox.MaxImageBytes, by what files claim to hold

	// dirs knows every directory of the tree by inode: none is ever renamed, and
	// all are made here.
	dirs map[uint64]dirFacts

	// lower is set once a layer lies below the one that is read; only then do
	// made and cleared matter.
	lower   bool
	made    map[entryKey]bool // what this layer put there
	cleared map[uint64]bool   // directories without anything from lower layers

	leftOut      map[string]bool // devices and the like, by clean name
	leftOutCount int

	buffer []byte
}

// dirFacts is what the kernel does not keep, or not as the archive has it.
type dirFacts struct {
	mtime  unix.Timespec
	depth  int // elements of its real path
	length int // bytes of its real path, with a leading slash for each element
}

// entryKey is a name in a directory. Names of directories that are gone do no
// harm: one that gets their inode is made by the same layer or a later one.
type entryKey struct {
	dir  uint64
	name string
}

// place is an open directory of the tree.
type place struct {
	fd  int
	ino uint64
}

func (p place) close() { unix.Close(p.fd) }

func newUnpacker(dir string, opts Options) (*unpacker, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	u := &unpacker{
		root: root, shift: opts.Shift, owns: os.Geteuid() == 0,
		entries: maxEntries, bytesLeft: sandbox.MaxImageBytes,
		dirs: map[uint64]dirFacts{}, buffer: make([]byte, 64<<10),
	}
	ino, err := inode(root)
	if err == nil {
		u.dirs[ino] = dirFacts{}
		err = u.setDirectory(root, implied, ino, false)
	}
	if err != nil {
		u.close()
		return nil, fmt.Errorf("preparing %s: %w", dir, err)
	}
	return u, nil
}

func (u *unpacker) close() { unix.Close(u.root) }

// Lookups that cannot leave the root.
const (
	// insideRoot takes the root for / when it follows symlinks.
	insideRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
	// asNamed follows none.
	asNamed = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
)

func openat2(dir int, p string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for {
		fd, err := unix.Openat2(dir, p, &how)
		if err != unix.EINTR && err != unix.EAGAIN { // EAGAIN: a rename elsewhere on the machine
			return fd, err
		}
	}
}

func inode(fd int) (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Ino, err
}

func (u *unpacker) openPlace(elements []string, resolve uint64) (place, error) {
	name := strings.Join(elements, "/")
	if name == "" {
		name = "."
	}
	fd, err := openat2(u.root, name, unix.O_PATH|unix.O_DIRECTORY, resolve)
	if err != nil {
		return place{}, err
	}
	ino, err := inode(fd)
	if err != nil {
		unix.Close(fd)
		return place{}, err
	}
	return place{fd, ino}, nil
}

// parent opens the directory of elements, and makes what of it is not there.
// name is the entry's, for errors.
func (u *unpacker) parent(name string, elements []string) (place, error) {
	p, err := u.openPlace(elements, insideRoot)
	if !errors.Is(err, unix.ENOENT) {
		if err != nil {
			err = entryError(name, "opening the directory", err)
		}
		return p, err
	}
	above, err := u.parent(name, elements[:len(elements)-1])
	if err != nil {
		return place{}, err
	}
	defer above.close()
	base := elements[len(elements)-1]
	if err := u.count(name); err != nil {
		return place{}, err
	}
	if err := u.fits(name, above, base); err != nil {
		return place{}, err
	}
	p, err = u.makeDirectory(above, base, implied)
	if errors.Is(err, unix.EEXIST) {
		return place{}, refuseEntry(name, "lies below the symlink %q, which leads nowhere inside the image", path.Join(elements...))
	}
	if err != nil {
		return place{}, entryError(name, "making the directory", err)
	}
	return p, nil
}

// fits says whether base may lie in p, by its real depth and length, which
// symlinks hide from its name in the archive.
func (u *unpacker) fits(name string, p place, base string) error {
	at := u.dirs[p.ino]
	if at.depth+1 > maxDepth {
		return refuseEntry(name, "is nested deeper than %d directories", maxDepth)
	}
	if at.length+1+len(base) > maxPath {
		return refuseEntry(name, "has a longer path than %d bytes", maxPath)
	}
	return nil
}

// count takes one entry off the bound.
func (u *unpacker) count(name string) error {
	if u.entries--; u.entries < 0 {
		return refuseEntry(name, "is one more than the %d entries an image may have", maxEntries)
	}
	return nil
}

// mark remembers that this layer put base into p.
func (u *unpacker) mark(p place, base string) {
	if u.lower {
		u.made[entryKey{p.ino, base}] = true
	}
}

// entryError blames the image where the kernel's answer is about what the entry
// asks for, and the machine otherwise.
func entryError(name, doing string, err error) error {
	for _, own := range []error{
		unix.ENOTDIR, unix.ELOOP, unix.ENOENT, unix.ENAMETOOLONG, unix.EINVAL, unix.EMLINK, unix.EEXIST, unix.EXDEV, unix.E2BIG, unix.ERANGE,
	} {
		if errors.Is(err, own) {
			return refuseEntry(name, "cannot be made: %s: %v", doing, err)
		}
	}
	return fmt.Errorf("entry %q: %s: %w", name, doing, err)
}
