package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gavel/sandbox/probe/world"
)

var kernelAttempts = table{
	"keyctl": func(*world.World) verdict {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
		return call("keyctl", err)
	},
	"add-key": func(*world.World) verdict {
		_, err := unix.AddKey("user", "gavel-probe", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return call("add_key", err)
	},
	"request-key": func(*world.World) verdict {
		_, err := unix.RequestKey("user", "gavel-probe-none", "", 0)
		return beyond("request_key", err, unix.ENOKEY, unix.ENOENT)
	},
	"bpf-map": func(*world.World) verdict {
		attr := [32]uint32{0: 2, 1: 4, 2: 4, 3: 1} // an array of one
		_, _, errno := unix.Syscall(unix.SYS_BPF, 0, pointer(&attr[0]), 128)
		return errnoCall("bpf", errno)
	},
	"bpf-program": func(*world.World) verdict {
		// r0 = 0; exit
		code := []uint64{0xb7, 0x95}
		license := []byte("GPL\x00")
		attr := [16]uint64{0: 1 | 2<<32, 1: uint64(pointer(&code[0])), 2: uint64(pointer(&license[0]))}
		_, _, errno := unix.Syscall(unix.SYS_BPF, 5, pointer(&attr[0]), 128)
		return errnoCall("bpf", errno)
	},
	"perf-event": func(*world.World) verdict {
		_, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Size: 112, Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		return call("perf_event_open", err)
	},
	"userfaultfd": func(*world.World) verdict {
		const userModeOnly = 1
		_, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|userModeOnly, 0, 0)
		return errnoCall("userfaultfd", errno)
	},
	"io-uring": func(*world.World) verdict {
		var params [120]byte
		_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, pointer(&params[0]), 0)
		return errnoCall("io_uring_setup", errno)
	},
	"init-module": func(*world.World) verdict {
		return beyond("init_module", unix.InitModule(make([]byte, 64), ""), unix.ENOEXEC)
	},
	"finit-module": func(*world.World) verdict {
		if err := os.WriteFile("module", make([]byte, 64), 0o644); err != nil {
			return denied("%v", err)
		}
		fd, err := unix.Open("module", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return denied("%v", err)
		}
		return beyond("finit_module", unix.FinitModule(fd, "", 0), unix.ENOEXEC, unix.EINVAL)
	},
	"delete-module": func(*world.World) verdict {
		return beyond("delete_module", unix.DeleteModule("gavel_probe_none", unix.O_NONBLOCK), unix.ENOENT)
	},
	"kexec-load": func(*world.World) verdict {
		const unknown = 1 << 15
		_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, 0, 0, 0, unknown, 0, 0)
		return beyond("kexec_load", errno, unix.EINVAL)
	},
	"kexec-file-load": func(*world.World) verdict {
		const unknown = 1 << 15
		_, _, errno := unix.Syscall6(unix.SYS_KEXEC_FILE_LOAD, ^uintptr(0), ^uintptr(0), 0, 0, unknown, 0)
		return beyond("kexec_file_load", errno, unix.EINVAL, unix.EBADF)
	},
	"reboot": func(*world.World) verdict {
		// Without the magic numbers it does nothing but say who may.
		_, _, errno := unix.Syscall6(unix.SYS_REBOOT, 0, 0, 0, 0, 0, 0)
		return beyond("reboot", errno, unix.EINVAL)
	},
	"swapon":  named("swapon", unix.SYS_SWAPON),
	"swapoff": named("swapoff", unix.SYS_SWAPOFF),
	"acct":    named("acct", unix.SYS_ACCT),
	"syslog": func(*world.World) verdict {
		n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 4096))
		if err == nil && n == 0 {
			return denied("it is empty")
		}
		return call("reading the kernel's log", err)
	},
	"quotactl": func(*world.World) verdict {
		const sync = 0x800001 << 8
		_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL, sync, 0, 0, 0, 0, 0)
		return errnoCall("quotactl", errno)
	},
	"fanotify": func(*world.World) verdict {
		_, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT, 0)
		return call("fanotify_init", err)
	},
	"fanotify-unprivileged": func(*world.World) verdict {
		_, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_FID, 0)
		return call("fanotify_init", err)
	},
	"modify-ldt": func(*world.World) verdict {
		entry := [4]uint32{0, 0, 0xfff, 0x1 | 0x20} // 32-bit, not present
		_, _, errno := unix.Syscall(unix.SYS_MODIFY_LDT, 1, pointer(&entry[0]), 16)
		return errnoCall("modify_ldt", errno)
	},
	"iopl": func(*world.World) verdict {
		_, _, errno := unix.RawSyscall(unix.SYS_IOPL, 3, 0, 0)
		return errnoCall("iopl", errno)
	},
	"ioperm": func(*world.World) verdict {
		_, _, errno := unix.RawSyscall(unix.SYS_IOPERM, 0x80, 1, 1)
		return errnoCall("ioperm", errno)
	},
	"personality": func(*world.World) verdict {
		const readImpliesExec = 0x0400000
		_, _, errno := unix.Syscall(unix.SYS_PERSONALITY, readImpliesExec, 0, 0)
		return errnoCall("personality(READ_IMPLIES_EXEC)", errno)
	},
	"personality-old": func(*world.World) verdict {
		const mmapPageZero, svr4 = 0x0100000, 1
		_, _, errno := unix.Syscall(unix.SYS_PERSONALITY, mmapPageZero|svr4, 0, 0)
		return errnoCall("personality(SVR4, MMAP_PAGE_ZERO)", errno)
	},
	"map-page-zero": func(*world.World) verdict {
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, ^uintptr(0), 0)
		return errnoCall("mapping page zero", errno)
	},
	"uselib": func(*world.World) verdict {
		name, _ := unix.BytePtrFromString("none") // no NUL
		_, _, errno := unix.Syscall(unix.SYS_USELIB, pointer(name), 0, 0)
		return beyond("uselib", errno, unix.ENOENT)
	},
	"nfsservctl": func(*world.World) verdict {
		_, _, errno := unix.Syscall(unix.SYS_NFSSERVCTL, 0, 0, 0)
		return errnoCall("nfsservctl", errno)
	},
	"vhangup": func(*world.World) verdict {
		_, _, errno := unix.Syscall(unix.SYS_VHANGUP, 0, 0, 0)
		return errnoCall("vhangup", errno)
	},
	"tiocsti-terminal":  tiocstiTerminal,
	"tiocsti-standard":  tiocstiStandard,
	"tioclinux-console": tioclinux,
	"i386-call":         foreign("i386"),
	"x32-call":          foreign("x32"),
	"migrate-pages": func(*world.World) verdict {
		nodes := uint64(1)
		_, _, errno := unix.Syscall6(unix.SYS_MIGRATE_PAGES, 1, 64, pointer(&nodes), pointer(&nodes), 0, 0)
		return errnoCall("migrate_pages of PID 1", errno)
	},
	"lookup-dcookie": func(*world.World) verdict {
		var b [64]byte
		_, _, errno := unix.Syscall(unix.SYS_LOOKUP_DCOOKIE, 1, pointer(&b[0]), 64)
		return beyond("lookup_dcookie", errno, unix.EINVAL)
	},
	"ustat": func(w *world.World) verdict {
		var b [64]byte
		_, _, errno := unix.Syscall(unix.SYS_USTAT, uintptr(unix.Mkdev(w.DiskMajor, w.DiskMinor)), pointer(&b[0]), 0)
		return errnoCall("ustat of the machine's disk", errno)
	},
}

