package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// namesDir holds, on a run's tmpfs, the files of /etc that tell names.
const namesDir = "names"

// namesBytes is what they take of it: a page for each that is not empty.
const namesBytes = 2 * pageBytes

// NameFiles are files of /etc that are the same for every image and machine. The
// last says where to ask for names, which nobody can without a network.
var NameFiles = []string{"hosts", "hostname", "resolv.conf"}

// writeNames writes NameFiles as the native sandbox has them.
func (s Scratch) writeNames(t Tree) error {
	content := map[string]string{
		"hosts":       "127.0.0.1 localhost " + t.Hostname + "\n::1 localhost ip6-localhost ip6-loopback\n",
		"hostname":    t.Hostname + "\n",
		"resolv.conf": "",
	}
	dir, when := s.path(namesDir), time.Unix(t.Epoch, 0)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return fmt.Errorf("writing a run's names: %w", err)
	}
	for _, name := range NameFiles {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content[name]), 0o644); err != nil {
			return fmt.Errorf("writing a run's names: %w", err)
		}
		if err := errors.Join(os.Chmod(path, 0o644), os.Chown(path, t.Root, t.Root), os.Chtimes(path, when, when)); err != nil {
			return fmt.Errorf("writing a run's names: %w", err)
		}
	}
	return nil
}

// showNames moves NameFiles into the front of a root over an image, whose
// /etc lends its attributes.
func (s Scratch) showNames(t Tree, image string) error {
	etc := s.path("points/etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		return fmt.Errorf("showing a run's names: %w", err)
	}
	var st unix.Stat_t
	switch err := unix.Lstat(filepath.Join(image, "etc"), &st); {
	case errors.Is(err, unix.ENOENT):
		st = unix.Stat_t{Mode: unix.S_IFDIR | 0o755, Uid: uint32(t.Root), Gid: uint32(t.Root), Mtim: unix.Timespec{Sec: t.Epoch}}
	case err != nil:
		return fmt.Errorf("showing a run's names: %w", err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return os.Remove(etc)
	}
	for _, name := range NameFiles {
		if err := os.Rename(s.Name(name), filepath.Join(etc, name)); err != nil {
			return fmt.Errorf("showing a run's names: %w", err)
		}
	}
	times := []unix.Timespec{st.Mtim, st.Mtim}
	err := errors.Join(os.Chown(etc, int(st.Uid), int(st.Gid)), unix.Chmod(etc, st.Mode&0o7777), unix.UtimesNanoAt(unix.AT_FDCWD, etc, times, 0))
	if err != nil {
		return fmt.Errorf("showing a run's names: %w", err)
	}
	return nil
}

// Name is where one of NameFiles lies.
func (s Scratch) Name(file string) string { return filepath.Join(s.path(namesDir), file) }
