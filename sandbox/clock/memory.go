package clock

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reach is how this process gets at the memory of others: by process_vm_readv and
// process_vm_writev, which check each access as if the other made it itself, or, where
// an outer filter refuses those (Docker's own did until version 23), by files in
// /proc, which also write where the other may only read: still its own memory.
type reach struct{ files bool }

// of is the memory of one process, by the id of any of its threads.
func (r reach) of(pid int) remote { return remote{pid, r.files} }

// probe finds the way to the memory of pid, which nothing hides. What is refused
// here would be refused at every answer.
func probe(pid int) (reach, unix.Errno) {
	var last unix.Errno
	for _, r := range []reach{{files: false}, {files: true}} {
		// Numbers in another namespace's /proc are of other processes.
		if self, err := os.Readlink("/proc/self"); r.files && (err != nil || self != strconv.Itoa(os.Getpid())) {
			break
		}
		var nothing [1]byte // as is at address 0
		_, last = r.of(pid).read(0, nothing[:])
		if isNothingThere(last) {
			last = r.of(pid).write(0, nothing[:])
		}
		if isNothingThere(last) {
			return r, 0
		}
	}
	return reach{}, last
}

// isNothingThere tells the error about an address from one about access.
func isNothingThere(errno unix.Errno) bool { return errno == unix.EFAULT || errno == unix.EIO }

// remote is the memory of one process.
type remote struct {
	pid   int
	files bool
}

// read fills b from address and returns how much of it could be.
func (r remote) read(address uint64, b []byte) (int, unix.Errno) {
	if r.files {
		return r.file(unix.SYS_PREAD64, unix.O_RDONLY, address, b)
	}
	return r.move(unix.SYS_PROCESS_VM_READV, address, b)
}

// write puts all of b at address, or none of what matters. EPERM means that nobody
// of this user may write to the process, all else that it may not itself write there.
func (r remote) write(address uint64, b []byte) unix.Errno {
	var n int
	var errno unix.Errno
	if r.files {
		n, errno = r.file(unix.SYS_PWRITE64, unix.O_WRONLY, address, b)
	} else {
		n, errno = r.move(unix.SYS_PROCESS_VM_WRITEV, address, b)
	}
	if errno == 0 && n != len(b) { // the end lies where nothing is
		errno = unix.EFAULT
	}
	return errno
}

func (r remote) move(call uintptr, address uint64, b []byte) (int, unix.Errno) {
	here := unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	there := unix.RemoteIovec{Base: uintptr(address), Len: len(b)}
	n, _, errno := unix.Syscall6(call, uintptr(r.pid), uintptr(unsafe.Pointer(&here)), 1, uintptr(unsafe.Pointer(&there)), 1, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// file makes one transfer by the process's file of memory. It keeps nothing on the heap, as
// it runs at each answer in programs that collect no garbage.
func (r remote) file(call uintptr, mode int, address uint64, b []byte) (int, unix.Errno) {
	var path [32]byte // zeroed, so it ends in one
	copy(path[len(strconv.AppendInt(append(path[:0], "/proc/"...), int64(r.pid), 10)):], "/mem")
	at := unix.AT_FDCWD
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&path[0])), uintptr(mode|unix.O_CLOEXEC), 0, 0, 0)
	if errno == unix.EACCES {
		errno = unix.EPERM
	}
	if errno != 0 {
		return 0, errno
	}
	n, _, errno := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(address), 0, 0)
	unix.Close(int(fd))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
