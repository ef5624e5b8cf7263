package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// directory makes one, or gives the one that is there other attributes.
func (u *unpacker) directory(name string, parent place, base string, a attributes) error {
	fd, err := unix.Openat(parent.fd, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		ino, err := inode(fd)
		if err == nil {
			err = u.setDirectory(fd, a, ino, true)
		}
		if err != nil {
			return entryError(name, "setting its attributes", err)
		}
		return nil
	}
	if err := u.clear(name, parent, base); err != nil {
		return err
	}
	p, err := u.makeDirectory(parent, base, a)
	if err != nil {
		return entryError(name, "making the directory", err)
	}
	p.close()
	return nil
}

// makeDirectory makes a directory where nothing is.
func (u *unpacker) makeDirectory(parent place, base string, a attributes) (place, error) {
	if err := unix.Mkdirat(parent.fd, base, 0o700); err != nil {
		return place{}, err
	}
	fd, err := unix.Openat(parent.fd, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}, err
	}
	ino, err := inode(fd)
	if err == nil {
		above := u.dirs[parent.ino]
		u.dirs[ino] = dirFacts{depth: above.depth + 1, length: above.length + 1 + len(base)}
		err = u.setDirectory(fd, a, ino, false)
	}
	if err != nil {
		unix.Close(fd)
		return place{}, err
	}
	if u.lower {
		u.cleared[ino] = true
		u.made[entryKey{parent.ino, base}] = true
	}
	return place{fd, ino}, nil
}

// file writes a regular file.
func (u *unpacker) file(h *tar.Header, parent place, base string, a attributes, content io.Reader) (err error) {
	// A sparse file claims much and costs the archive little, so the claim counts.
	if h.Size < 0 || h.Size > u.bytesLeft {
		return refuseEntry(h.Name, "brings the image beyond %d bytes", int64(sandbox.MaxImageBytes))
	}
	u.bytesLeft -= h.Size
	if err := u.clear(h.Name, parent, base); err != nil {
		return err
	}
	fd, err := unix.Openat(parent.fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return entryError(h.Name, "making the file", err)
	}
	defer func() {
		if closeErr := unix.Close(fd); err == nil && closeErr != nil {
			err = fmt.Errorf("entry %q: closing it: %w", h.Name, closeErr)
		}
	}()
	if err := u.copy(fd, h, content); err != nil {
		return err
	}
	if err := u.setFile(fd, a); err != nil {
		return entryError(h.Name, "setting its attributes", err)
	}
	return nil
}

var zeros [64 << 10]byte

// copy writes content to fd and leaves holes where it is zero for a whole
// buffer, so that a file takes no more of the disk than its archive tells of it.
func (u *unpacker) copy(fd int, h *tar.Header, content io.Reader) error {
	var at int64
	for at < h.Size {
		n, err := io.ReadFull(content, u.buffer[:min(int64(len(u.buffer)), h.Size-at)])
		if err != nil {
			return fmt.Errorf("%w: the layer is cut off in its entry %q: %v", sandbox.ErrRefused, h.Name, err)
		}
		if chunk := u.buffer[:n]; !bytes.Equal(chunk, zeros[:n]) {
			if err := pwriteAll(fd, chunk, at); err != nil {
				return fmt.Errorf("entry %q: writing it: %w", h.Name, err)
			}
		}
		at += int64(n)
	}
	if err := unix.Ftruncate(fd, h.Size); err != nil {
		return fmt.Errorf("entry %q: setting its size: %w", h.Name, err)
	}
	return nil
}

func pwriteAll(fd int, p []byte, at int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

// symlink makes one; its target is the sandbox's to follow, never this process's.
func (u *unpacker) symlink(h *tar.Header, parent place, base string, a attributes) error {
	if h.Linkname == "" || len(h.Linkname) > maxLinkName || strings.ContainsRune(h.Linkname, 0) {
		return refuseEntry(h.Name, "is a symlink to nothing a path can be")
	}
	if err := u.clear(h.Name, parent, base); err != nil {
		return err
	}
	if err := unix.Symlinkat(h.Linkname, parent.fd, base); err != nil {
		return entryError(h.Name, "making the symlink", err)
	}
	if err := u.setSymlink(parent.fd, base, a); err != nil {
		return entryError(h.Name, "setting its attributes", err)
	}
	return nil
}

// hardLink makes another name of a file or symlink that is already there. It
// shares the attributes of the first.
func (u *unpacker) hardLink(h *tar.Header, elements []string, parent place, base string) (kept bool, err error) {
	to, err := split(h.Linkname)
	if err != nil {
		return false, fmt.Errorf("the target of the hard link %q: %w", h.Name, err)
	}
	if len(to) == 0 {
		return false, refuseEntry(h.Name, "is a hard link to the root")
	}
	dir, err := u.openPlace(to[:len(to)-1], asNamed)
	if errors.Is(err, unix.ELOOP) {
		return false, refuseEntry(h.Name, "is a hard link to %q, which lies behind a symlink", h.Linkname)
	}
	if err != nil {
		return false, entryError(h.Name, fmt.Sprintf("opening the directory of its target %q", h.Linkname), err)
	}
	defer dir.close()
	target := to[len(to)-1]
	if dir.ino == parent.ino && target == base {
		return false, refuseEntry(h.Name, "is a hard link to itself")
	}
	var st unix.Stat_t
	err = unix.Fstatat(dir.fd, target, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) && u.leftOut[strings.Join(to, "/")] {
		return false, u.leaveOut(h.Name, elements, parent, base)
	}
	if err != nil {
		return false, entryError(h.Name, fmt.Sprintf("looking at its target %q", h.Linkname), err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFLNK {
		return false, refuseEntry(h.Name, "is a hard link to %q, which is neither file nor symlink", h.Linkname)
	}
	if err := u.clear(h.Name, parent, base); err != nil {
		return false, err
	}
	if err := unix.Linkat(dir.fd, target, parent.fd, base, 0); err != nil {
		return false, entryError(h.Name, fmt.Sprintf("linking it to %q", h.Linkname), err)
	}
	return true, nil
}
