package inputs

import (
	"os"
	"syscall"
	"unsafe"
)

// lutimes sets both times of path itself, a symlink too, to seconds since 1970:
// utimensat(2) with AT_SYMLINK_NOFOLLOW, which the standard library does not wrap.
func lutimes(path string, seconds int64) error {
	const (
		atFDCWD           = -100  // AT_FDCWD
		atSymlinkNofollow = 0x100 // AT_SYMLINK_NOFOLLOW
	)
	p, err := syscall.BytePtrFromString(path)
	if err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	ts := syscall.Timespec{Sec: seconds}
	times := [2]syscall.Timespec{ts, ts}
	cwd := atFDCWD
	_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, uintptr(cwd), uintptr(unsafe.Pointer(p)),
		uintptr(unsafe.Pointer(&times)), atSymlinkNofollow, 0, 0)
	if errno != 0 {
		return &os.PathError{Op: "utimensat", Path: path, Err: errno}
	}
	return nil
}
