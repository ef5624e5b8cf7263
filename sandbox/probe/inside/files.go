package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

func asPointer[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

var fileAttempts = table{
	"key-of-worker": readCanary("worker"),
	"key-in-root":   readCanary("root"),
	"key-in-etc":    readCanary("etc"),
	"key-in-varlib": readCanary("varlib"),
	"key-by-roots": func(w *world.World) verdict {
		roots, _ := filepath.Glob("/proc/[0-9]*/root") // the pattern is well-formed
		return canaryBelow(w, roots...)
	},
	"key-by-directories": func(w *world.World) verdict {
		dirs, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well-formed
		for _, d := range dirs {
			if b, err := os.ReadFile(d + "/" + world.Key); err == nil && w.IsSecret(b) {
				return succeeded("read %s/%s", d, world.Key)
			}
		}
		return denied("not in %d working directories", len(dirs))
	},
	"key-by-descriptors": func(w *world.World) verdict {
		fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
		for _, fd := range fds {
			// By its name first: reading a pipe would take from it.
			if target, err := os.Readlink(fd); err == nil && strings.HasSuffix(target, "/"+world.Key) {
				if b, err := os.ReadFile(fd); err == nil && w.IsSecret(b) {
					return succeeded("read %s", fd)
				}
			}
		}
		return denied("not among %d descriptors", len(fds))
	},
	"key-by-input-link": func(w *world.World) verdict {
		b, err := os.ReadFile("input-link")
		if err == nil && w.IsSecret(b) {
			return succeeded("read through a symlink in the inputs")
		}
		return denied("%v", err)
	},
	"key-by-hard-link": func(w *world.World) verdict {
		return anyCanary(w, func(path string) error { return os.Link(path, "linked") })
	},
	"key-by-rename": func(w *world.World) verdict {
		return anyCanary(w, func(path string) error {
			if err := os.Rename(path, path+".moved"); err != nil {
				return err
			}
			return os.Rename(path+".moved", path)
		})
	},
	"key-status": func(w *world.World) verdict {
		return anyCanary(w, func(path string) error { _, err := os.Lstat(path); return err })
	},
	"own-environment": func(*world.World) verdict {
		if _, ok := os.LookupEnv(world.Canary); ok {
			return succeeded("the worker's variable is in this environment")
		}
		return denied("the environment has %d variables, none the worker's", len(os.Environ()))
	},
	"inherited-descriptors": func(*world.World) verdict {
		// Before Go opened any of its own this process had what it was given;
		// those it opens are marked to close on exec, those it inherited are not.
		for fd := 3; fd < 1024; fd++ {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err == nil && flags&unix.FD_CLOEXEC == 0 {
				target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
				return succeeded("descriptor %d is inherited: %s", fd, target)
			}
		}
		return denied("only 0, 1 and 2 are inherited")
	},
	"standard-descriptors": func(*world.World) verdict {
		for fd := range 3 {
			var st unix.Stat_t
			if unix.Fstat(fd, &st) != nil {
				continue
			}
			target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			switch st.Mode & unix.S_IFMT {
			case unix.S_IFDIR, unix.S_IFREG, unix.S_IFBLK, unix.S_IFSOCK:
				return succeeded("descriptor %d is %s", fd, target)
			case unix.S_IFCHR:
				if target != "/dev/null" {
					return succeeded("descriptor %d is %s", fd, target)
				}
			}
		}
		return denied("they are pipes and /dev/null")
	},
	"open-by-handle":      openByHandle,
	"open-root-by-handle": openRootByHandle,
	"machine-id": func(w *world.World) verdict {
		b, err := os.ReadFile("/etc/machine-id")
		if err == nil && strings.TrimSpace(string(b)) == w.MachineID {
			return succeeded("read the machine's id")
		}
		return denied("%v", err)
	},
	"shadow": readSomething("/etc/shadow"),
	"worker-directories": func(w *world.World) verdict {
		for _, path := range w.Canaries {
			dir := filepath.Dir(path)
			entries, err := os.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, e := range entries {
				if e.Name() == filepath.Base(path) {
					return succeeded("the key is listed in %s", dir)
				}
			}
		}
		return denied("not listed in %d directories", len(w.Canaries))
	},
}

func readCanary(where string) attempt {
	return func(w *world.World) verdict {
		path, ok := w.Canaries[where]
		if !ok {
			return absent("the suite could put no key there")
		}
		b, err := os.ReadFile(path)
		if err == nil && w.IsSecret(b) {
			return succeeded("read %s", path)
		}
		return denied("%v", err)
	}
}

func anyCanary(w *world.World, do func(path string) error) verdict {
	var last error
	for _, path := range w.Canaries {
		if last = do(path); last == nil {
			return succeeded("done with %s", path)
		}
	}
	return denied("%v", last)
}

// openByHandle opens a file that it sees by its handle, which takes a privilege
// that needs no name to be in sight.
func openByHandle(*world.World) verdict {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, ".", 0)
	if err != nil {
		return denied("name_to_handle_at: %v", err)
	}
	dir, err := unix.Open(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return denied("%v", err)
	}
	_, err = unix.OpenByHandleAt(dir, handle, unix.O_RDONLY)
	return call("open_by_handle_at", err)
}

// openRootByHandle guesses the handle of a file system's root, inode 2, or 128
// on XFS, below whatever mounts it sees.
func openRootByHandle(*world.World) verdict {
	var last error = unix.ENOENT
	for _, path := range []string{".", "/", "/tmp", "/etc", "/usr", "/etc/hosts", "/etc/resolv.conf"} {
		at, err := unix.Open(path, unix.O_RDONLY, 0)
		if err != nil {
			continue
		}
		for _, inode := range []uint32{2, 128, 256} {
			raw := binary.NativeEndian.AppendUint32(nil, inode)
			raw = binary.NativeEndian.AppendUint32(raw, 0)
			fd, err := unix.OpenByHandleAt(at, unix.NewFileHandle(1, raw), unix.O_RDONLY)
			if err == nil {
				unix.Close(fd)
				return succeeded("opened inode %d of the file system of %s", inode, path)
			}
			if last != unix.ESTALE {
				last = err
			}
		}
		unix.Close(at)
	}
	// A stale handle is one that it was allowed to try.
	return beyond("open_by_handle_at", last, unix.ESTALE)
}
