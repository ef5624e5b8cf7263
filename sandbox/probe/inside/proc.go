package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

var procAttempts = table{
	"sysrq-trigger":      writable("/proc/sysrq-trigger"),
	"core-pattern":       writable("/proc/sys/kernel/core_pattern"),
	"modprobe-path":      writable("/proc/sys/kernel/modprobe"),
	"sysctl-kernel":      writableBelow("/proc/sys/kernel"),
	"sysctl-vm":          writableBelow("/proc/sys/vm"),
	"sysctl-fs":          writableBelow("/proc/sys/fs"),
	"sysctl-net":         writableBelow("/proc/sys/net"),
	"sysctl-user":        writableBelow("/proc/sys/user"),
	"proc-hardware":      writableBelow("/proc/irq", "/proc/bus", "/proc/fs", "/proc/driver", "/proc/acpi", "/proc/scsi", "/proc/mtrr"),
	"oom-score-lower":    oomScoreLower,
	"uid-map-rewrite":    writeTo("/proc/self/uid_map", "0 0 4294967295"),
	"setgroups-rewrite":  writeTo("/proc/self/setgroups", "allow"),
	"proc-1-root":        func(w *world.World) verdict { return canaryBelow(w, "/proc/1/root") },
	"proc-1-cwd":         opened("/proc/1/cwd", unix.O_RDONLY|unix.O_DIRECTORY),
	"proc-1-fd":          procOneFD,
	"proc-1-mem":         opened("/proc/1/mem", unix.O_RDWR),
	"proc-1-maps":        readSomething("/proc/1/maps"),
	"proc-1-program":     procOneProgram,
	"proc-1-environ":     readSomething("/proc/1/environ"),
	"proc-environs":      procEnvirons,
	"proc-kcore":         opened("/proc/kcore", unix.O_RDONLY),
	"proc-kmsg":          opened("/proc/kmsg", unix.O_RDONLY|unix.O_NONBLOCK),
	"proc-kallsyms":      kallsyms,
	"proc-keys":          readSomething("/proc/keys"),
	"proc-timer-list":    readSomething("/proc/timer_list"),
	"proc-slabinfo":      readSomething("/proc/slabinfo"),
	"proc-vmallocinfo":   readSomething("/proc/vmallocinfo"),
	"proc-pagetypeinfo":  readSomething("/proc/pagetypeinfo"),
	"proc-kpagecount":    opened("/proc/kpagecount", unix.O_RDONLY),
	"proc-iomem":         iomem,
	"proc-pagemap":       pagemap,
	"sys-uevent-helper":  writable("/sys/kernel/uevent_helper"),
	"sys-writable":       writableBelow("/sys/kernel", "/sys/module", "/sys/class", "/sys/power", "/sys/firmware", "/sys/devices/system"),
	"cgroup-procs":       writableNamed("/sys/fs/cgroup", "cgroup.procs", "tasks"),
	"cgroup-release":     writableNamed("/sys/fs/cgroup", "release_agent"),
	"cgroup-notify":      writableNamed("/sys/fs/cgroup", "notify_on_release"),
	"cgroup-devices":     writableNamed("/sys/fs/cgroup", "devices.allow"),
	"cgroup-limits":      writableNamed("/sys/fs/cgroup", "memory.limit_in_bytes", "memory.max", "pids.max", "cpu.max", "cpu.cfs_quota_us"),
	"cgroup-controllers": writableNamed("/sys/fs/cgroup", "cgroup.subtree_control"),
	"cgroup-make":        cgroupMake,
}

// writable succeeds when a file can be opened for writing; it writes nothing.
func writable(path string) attempt { return opened(path, unix.O_WRONLY) }

func opened(path string, flags int) attempt {
	return func(*world.World) verdict {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return call("opening "+path, err)
	}
}

func writeTo(path, text string) attempt {
	return func(*world.World) verdict {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte(text))
			unix.Close(fd)
		}
		return call("writing "+path, err)
	}
}

// readSomething succeeds when a file gives any byte.
func readSomething(path string) attempt {
	return func(*world.World) verdict {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return denied("opening %s: %v", path, err)
		}
		defer unix.Close(fd)
		n, err := unix.Read(fd, make([]byte, 4096))
		if err != nil || n == 0 {
			return denied("reading %s: %d bytes, %v", path, n, err)
		}
		return succeeded("%s can be read", path)
	}
}

// writableBelow succeeds when any file below the directories opens for writing.
func writableBelow(dirs ...string) attempt {
	return walkWritable(dirs, func(string) bool { return true })
}

func writableNamed(dir string, names ...string) attempt {
	return walkWritable([]string{dir}, func(name string) bool {
		for _, n := range names {
			if n == name {
				return true
			}
		}
		return false
	})
}

