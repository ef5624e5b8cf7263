package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

// Scratch is one run's mount point: a tmpfs with the layers of its build
// directory, or with a copy of its inputs.
type Scratch struct {
	Dir   string
	place *Place // nil only in tests, which make nothing
}

// Tree is the build directory that a run needs.
type Tree struct {
	InputDir string
	Bytes    int64 // of what may be written to it
	Epoch    int64 // time of its root, seconds since 1970
	Owner    int   // host-side user and group of its root, and of a copy
	Root     int   // those of the container's root
	Hostname string
	// Copied has the inputs copied, for another owner than theirs or for Reversed,
	// which has directories list them in the reverse of their own order.
	Copied, Reversed bool
}

// TreeOf is the build directory of s, whose limits are complete. base is what
// the host adds to the ids of the container's users.
func TreeOf(s sandbox.Spec, base int) Tree {
	v := s.Surroundings()
	return Tree{
		InputDir: s.InputDir, Bytes: s.Limits.DiskBytes, Epoch: s.SourceDateEpoch, Owner: base + v.UID, Root: base, Hostname: v.Hostname,
		Copied: v.UID != sandbox.UID || v.ReverseOrder || v.CopiedInputs, Reversed: v.ReverseOrder,
	}
}

// Make mounts a tmpfs of so many bytes and prepares the overlay's layers: lower
// is a symlink to the input tree, so that no foreign path stands in mount options,
// and upper lends the overlay its root's owner, mode and times.
func (s Scratch) Make(t Tree) error {
	if err := s.mount(t); err != nil {
		return err
	}
	fill := s.layers
	if t.Copied {
		fill = s.copy
	}
	if err := errors.Join(fill(t), s.writeNames(t)); err != nil {
		return errors.Join(fmt.Errorf("preparing a run's scratch directory: %w", err), s.Remove())
	}
	return nil
}

