package main

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

var deviceAttempts = table{
	"mknod-disk": func(w *world.World) verdict { return mknod(unix.S_IFBLK, w.DiskMajor, w.DiskMinor) },
	"mknod-mem":  func(*world.World) verdict { return mknod(unix.S_IFCHR, 1, 1) },
	"mknod-kmsg": func(*world.World) verdict { return mknod(unix.S_IFCHR, 1, 11) },
	"mknod-loop-control": func(*world.World) verdict {
		return mknod(unix.S_IFCHR, 10, 237)
	},
	"mknod-fuse":          func(*world.World) verdict { return mknod(unix.S_IFCHR, 10, 229) },
	"mknod-tun":           func(*world.World) verdict { return mknod(unix.S_IFCHR, 10, 200) },
	"mknod-tty":           func(*world.World) verdict { return mknod(unix.S_IFCHR, 4, 1) },
	"open-mem":            opened("/dev/mem", unix.O_RDONLY),
	"open-kmsg":           opened("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK),
	"open-disk":           openDisk,
	"open-loop-control":   opened("/dev/loop-control", unix.O_RDWR),
	"open-loop":           opened("/dev/loop0", unix.O_RDONLY),
	"open-fuse":           opened("/dev/fuse", unix.O_RDWR),
	"open-tun":            opened("/dev/net/tun", unix.O_RDWR),
	"open-kvm":            opened("/dev/kvm", unix.O_RDWR),
	"open-vsock":          opened("/dev/vsock", unix.O_RDONLY),
	"open-userfaultfd":    opened("/dev/userfaultfd", unix.O_RDWR),
	"open-console":        opened("/dev/console", unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK),
	"open-vcs":            opened("/dev/vcs1", unix.O_RDONLY),
	"open-btrfs-control":  opened("/dev/btrfs-control", unix.O_RDWR),
	"open-latency":        opened("/dev/cpu_dma_latency", unix.O_RDONLY),
	"unexpected-devices":  unexpectedDevices,
	"open-port":           opened("/dev/port", unix.O_RDONLY),
	"open-mapper-control": opened("/dev/mapper/control", unix.O_RDWR),
}

func mknod(kind uint32, major, minor uint32) verdict {
	const path = "node"
	return call("mknod", unix.Mknod(path, kind|0o666, int(unix.Mkdev(major, minor))))
}

// openDisk opens for reading any block device there is.
func openDisk(*world.World) verdict {
	paths, _ := filepath.Glob("/dev/*") // the pattern is well-formed
	var last error = unix.ENOENT
	for _, path := range paths {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			continue
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			return succeeded("opened %s", path)
		}
		last = err
	}
	return denied("%v", last)
}

// harmlessDevices are what a sandbox may have: sources and sinks of bytes, and
// terminals of its own.
var harmlessDevices = []string{"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts/ptmx"}

// unexpectedDevices looks for any other device that may be opened, and opens none.
func unexpectedDevices(*world.World) verdict {
	found := ""
	_ = filepath.WalkDir("/dev", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeDevice == 0 || slices.Contains(harmlessDevices, strings.TrimPrefix(path, "/dev/")) {
			return nil
		}
		if unix.Access(path, unix.R_OK) == nil || unix.Access(path, unix.W_OK) == nil {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if found != "" {
		return succeeded("%s may be opened", found)
	}
	return denied("/dev has only null, zero, full, random, urandom and terminals of its own")
}
