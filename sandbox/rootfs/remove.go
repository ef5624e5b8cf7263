package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Remove removes dir with all that is in it, whatever modes a command or an
// image gave it. It follows no link and stops at mounts. What is not there is no error.
func Remove(dir string) error {
	parent, base := filepath.Split(filepath.Clean(dir))
	if parent == "" {
		parent = "."
	}
	at, err := unix.Open(parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = removeAt(at, base)
		unix.Close(at)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}

// removeAt removes base from the directory parent.
func removeAt(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) { // POSIX answers EPERM for a directory
		return err
	}
	fd, openErr := openat2(parent, base, unix.O_PATH|unix.O_DIRECTORY, asNamed)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	err = empty(fd)
	unix.Close(fd)
	if err != nil {
		return err
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}

// empty removes all of a directory, and first gives its owner back the
// permissions that this needs.
func empty(fd int) error {
	if os.Geteuid() != 0 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if st.Mode&0o700 != 0o700 {
			if err := unix.Chmod(procPath(fd), st.Mode&0o777|0o700); err != nil {
				return err
			}
		}
	}
	names, err := namesIn(fd, -1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAt(fd, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
