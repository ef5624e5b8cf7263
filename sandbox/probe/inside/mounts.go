package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

var mountAttempts = table{
	"mount-tmpfs":    func(*world.World) verdict { return mountNew("tmpfs", "tmpfs", "") },
	"mount-proc":     func(*world.World) verdict { return mountNew("proc", "proc", "") },
	"mount-sysfs":    func(*world.World) verdict { return mountNew("sysfs", "sysfs", "") },
	"mount-devtmpfs": func(*world.World) verdict { return mountNew("devtmpfs", "devtmpfs", "") },
	"mount-cgroup2":  func(*world.World) verdict { return mountNew("cgroup2", "cgroup2", "") },
	"mount-debugfs":  func(*world.World) verdict { return mountNew("debugfs", "debugfs", "") },
	"mount-mqueue":   func(*world.World) verdict { return mountNew("mqueue", "mqueue", "") },
	"mount-ramfs":    func(*world.World) verdict { return mountNew("ramfs", "ramfs", "") },
	"mount-overlay":  func(*world.World) verdict { return mountNew("overlay", "overlay", "lowerdir=/etc:/usr") },
	"mount-bind-root": func(*world.World) verdict {
		return call("binding /", unix.Mount("/", newDir("m"), "", unix.MS_BIND|unix.MS_REC, ""))
	},
	"mount-shared": func(*world.World) verdict {
		return call("making mounts shared", unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""))
	},
	"remount-root": func(*world.World) verdict {
		return call("remounting /", unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	},
	"remount-read-only-mounts": func(*world.World) verdict {
		return onMounts("ro", func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND, "") })
	},
	"remount-nosuid-mounts": func(*world.World) verdict {
		return onMounts("nosuid", func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND, "") })
	},
	"mount-setattr-writable": func(*world.World) verdict {
		return call("mount_setattr", unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
	},
	"open-tree-clone": func(*world.World) verdict {
		_, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		return call("open_tree", err)
	},
	"move-mount": func(*world.World) verdict {
		return call("move_mount", unix.MoveMount(unix.AT_FDCWD, "/proc", unix.AT_FDCWD, newDir("m"), 0))
	},
	"fsopen": func(*world.World) verdict {
		_, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
		return call("fsopen", err)
	},
	"fspick": func(*world.World) verdict {
		_, err := unix.Fspick(unix.AT_FDCWD, "/", unix.FSPICK_CLOEXEC)
		return call("fspick", err)
	},
	"umount-masks": func(*world.World) verdict {
		return onMounts("", func(dir string) error {
			if strings.HasPrefix(dir, "/proc/") || strings.HasPrefix(dir, "/sys/") || strings.HasPrefix(dir, "/dev/") {
				return unix.Unmount(dir, unix.MNT_DETACH)
			}
			return errNotTried
		})
	},
	"umount-work-root": func(*world.World) verdict {
		dir, err := os.Getwd()
		if err != nil {
			return denied("%v", err)
		}
		return call("unmounting "+dir, unix.Unmount(dir, unix.MNT_DETACH))
	},
	"pivot-root":    func(*world.World) verdict { return call("pivot_root", unix.PivotRoot(".", ".")) },
	"chroot":        func(*world.World) verdict { return call("chroot", unix.Chroot(newDir("r"))) },
	"chroot-escape": chrootEscape,
	"umount-expire": func(*world.World) verdict {
		// The first call only marks; EAGAIN says that it may.
		return onMounts("", func(dir string) error {
			if err := unix.Unmount(dir, unix.MNT_EXPIRE); err != unix.EAGAIN {
				return err
			}
			return nil
		})
	},
	"binfmt-misc": func(*world.World) verdict { return mountNew("binfmt_misc", "binfmt_misc", "") },
}

// errNotTried is the answer of an attempt's step about what it leaves alone.
var errNotTried = errors.New("left alone")

// newDir makes a directory below the working directory.
func newDir(name string) string {
	dir, err := filepath.Abs(name)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil { // where nothing can be made, /tmp can be mounted on
		return "/tmp"
	}
	return dir
}

func mountNew(source, kind, options string) verdict {
	return call("mounting "+kind, unix.Mount(source, newDir("m"), kind, 0, options))
}

// onMounts does something to every mount point whose own options hold one, and
// succeeds with the first.
func onMounts(option string, do func(dir string) error) verdict {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return denied("%v", err)
	}
	last, tried := error(nil), 0
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || option != "" && !strings.Contains(","+f[5]+",", ","+option+",") {
			continue
		}
		dir := strings.NewReplacer(`\040`, " ", `\134`, `\`).Replace(f[4])
		switch err := do(dir); {
		case err == nil:
			return succeeded("done on %s", dir)
		case !errors.Is(err, errNotTried):
			last, tried = err, tried+1
		}
	}
	return denied("none of %d mounts: %v", tried, last)
}

// chrootEscape leaves a root that it set itself through a descriptor, and looks
// from where it comes out for the worker's key.
func chrootEscape(w *world.World) verdict {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return denied("%v", err)
	}
	if err := unix.Chroot(newDir("r")); err != nil {
		return denied("chroot: %v", err)
	}
	if err := unix.Fchdir(root); err != nil {
		return denied("fchdir: %v", err)
	}
	for range 64 {
		if err := unix.Chdir(".."); err != nil {
			return denied("chdir: %v", err)
		}
	}
	for _, path := range w.Canaries {
		if b, err := os.ReadFile(strings.TrimPrefix(path, "/")); err == nil && w.IsSecret(b) {
			return succeeded("read %s from outside the root", path)
		}
	}
	return denied("out of the new root there is only the sandbox's")
}

// pointer is an argument of a raw system call.
func pointer[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
