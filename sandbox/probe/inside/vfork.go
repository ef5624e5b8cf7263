package main

import "golang.org/x/sys/unix"

// vforkAndSleep makes a child as vfork does, except that it has memory of its
// own, and the child sleeps in the kernel and then ends.
func vforkAndSleep() {
	wait := unix.Timespec{Sec: 40}
	p := pointer(&wait)
	pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 {
		unix.RawSyscall(unix.SYS_NANOSLEEP, p, 0, 0)
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
}
