package box

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gavel/sandbox/seccomp"
)

// dropPrivileges takes everything from this thread, and so from the command it
// forks: capabilities of every set, the means to gain any, and the system calls that package seccomp does not allow, if filtered is set.
func dropPrivileges(filtered bool) error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return &setupError{"clearing ambient capabilities", err}
	}
	// Up to the first number that this kernel does not know.
	for c := uintptr(0); ; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break
		} else if err != nil {
			return &setupError{"dropping capabilities", err}
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return &setupError{"giving up capabilities", err}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &setupError{"giving up new privileges", err}
	}
	if !filtered {
		return nil
	}
	filter := seccomp.Program()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return &setupError{"filtering system calls", errno}
	}
	return nil
}
