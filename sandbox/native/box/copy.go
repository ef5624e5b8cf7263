package box

import (
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// copyDirectory copies what src has to the existing directory dst: files,
// directories and links with their modes and times, which is all that inputs are.
// Entries are made in the order in which src lists them, or from the last to the first.
func copyDirectory(src, dst string, lastFirst bool) error {
	names, err := list(src)
	if err != nil {
		return err
	}
	if lastFirst {
		slices.Reverse(names)
	}
	for _, name := range names {
		from, to := src+"/"+name, dst+"/"+name
		var st unix.Stat_t
		if err := unix.Lstat(from, &st); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if err = unix.Mkdir(to, 0o755); err == nil {
				err = copyDirectory(from, to, lastFirst)
			}
		case unix.S_IFREG:
			err = copyContent(from, to)
		case unix.S_IFLNK:
			var target string
			if target, err = os.Readlink(from); err == nil {
				err = unix.Symlink(target, to)
			}
		default:
			err = unix.EINVAL
		}
		if err != nil {
			return err
		}
		if err := copyAttributes(to, st); err != nil {
			return err
		}
	}
	return nil
}

func copyAttributes(to string, st unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o777); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Mtim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyContent(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
