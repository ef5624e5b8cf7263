package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// hide applies a whiteout or opaque marker that lies in the directory dir: it
// removes what lower layers put there and keeps what this layer did.
func (u *unpacker) hide(name string, dir []string, what hiding, hidden string) error {
	if !u.lower {
		return nil
	}
	at, err := u.openPlace(dir, insideRoot)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return entryError(name, "opening the directory of the whiteout", err)
	}
	defer at.close()
	if what == hidesContent {
		_, err = u.hideContent(at)
	} else {
		_, err = u.hideName(at, hidden)
	}
	if err != nil {
		return fmt.Errorf("whiteout %q: removing what it hides: %w", name, err)
	}
	return nil
}

// hideName removes what of base in p is from lower layers, and says whether
// base is still there.
func (u *unpacker) hideName(p place, base string) (stays bool, err error) {
	key := entryKey{p.ino, base}
	fd, err := unix.Openat(p.fd, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP): // a file or a symlink
		if u.made[key] {
			return true, nil
		}
		return false, unix.Unlinkat(p.fd, base, 0)
	case err != nil:
		return false, err
	}
	defer unix.Close(fd)
	ino, err := inode(fd)
	if err != nil {
		return false, err
	}
	stays, err = u.hideContent(place{fd, ino})
	switch {
	case err != nil || u.made[key]:
		return true, err
	case !stays:
		return false, unix.Unlinkat(p.fd, base, unix.AT_REMOVEDIR)
	}
	// Only what this layer put below it tells of it now.
	u.made[key] = true
	return true, u.setDirectory(fd, implied, ino, true)
}

// hideContent does hideName for all of p, and says whether anything is left.
// Of one directory it does so once a layer: nothing of lower layers comes back.
func (u *unpacker) hideContent(p place) (stays bool, err error) {
	if u.cleared[p.ino] {
		names, err := namesIn(p.fd, 1)
		return len(names) > 0, err
	}
	names, err := namesIn(p.fd, -1)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		one, err := u.hideName(p, name)
		if err != nil {
			return false, err
		}
		stays = stays || one
	}
	u.cleared[p.ino] = true
	return stays, nil
}

// namesIn lists at most that many names of an open directory, all with -1. fd
// may be one that only names it.
func namesIn(fd, most int) ([]string, error) {
	readable, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(readable), "directory of an image")
	defer dir.Close()
	names, err := dir.Readdirnames(most)
	if err == io.EOF { // an empty one, when a number is given
		err = nil
	}
	return names, err
}

// finish sets the times of all directories, now that nothing is put in them.
func (u *unpacker) finish() error { return u.finishDirectory(u.root) }

func (u *unpacker) finishDirectory(fd int) error {
	names, err := namesIn(fd, -1)
	if err != nil {
		return err
	}
	for _, name := range names {
		child, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue
		}
		if err != nil {
			return err
		}
		err = u.finishDirectory(child)
		unix.Close(child)
		if err != nil {
			return err
		}
	}
	ino, err := inode(fd)
	if err != nil {
		return err
	}
	return setTime(procPath(fd), u.dirs[ino].mtime)
}
