package box

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyInputs stands for overlay where the kernel cannot keep an overlay's marks
// on a tmpfs (user attributes, since Linux 6.6): the inputs are copied to the
// tmpfs on Target, which then shows nothing else.
func (s Step) copyInputs(epoch int64) error {
	upper := s.Target + "/upper"
	if err := unix.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if err := copyDirectory(s.Source, upper); err != nil {
		return err
	}
	when := []unix.Timespec{{Sec: epoch}, {Sec: epoch}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, upper, when, 0); err != nil {
		return err
	}
	return unix.Mount(upper, s.Target, "", unix.MS_BIND, "")
}

// copyDirectory copies what src has to the existing directory dst: files,
// directories and links with their modes and times, which is all that inputs are.
func copyDirectory(src, dst string) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := src+"/"+e.Name(), dst+"/"+e.Name()
		var st unix.Stat_t
		if err := unix.Lstat(from, &st); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if err = unix.Mkdir(to, 0o755); err == nil {
				err = copyDirectory(from, to)
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
