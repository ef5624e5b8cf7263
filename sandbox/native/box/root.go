package box

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// newRoot is where the new root is built, in this process's own mount
// namespace. Everything the plan shows from below it was opened before.
const newRoot = "/tmp"

// buildRoot carries out the steps and makes their result the root directory.
func buildRoot(p *Plan, received []int) error {
	// What is mounted here must not spread to the machine, nor the reverse.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &setupError{"detaching from the machine's mounts", err}
	}
	trees, err := openTrees(p, received)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", newRoot, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=4m,nr_inodes=4096"+p.rootsOwn()); err != nil {
		return &setupError{"mounting the new root", err}
	}
	if err := unix.Chdir(newRoot); err != nil {
		return &setupError{"entering the new root", err}
	}
	unix.Umask(0)
	for i, s := range p.Steps {
		if err := s.take(trees[i], p); err != nil {
			return &setupError{s.String(), err}
		}
	}
	return pivot()
}

// String names the step for the operator.
func (s Step) String() string {
	verb := map[Op]string{Directory: "making directory", File: "making file", Content: "writing", Symlink: "making symlink", Tmpfs: "mounting a tmpfs on",
		Bind: "showing", Tree: "showing", Overlay: "mounting the overlay on", Copy: "copying the inputs to", Proc: "mounting /proc on", Mask: "hiding", Protect: "protecting",
		Terminals: "mounting terminals on", Queues: "mounting message queues on", Alike: "setting the attributes of", Layers: "mounting the layers of"}[s.Op]
	if s.Op == Bind || s.Op == Tree {
		return verb + " " + s.Source + " as /" + s.Target
	}
	return verb + " /" + s.Target
}

// openTrees opens what Tree steps show, by index of their step.
func openTrees(p *Plan, received []int) (map[int]int, error) {
	trees := make(map[int]int)
	for i, s := range p.Steps {
		if s.Op != Tree {
			continue
		}
		if s.FD >= 0 {
			if int(s.FD) >= len(received) {
				return nil, &setupError{s.String(), unix.EBADF}
			}
			trees[i] = received[s.FD]
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, s.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, &setupError{s.String(), err}
		}
		trees[i] = fd
	}
	return trees, nil
}

// take carries out one step; the current directory is the new root.
func (s Step) take(tree int, p *Plan) error {
	switch s.Op {
	case Directory:
		return p.makeDirectory(s.Target, uint32(s.Flags))
	case File:
		fd, err := unix.Open(s.Target, unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	case Content:
		if err := os.WriteFile(s.Target, []byte(s.Options), 0o644); err != nil {
			return err
		}
		when := []unix.Timespec{{Sec: p.Epoch}, {Sec: p.Epoch}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, s.Target, when, 0); err != nil {
			return err
		}
		return p.giveToRoot(s.Target)
	case Symlink:
		if err := unix.Symlink(s.Source, s.Target); err != nil {
			return err
		}
		return p.giveToRoot(s.Target)
	case Tmpfs:
		return unix.Mount("tmpfs", s.Target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, s.Options)
	case Bind:
		if err := unix.Mount(s.Source, s.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		return setAttributes(s.Target, s.Flags)
	case Tree:
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, s.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return err
		}
		unix.Close(tree)
		return setAttributes(s.Target, s.Flags)
	case Overlay, Copy:
		return s.showInputs(p)
	case Proc:
		return unix.Mount("proc", s.Target, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	case Mask, Protect:
		return s.cover()
	case Terminals:
		return unlessUnknown(unix.Mount("devpts", s.Target, "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, s.Options))
	case Queues:
		return unlessUnknown(unix.Mount("mqueue", s.Target, "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	case Alike:
		return s.copyAttributes()
	case Layers:
		return unix.Mount("overlay", s.Target, "overlay", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_RDONLY, "userxattr,lowerdir="+s.Options+":"+s.Source)
	}
	return unix.EINVAL
}

// unlessUnknown forgives a kernel that was built without a file system.
func unlessUnknown(err error) error {
	if err == unix.ENODEV {
		return nil
	}
	return err
}

func (s Step) copyAttributes() error {
	var st, own unix.Stat_t
	if err := unix.Stat(s.Source, &st); err != nil {
		return err
	}
	if err := unix.Stat(s.Target, &own); err != nil {
		return err
	}
	if err := copyAttributes(s.Target, st); err != nil {
		return err
	}
	if st.Uid == own.Uid && st.Gid == own.Gid {
		return nil
	}
	return unix.Chown(s.Target, int(st.Uid), int(st.Gid))
}

// makeDirectory makes a directory and its parents, which belong to root.
func (p *Plan) makeDirectory(path string, mode uint32) error {
	err := unix.Mkdir(path, mode)
	if err == unix.ENOENT {
		if err = p.makeDirectory(filepath.Dir(path), 0o755); err == nil {
			err = unix.Mkdir(path, mode)
		}
	}
	if err == unix.EEXIST {
		return nil
	}
	if err != nil {
		return err
	}
	return p.giveToRoot(path)
}

// giveToRoot has what was made belong to root, if there is one. To make it as root
// would take less, but the kernel forgets with every change of users what signal a
// process gets at its parent's death.
func (p *Plan) giveToRoot(path string) error {
	if !p.Rooted {
		return nil
	}
	return unix.Lchown(path, 0, 0)
}

// rootsOwn are the mount options of a tmpfs that belongs to root, if there is one.
func (p *Plan) rootsOwn() string {
	if !p.Rooted {
		return ""
	}
	return ",uid=0,gid=0"
}

func setAttributes(target string, flags uint64) error {
	// A tree that the runner opened still belongs to the machine's peer group.
	return unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: flags, Propagation: unix.MS_PRIVATE})
}

// cover hides a file behind /dev/null and a directory behind an empty one, or
// makes it read-only; what this kernel does not have needs neither.
func (s Step) cover() error {
	var st unix.Stat_t
	err := unix.Lstat(s.Target, &st)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	if s.Op == Protect {
		if err := unix.Mount(s.Target, s.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		return setAttributes(s.Target, unix.MOUNT_ATTR_RDONLY)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.Mount("tmpfs", s.Target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_RDONLY, "mode=0555,size=4k")
	}
	return unix.Mount("dev/null", s.Target, "", unix.MS_BIND, "")
}

// pivot makes the current directory the root, read-only, and forgets the old one.
func pivot() error {
	if err := unix.PivotRoot(".", "."); err != nil {
		return &setupError{"changing the root", err}
	}
	// The old root now lies over the new one.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return &setupError{"unmounting the old root", err}
	}
	if err := unix.Chdir("/"); err != nil {
		return &setupError{"entering the root", err}
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return &setupError{"protecting the root", err}
	}
	return nil
}