func walkWritable(dirs []string, wanted func(name string) bool) attempt {
	return func(*world.World) verdict {
		found, tried := "", 0
		for _, dir := range dirs {
			_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() || !wanted(e.Name()) {
					return nil
				}
				tried++
				fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
				if err != nil {
					return nil
				}
				unix.Close(fd)
				found = path
				return fs.SkipAll
			})
		}
		if found != "" {
			return succeeded("%s can be opened for writing", found)
		}
		return denied("none of %d files below %s opens for writing", tried, strings.Join(dirs, ", "))
	}
}

func oomScoreLower(*world.World) verdict {
	const file = "/proc/self/oom_score_adj"
	b, err := os.ReadFile(file)
	if err != nil {
		return denied("%v", err)
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return denied("%v", err)
	}
	return writeTo(file, fmt.Sprint(max(now-10, -1000)))(nil)
}

// procOneFD opens what PID 1 has open: its line to the worker among them.
func procOneFD(*world.World) verdict {
	entries, err := os.ReadDir("/proc/1/fd")
	if err != nil {
		return denied("%v", err)
	}
	for _, e := range entries {
		path := "/proc/1/fd/" + e.Name()
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(fd)
			target, _ := os.Readlink(path)
			return succeeded("opened %s, which is %s", path, target)
		}
	}
	return denied("none of %d descriptors", len(entries))
}

// procOneProgram opens the program of PID 1 for writing; that it is busy is said
// only to who may write it.
func procOneProgram(*world.World) verdict {
	fd, err := unix.Open("/proc/1/exe", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return beyond("opening /proc/1/exe for writing", err, unix.ETXTBSY)
}

// procEnvirons looks into every environment but its own for the worker's.
func procEnvirons(*world.World) verdict {
	names, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return denied("%v", err)
	}
	read := 0
	for _, n := range names {
		if n == fmt.Sprintf("/proc/%d/environ", os.Getpid()) {
			continue
		}
		b, err := os.ReadFile(n)
		if err != nil {
			continue
		}
		read++
		if bytes.Contains(b, []byte(world.Canary+"=")) {
			return succeeded("%s holds the worker's variable", n)
		}
	}
	return denied("not in the %d environments that can be read", read)
}

func kallsyms(*world.World) verdict {
	b, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return denied("%v", err)
	}
	for line := range strings.Lines(string(b)) {
		if address, _, _ := strings.Cut(line, " "); strings.Trim(address, "0") != "" {
			return succeeded("/proc/kallsyms has a real address: %s", strings.TrimSpace(line))
		}
	}
	return denied("all addresses are zero")
}

func iomem(*world.World) verdict {
	b, err := os.ReadFile("/proc/iomem")
	if err != nil {
		return denied("%v", err)
	}
	for line := range strings.Lines(string(b)) {
		if address, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.Trim(address, "0-") != "" {
			return succeeded("/proc/iomem has a real address: %s", strings.TrimSpace(line))
		}
	}
	return denied("all addresses are zero")
}

// pagemap asks where in physical memory a page of its own lies.
func pagemap(*world.World) verdict {
	touched := make([]byte, 1<<16)
	touched[0] = 1
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return denied("%v", err)
	}
	defer f.Close()
	var entry [8]byte
	at := int64(pointer(&touched[0])) / int64(os.Getpagesize()) * 8
	if _, err := f.ReadAt(entry[:], at); err != nil {
		return denied("%v", err)
	}
	if bytes.Equal(entry[:6], make([]byte, 6)) {
		return denied("frame numbers are zero")
	}
	return succeeded("a page's frame number is shown")
}

func cgroupMake(*world.World) verdict {
	var last error = unix.ENOENT
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*") // the pattern is well-formed
	for _, dir := range append(dirs, "/sys/fs/cgroup") {
		made := filepath.Join(dir, "gavel-probe-made")
		if err := os.Mkdir(made, 0o755); err == nil {
			_ = os.Remove(made)
			return succeeded("made a group in %s", dir)
		} else if !errors.Is(err, fs.ErrNotExist) {
			last = err
		}
	}
	return denied("%v", last)
}

// canaryBelow looks for the worker's key as a path below dir.
func canaryBelow(w *world.World, dirs ...string) verdict {
	for _, dir := range dirs {
		for _, path := range w.Canaries {
			if b, err := os.ReadFile(dir + path); err == nil && w.IsSecret(b) {
				return succeeded("read %s%s", dir, path)
			}
		}
	}
	return denied("none of %d keys below %d roots", len(w.Canaries), len(dirs))
}
