package clock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// remote is the memory of one process, by the id of any of its threads. The kernel
// checks each access as if the process itself made it.
type remote int

// read fills b from address and returns how much of it could be.
func (r remote) read(address uint64, b []byte) (int, unix.Errno) {
	return r.move(unix.SYS_PROCESS_VM_READV, address, b)
}

// write puts all of b at address, or none of what matters.
func (r remote) write(address uint64, b []byte) unix.Errno {
	n, errno := r.move(unix.SYS_PROCESS_VM_WRITEV, address, b)
	if errno == 0 && n != len(b) { // the end lies where nothing is
		errno = unix.EFAULT
	}
	return errno
}

func (r remote) move(call uintptr, address uint64, b []byte) (int, unix.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	here := unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	there := unix.RemoteIovec{Base: uintptr(address), Len: len(b)}
	n, _, errno := unix.Syscall6(call, uintptr(r), uintptr(unsafe.Pointer(&here)), 1, uintptr(unsafe.Pointer(&there)), 1, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
