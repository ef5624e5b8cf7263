package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// attributes are an entry's, as its file is to have them.
type attributes struct {
	uid, gid int // in the image
	mode     uint32
	mtime    unix.Timespec
	xattrs   map[string]string
}

// implied are the attributes of a directory that only its content tells of.
var implied = attributes{mode: 0o755}

const (
	paxAttribute = "SCHILY.xattr."
	capability   = "security.capability"
)

func attributesOf(h *tar.Header) (attributes, error) {
	if h.Uid < 0 || h.Uid > maxID || h.Gid < 0 || h.Gid > maxID {
		return attributes{}, refuseEntry(h.Name, "belongs to user %d and group %d; a sandbox has 0 to %d", h.Uid, h.Gid, maxID)
	}
	a := attributes{
		uid: h.Uid, gid: h.Gid, mode: uint32(h.Mode & 0o7777),
		mtime: unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())},
	}
	for record, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(record, paxAttribute)
		if !ok || !KeepsAttribute(name) {
			continue
		}
		if a.xattrs == nil {
			a.xattrs = map[string]string{}
		}
		a.xattrs[name] = value
	}
	return a, nil
}

// KeepsAttribute says which extended attributes are part of an image. The rest
// is of the machine it was made on, or steers file systems of this one.
func KeepsAttribute(name string) bool {
	return name == capability || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// setFile sets the attributes of an open regular file. The order matters: a
// change of owner takes the set-user bit and capabilities away, and a mode
// without permission to write forbids its owner to set attributes.
func (u *unpacker) setFile(fd int, a attributes) error {
	mode := a.mode
	if u.owns {
		if err := unix.Fchown(fd, a.uid+u.shift, a.gid+u.shift); err != nil {
			return u.ownerError(a, err)
		}
	} else {
		mode |= 0o400
	}
	if err := u.setXattrs(procPath(fd), a.xattrs); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	return setTime(procPath(fd), a.mtime)
}

// setDirectory sets the attributes of an open directory, of which something
// may be left from an earlier entry. Its time is set when the tree is finished.
func (u *unpacker) setDirectory(fd int, a attributes, ino uint64, existed bool) error {
	at, mode := procPath(fd), a.mode
	if u.owns {
		if err := unix.Fchownat(fd, "", a.uid+u.shift, a.gid+u.shift, unix.AT_EMPTY_PATH); err != nil {
			return u.ownerError(a, err)
		}
	} else {
		mode |= 0o700
	}
	if err := unix.Chmod(at, mode); err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	if existed {
		if err := clearXattrs(at); err != nil {
			return err
		}
	}
	if err := u.setXattrs(at, a.xattrs); err != nil {
		return err
	}
	facts := u.dirs[ino]
	facts.mtime = a.mtime
	u.dirs[ino] = facts
	return nil
}

// setSymlink sets what a symlink has of attributes.
func (u *unpacker) setSymlink(dir int, base string, a attributes) error {
	if u.owns {
		if err := unix.Fchownat(dir, base, a.uid+u.shift, a.gid+u.shift, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return u.ownerError(a, err)
		}
	}
	if err := unix.UtimesNanoAt(dir, base, []unix.Timespec{a.mtime, a.mtime}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}

// ownerError is about the machine, not the image, whose users were checked before:
// a user namespace in which this process is root may lack them.
func (u *unpacker) ownerError(a attributes, err error) error {
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("owner: this process is root of a user namespace without user %d or group %d: start it as an ordinary user, or give it users and groups from %d to %d",
			a.uid+u.shift, a.gid+u.shift, u.shift, u.shift+maxID)
	}
	return fmt.Errorf("owner: %w", err)
}

// procPath is a path to what fd has open, even if fd can only name it.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func setTime(at string, t unix.Timespec) error {
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{t, t}, 0); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}

func (u *unpacker) setXattrs(at string, xattrs map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		if name == capability && !u.owns {
			continue // nobody but root may
		}
		err := unix.Setxattr(at, name, []byte(xattrs[name]), 0)
		if errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("attribute %s: this file system keeps none; put the images on ext4, xfs or btrfs: %w", name, err)
		}
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

// clearXattrs removes the attributes that an image gave.
func clearXattrs(at string) error {
	names, err := listXattrs(at)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !KeepsAttribute(name) {
			continue
		}
		if err := unix.Removexattr(at, name); err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("removing attribute %s: %w", name, err)
		}
	}
	return nil
}

// listXattrs lists the attributes of what at leads to.
func listXattrs(at string) ([]string, error) {
	buf := make([]byte, 64<<10) // the kernel's XATTR_LIST_MAX
	n, err := unix.Listxattr(at, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing attributes: %w", err)
	}
	return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
}