// named calls with the name of a file that is not there: who may not call is told so first.
func named(name string, number uintptr) attempt {
	return func(*world.World) verdict {
		path, err := unix.BytePtrFromString("./none")
		if err != nil {
			return denied("%v", err)
		}
		_, _, errno := unix.Syscall(number, pointer(path), 0, 0)
		return beyond(name, errno, unix.ENOENT)
	}
}

// terminal makes a pair of which the second end is this process's terminal.
func terminal() (int, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, err
	}
	return unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

func typeInto(fd int) unix.Errno {
	c := byte('x')
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, pointer(&c))
	return errno
}

func tiocstiTerminal(*world.World) verdict {
	fd, err := terminal()
	if err != nil {
		return denied("making a terminal: %v", err)
	}
	return errnoCall("TIOCSTI", typeInto(fd))
}

func tiocstiStandard(*world.World) verdict {
	last := unix.ENOTTY
	fds := []int{0, 1, 2}
	if fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		if last = typeInto(fd); last == 0 {
			return succeeded("typed into the terminal at descriptor %d", fd)
		}
	}
	return denied("TIOCSTI: %v", last)
}

func tioclinux(*world.World) verdict {
	last := error(unix.ENOENT)
	for _, path := range []string{"/dev/tty0", "/dev/tty1", "/dev/console", "/dev/tty"} {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			last = err
			continue
		}
		sub := byte(6) // the state of the shift keys
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCLINUX, pointer(&sub)); errno == 0 {
			return succeeded("TIOCLINUX on %s", path)
		} else {
			last = errno
		}
	}
	return denied("%v", last)
}

// foreign has a child make a denied call as another architecture makes it.
func foreign(architecture string) attempt {
	return func(*world.World) verdict {
		ctx, cancel := context.WithTimeout(context.Background(), foreignPatience)
		defer cancel()
		err := exec.CommandContext(ctx, "/proc/self/exe", "-foreign", architecture).Run()
		if ctx.Err() != nil {
			// A filter may kill the thread alone, and Go waits for it.
			return denied("the call is never answered")
		}
		if err == nil {
			return succeeded("the %s call is answered", architecture)
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return denied("%v", err)
		}
		st := exit.Sys().(syscall.WaitStatus)
		switch {
		case st.Signaled() && st.Signal() == unix.SIGSYS:
			return denied("the filter kills it")
		case st.Signaled() || st.ExitStatus() == 2: // Go ends with 2 on a fault
			return absent("the kernel has no %s calls", architecture)
		}
		return denied("%v", unix.Errno(st.ExitStatus()-foreignBase))
	}
}

// foreignPatience is far more than a call takes.
const foreignPatience = 3 * time.Second

// foreignBase keeps an errno apart from Go's own exit codes.
const foreignBase = 100

func foreignCall() {
	ok, errno := foreignKeyctl(os.Args[2])
	if !ok {
		os.Exit(min(foreignBase+int(errno), 255))
	}
}

// crash ends this process with a signal that dumps a core, if it may.
func crash() {
	signal, err := strconv.Atoi(os.Args[2])
	if err != nil {
		os.Exit(2)
	}
	l := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &l)         // refused to who may not
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // as above
	_ = unix.Kill(os.Getpid(), unix.Signal(signal))  // SIGKILL's like cannot fail on oneself
	time.Sleep(time.Minute)
}
