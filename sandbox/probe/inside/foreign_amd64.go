package main

import "golang.org/x/sys/unix"

// int80 makes a system call of the 32-bit architecture.
func int80(number, a, b, c uintptr) uintptr

// foreignKeyctl asks for the session keyring by the call of another architecture
// that this processor understands, and says whether it was answered.
func foreignKeyctl(architecture string) (ok bool, errno unix.Errno) {
	const session = ^uintptr(2) // KEY_SPEC_SESSION_KEYRING, -3
	if architecture == "i386" {
		const keyctl = 288
		r := int32(int80(keyctl, 0, session, 1))
		return r >= 0, unix.Errno(max(0, -r))
	}
	const x32 = 0x40000000
	_, _, errno = unix.RawSyscall(x32|unix.SYS_KEYCTL, 0, session, 1)
	return errno == 0, errno
}
