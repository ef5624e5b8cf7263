package probe

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// need is what an attempt needs of the machine, as a sentence about what it lacks, or "".
type need func() string

// path is a file or device that only some kernels have.
func path(p string) need {
	return func() string {
		if _, err := os.Lstat(p); err != nil {
			return "this machine has no " + p
		}
		return ""
	}
}

// family is a kind of socket that only some kernels have.
func family(f, kind, protocol int) need {
	return func() string {
		fd, err := unix.Socket(f, kind|unix.SOCK_CLOEXEC, protocol)
		if err == nil {
			unix.Close(fd)
			return ""
		}
		switch err {
		case unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT:
			return "this kernel has no sockets of that family"
		}
		return ""
	}
}

// fileSystem is a kind that only some kernels have.
func fileSystem(kind string) need {
	return func() string {
		b, err := os.ReadFile("/proc/filesystems")
		if err == nil && !strings.Contains(string(b), "\t"+kind+"\n") {
			return "this kernel has no " + kind
		}
		return ""
	}
}

// known is a system call that only some kernels have. Without arguments none of
// those asked about here does anything.
func known(number uintptr, arguments ...uintptr) need {
	return func() string {
		var a [3]uintptr
		copy(a[:], arguments)
		if _, _, errno := unix.Syscall(number, a[0], a[1], a[2]); errno == unix.ENOSYS {
			return "this kernel does not know the call"
		}
		return ""
	}
}

// hugePages are memory of a kind that few machines set aside.
func hugePages() string {
	b, err := os.ReadFile("/proc/sys/vm/nr_hugepages")
	if err != nil || strings.TrimSpace(string(b)) == "0" {
		return "this machine sets no huge pages aside"
	}
	return ""
}

// asRoot is what only root can prepare.
func asRoot() string {
	if os.Getuid() != 0 {
		return fmt.Sprintf("user %d cannot prepare it", os.Getuid())
	}
	return ""
}