// mount makes the directory and mounts the tmpfs on it.
func (s Scratch) mount(t Tree) error {
	err := os.Mkdir(s.Dir, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		if err = s.place.mend(); err == nil {
			err = os.Mkdir(s.Dir, 0o700)
		}
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making a run's scratch directory: %w", err)
	}
	size := t.Bytes + namesBytes
	if t.Copied {
		inputs, err := copyBytes(t.InputDir)
		if err != nil {
			return errors.Join(fmt.Errorf("measuring the input tree: %w", err), os.Remove(s.Dir))
		}
		size += inputs
	}
	err = unix.Mount("gavel", s.Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0710,gid=%d,size=%d", s.place.group, size))
	if errors.Is(err, unix.EPERM) {
		return errors.Join(errors.New("a sandbox of containers mounts a file system for each build, which takes root; run the worker as root, or use --sandbox native"), os.Remove(s.Dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("mounting a tmpfs on %s: %w", s.Dir, err), os.Remove(s.Dir))
	}
	return nil
}

func (s Scratch) layers(t Tree) error {
	for _, name := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(s.path(name), 0o755); err != nil {
			return err
		}
	}
	upper, epoch := s.path("upper"), time.Unix(t.Epoch, 0)
	return errors.Join(
		os.Symlink(t.InputDir, s.path("lower")),
		os.Chmod(upper, 0o755), // whatever this process's umask is
		os.Chown(upper, t.Owner, t.Owner),
		os.Chtimes(upper, epoch, epoch),
	)
}

// copy puts the input tree on the tmpfs itself.
func (s Scratch) copy(t Tree) error {
	newFirst, err := newestFirst(s.Dir)
	if err != nil {
		return err
	}
	copied := s.path("copy")
	if err := (copier{owner: t.Owner, reverse: t.Reversed, newFirst: newFirst}).directory(t.InputDir, copied); err != nil {
		return err
	}
	epoch := time.Unix(t.Epoch, 0)
	return errors.Join(os.Chmod(copied, 0o755), os.Chtimes(copied, epoch, epoch))
}

// Copy is the directory to show as the build directory, if the tree was Copied.
func (s Scratch) Copy() (dir string, ok bool) {
	_, err := os.Lstat(s.path("copy"))
	return s.path("copy"), err == nil
}

func (s Scratch) path(name string) string { return filepath.Join(s.Dir, name) }

// OverlayOptions are the mount options of the build directory.
func (s Scratch) OverlayOptions() string {
	return "lowerdir=" + s.path("lower") + ",upperdir=" + s.path("upper") + ",workdir=" + s.path("work")
}

// Show returns the build directory for whoever binds it into a container; it
// mounts the overlay, which nobody else may then mount. Open is for afterwards.
func (s Scratch) Show() (string, error) {
	if dir, ok := s.Copy(); ok {
		return dir, nil
	}
	if err := unix.Mount("gavel", s.path("merged"), "overlay", unix.MS_NOSUID|unix.MS_NODEV, s.OverlayOptions()); err != nil {
		return "", fmt.Errorf("mounting the build directory: %w", err)
	}
	return s.path("merged"), nil
}

// MountRoot assembles a container's root of read-only trees, the first in front,
// each a directory. Before them all lie the directories points, open as a mode says,
// on which a runtime that can write to no root can mount, and NameFiles in /etc,
// whatever the last tree has in their places, unless its /etc is no directory.
func (s Scratch) MountRoot(t Tree, points map[string]os.FileMode, trees ...string) (string, error) {
	for p := range points {
		if err := os.MkdirAll(filepath.Join(s.path("points"), p), 0o755); err != nil {
			return "", fmt.Errorf("making the mount points of a root: %w", err)
		}
	}
	when := time.Unix(t.Epoch, 0)
	err := filepath.WalkDir(s.path("points"), func(dir string, _ os.DirEntry, err error) error {
		mode, named := points[strings.TrimPrefix(dir, s.path("points")+"/")]
		if !named {
			mode = 0o755
		}
		// Nothing is made any more, so times stay.
		return errors.Join(err, os.Chown(dir, t.Root, t.Root), os.Chmod(dir, mode), os.Chtimes(dir, when, when))
	})
	if err != nil {
		return "", fmt.Errorf("making the mount points of a root: %w", err)
	}
	if err := s.showNames(t, trees[len(trees)-1]); err != nil {
		return "", err
	}
	lower := s.path("points")
	for i, tree := range trees {
		link := s.path(fmt.Sprintf("tree%d", i)) // so that no foreign path stands in mount options
		if err := os.Symlink(tree, link); err != nil {
			return "", fmt.Errorf("naming the trees of a root: %w", err)
		}
		lower += ":" + link
	}
	root := s.path("root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", fmt.Errorf("making a root: %w", err)
	}
	// Without an upper layer nothing can be written to it, nor to what it shows.
	if err := unix.Mount("gavel", root, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "lowerdir="+lower); err != nil {
		return "", fmt.Errorf("mounting a root: %w", err)
	}
	return root, nil
}

// Open opens the build directory as the command left it. For that it mounts the
// overlay, which nobody else may have mounted still; Remove unmounts it again.
func (s Scratch) Open() (*os.File, error) {
	if dir, ok := s.Copy(); ok {
		return os.Open(dir)
	}
	if dir, ok := s.Slot(); ok {
		return os.Open(dir) // Fill mounted it
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.path("merged"), &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return os.Open(s.path("merged")) // Show mounted it
	}
	err := unix.Mount("gavel", s.path("merged"), "overlay", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, s.OverlayOptions())
	if err != nil {
		return nil, fmt.Errorf("mounting what the command left: %w", err)
	}
	return os.Open(s.path("merged"))
}

// Remove takes the directory and every mount at or in it away; the memory is
// free once everybody else, too, has let go.
func (s Scratch) Remove() error {
	for _, dir := range []string{s.path("root"), s.path("merged"), s.path(slotDir), s.Dir} {
		for {
			err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // no mount point; not there
				break
			}
			if err != nil {
				return fmt.Errorf("unmounting %s: %w", dir, err)
			}
		}
	}
	if err := os.Remove(s.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
