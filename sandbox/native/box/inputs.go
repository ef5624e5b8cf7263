package box

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// showInputs lays the tmpfs that is mounted on Options over the inputs, or copies
// them to it, and shows the result at Target. The tmpfs, and what only served as a
// source in it, stay where they are, out of reach under what is shown: unmounting
// would wait a millisecond for the kernel's other readers.
func (s Step) showInputs(p *Plan) error {
	below := s.Options
	upper := below + "/upper"
	if err := unix.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if s.Op == Copy {
		if err := s.copyInputs(upper); err != nil {
			return err
		}
	}
	when := []unix.Timespec{{Sec: p.Epoch}, {Sec: p.Epoch}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, upper, when, 0); err != nil {
		return err
	}
	if s.Target == below {
		return s.mountInputs(upper, below)
	}
	return s.showDeeper(p, upper)
}

func (s Step) mountInputs(upper, at string) error {
	if s.Op == Copy {
		return unix.Mount(upper, at, "", unix.MS_BIND, "")
	}
	work := s.Options + "/work"
	if err := unix.Mkdir(work, 0o755); err != nil {
		return err
	}
	options := "userxattr,lowerdir=" + s.Source + ",upperdir=" + upper + ",workdir=" + work
	return unix.Mount("overlay", at, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options)
}

// showDeeper shows the inputs below a second, read-only tmpfs that covers the
// first: the directories above Target are then as little writable as the root.
func (s Step) showDeeper(p *Plan, upper string) error {
	made := s.Options + "/shown"
	if err := unix.Mkdir(made, 0o755); err != nil {
		return err
	}
	if err := s.mountInputs(upper, made); err != nil {
		return err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, made, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := unix.Mount("tmpfs", s.Options, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=4k,nr_inodes=256"+p.rootsOwn()); err != nil {
		return err
	}
	if err := p.makeDirectory(s.Target, 0o755); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, s.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	return unix.MountSetattr(unix.AT_FDCWD, s.Options, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// copyInputs copies Source to upper, an empty directory of a tmpfs. It stands for
// the overlay where the kernel cannot keep an overlay's marks on a tmpfs (user
// attributes, since Linux 6.6), and where the command's user or the directories'
// order is another than the source's.
func (s Step) copyInputs(upper string) error {
	newestFirst, err := listsNewestFirst(s.Options + "/order")
	if err != nil {
		return err
	}
	// A copy keeps the order of its source, unless it is to be reversed.
	return copyDirectory(s.Source, upper, newestFirst != (s.Flags&Reversed != 0))
}

// listsNewestFirst makes dir and finds out how the kernel lists what is made in
// it one after another. Kernels differ, and a tmpfs of none promises anything.
func listsNewestFirst(dir string) (bool, error) {
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return false, err
	}
	oldest := []string{"a", "c", "b", "d"} // in no order of names
	for _, name := range oldest {
		if err := unix.Mkdir(dir+"/"+name, 0o755); err != nil {
			return false, err
		}
	}
	listed, err := list(dir)
	if err != nil {
		return false, err
	}
	if slices.Equal(listed, oldest) {
		return false, nil
	}
	slices.Reverse(listed)
	if slices.Equal(listed, oldest) {
		return true, nil
	}
	return false, unix.EOPNOTSUPP
}

// list is the names in dir, in the kernel's order.
func list(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
