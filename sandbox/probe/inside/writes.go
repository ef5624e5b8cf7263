package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

// writeAttempts change what a run is only shown: its inputs' originals, of which
// the suite compares bytes, modes and times, and its root, where a file left
// behind would be seen by the next run.
var writeAttempts = table{
	"input-rewrite":  input(func() error { return os.WriteFile("input/file", []byte("rewritten"), 0o644) }),
	"input-append":   input(func() error { return appendTo("input/file") }),
	"input-chmod":    input(func() error { return os.Chmod("input/file", 0o777) }),
	"input-times":    input(func() error { return os.Chtimes("input/file", time.Unix(1, 0), time.Unix(1, 0)) }),
	"input-remove":   input(func() error { return os.RemoveAll("input") }),
	"input-truncate": input(func() error { return os.Truncate("input/file", 1) }),
	"input-rename":   input(func() error { return os.Rename("input/other", "input/file") }),
	"input-xattr":    input(func() error { return unix.Setxattr("input/file", "user.probe", []byte("x"), 0) }),
	"input-hard-link": input(func() error {
		if err := os.Link("input/file", "another"); err != nil {
			return err
		}
		return appendTo("another")
	}),
	"input-map": input(func() error {
		f, err := os.OpenFile("input/file", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		m, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(m, "mapd")
		return unix.Msync(m, unix.MS_SYNC)
	}),
	"input-reopen": input(func() error {
		// A descriptor of the lower layer, opened again through /proc.
		f, err := os.Open("input/file")
		if err != nil {
			return err
		}
		return appendTo(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}),
	"input-map-before-copy": input(func() error {
		// Read first, so that the mapping is of the lower layer; then made
		// writable, which a private mapping allows and a shared one must not.
		f, err := os.Open("input/file")
		if err != nil {
			return err
		}
		m, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		if err := appendTo("input/file"); err != nil { // copies it up
			return err
		}
		if err := unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return err
		}
		copy(m, "mapd")
		return nil
	}),
	"input-fallocate": input(func() error {
		f, err := os.OpenFile("input/file", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2)
	}),
	"input-memory": input(func() error {
		// Writing through /proc/self/mem ignores a mapping's protection.
		f, err := os.Open("input/file")
		if err != nil {
			return err
		}
		m, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if _, err := mem.WriteAt([]byte("mapd"), int64(pointer(&m[0]))); err != nil {
			return err
		}
		return appendTo("input/file")
	}),
	"input-attributes": input(func() error {
		f, err := os.Open("input/file")
		if err != nil {
			return err
		}
		const noDump = 0x40
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, noDump)
	}),
	"root-write": made("/"), "usr-write": made("/usr"), "etc-write": made("/etc"), "bin-write": made("/bin"), "lib-write": made("/lib"),
	"dev-write": made("/dev"), "var-write": made("/var"), "opt-write": made("/opt"), "home-write": made("/root"), "run-write": made("/run"),
	"go-write": func(*world.World) verdict {
		for _, dir := range []string{"/opt/go/bin", "/usr/local/go/bin", "/usr/lib/go/bin", "/usr/local/bin"} {
			if v := made(dir)(nil); v.code == world.Succeeded {
				return v
			}
		}
		return denied("no directory of programs can be written to")
	},
	"program-write": func(*world.World) verdict {
		last := error(unix.ENOENT)
		for _, path := range []string{"/bin/sh", "/bin/busybox", "/usr/bin/env", "/etc/passwd", "/etc/hosts", "/etc/resolv.conf"} {
			fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err == nil || err == unix.ETXTBSY {
				if err == nil {
					unix.Close(fd)
				}
				return succeeded("%s can be opened for writing", path)
			}
			if err != unix.ENOENT {
				last = err
			}
		}
		return denied("%v", last)
	},
	"elsewhere-write": elsewhereWrite,
}

// input changes a file of the inputs; whether its original changed is the suite's to see.
func input(change func() error) attempt {
	return func(*world.World) verdict {
		if err := change(); err != nil {
			return denied("%v", err)
		}
		return denied("a file of its own was changed")
	}
}

func appendTo(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("appended")
	return err
}

// made succeeds when a file can be made in dir, and removes it.
func made(dir string) attempt {
	return func(*world.World) verdict {
		path := filepath.Join(dir, "gavel-probe-made")
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			_ = os.Remove(path) // success is what counts
		}
		return call("making a file in "+dir, err)
	}
}

// scratchDirs are where a run may write: file systems of its own, each bounded.
var scratchDirs = []string{"/build", "/tmp", "/dev/shm", "/dev/mqueue", "/proc"}

// elsewhereWrite looks for any other directory that can be written to.
func elsewhereWrite(*world.World) verdict {
	found, seen := "", 0
	_ = filepath.WalkDir("/", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil
		}
		if slices.Contains(scratchDirs, path) || strings.Count(path, "/") > 4 {
			return fs.SkipDir
		}
		if seen++; seen > 20_000 {
			return fs.SkipAll
		}
		if unix.Access(path, unix.W_OK) == nil {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if found != "" {
		return succeeded("%s can be written to", found)
	}
	return denied("none of %d directories", seen)
}
