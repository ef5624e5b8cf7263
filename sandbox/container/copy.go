package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// copier copies an input tree into a run's tmpfs, for a run that departs from
// the fixed one in what the overlay's lower layer cannot show: another owner, or
// another order of its directories.
type copier struct {
	owner    int  // user and group; -1 leaves them
	reverse  bool // list each directory in the reverse of how its original is listed
	newFirst bool // the tmpfs lists what was made last first
}

// pageBytes is what a tmpfs counts of files in.
const pageBytes = 4096

// copyBytes is how much of a tmpfs the tree's copy takes.
func copyBytes(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			total += (info.Size() + pageBytes - 1) / pageBytes * pageBytes
		} else {
			total += pageBytes // the target of a long symlink, or nothing
		}
		return nil
	})
	return total, err
}

// newestFirst tries in which order an empty directory's file system lists: what
// was made last comes first, or last. Kernels differ in it.
func newestFirst(dir string) (bool, error) {
	probe := filepath.Join(dir, "order")
	if err := os.Mkdir(probe, 0o700); err != nil {
		return false, err
	}
	made := []string{"b", "d", "a", "c"} // in no order that a sorted or hashed directory has by chance twice
	for _, name := range made {
		if err := os.Mkdir(filepath.Join(probe, name), 0o700); err != nil {
			return false, err
		}
	}
	listed, err := list(probe)
	if err != nil {
		return false, err
	}
	if err := os.RemoveAll(probe); err != nil {
		return false, err
	}
	if slices.Equal(listed, made) {
		return false, nil
	}
	slices.Reverse(made)
	if slices.Equal(listed, made) {
		return true, nil
	}
	return false, errors.New("this kernel's tmpfs lists a directory neither in the order in which its entries were made nor in the reverse; the order cannot be varied here")
}

// list names a directory's entries in the order in which a command would read them.
func list(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// directory makes to, which must not exist, a copy of the directory from.
func (c copier) directory(from, to string) error {
	names, err := list(from)
	if err != nil {
		return err
	}
	if c.reverse {
		slices.Reverse(names)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	making := slices.Clone(names)
	if c.newFirst {
		slices.Reverse(making)
	}
	for _, name := range making {
		if err := c.entry(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	if listed, err := list(to); err != nil || !slices.Equal(listed, names) {
		return errors.Join(fmt.Errorf("the copy of the input directory %s is not listed in the order that was asked for", from), err)
	}
	return c.attributes(from, to)
}

func (c copier) entry(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return c.directory(from, to)
	case info.Mode().IsRegular():
		if err := copyFile(from, to); err != nil {
			return err
		}
	case info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
	default:
		return fmt.Errorf("the input %s is neither file, directory nor symlink", from)
	}
	return c.attributes(from, to)
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// attributes gives a copy its owner, and its original's mode and time.
func (c copier) attributes(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return fmt.Errorf("reading the attributes of input %s: %w", from, err)
	}
	err := os.Lchown(to, c.owner, c.owner)
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && err == nil {
		err = unix.Chmod(to, st.Mode&0o7777)
	}
	if err == nil {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("setting the attributes of the copy of input %s: %w", from, err)
	}
	return nil
}
