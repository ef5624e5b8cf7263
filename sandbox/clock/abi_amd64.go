package clock

import "golang.org/x/sys/unix"

// abis are those of an amd64 kernel. The numbers of i386 are in
// arch/x86/entry/syscalls/syscall_32.tbl of Linux.
var abis = []abi{
	{arch: unix.AUDIT_ARCH_X86_64, wide: true, clockGettime: unix.SYS_CLOCK_GETTIME, gettimeofday: unix.SYS_GETTIMEOFDAY, time: unix.SYS_TIME,
		futex: unix.SYS_FUTEX, clockNanosleep: unix.SYS_CLOCK_NANOSLEEP,
		stat: unix.SYS_STAT, fstat: unix.SYS_FSTAT, lstat: unix.SYS_LSTAT, newfstatat: unix.SYS_NEWFSTATAT, statx: unix.SYS_STATX},
	{arch: unix.AUDIT_ARCH_I386, clockGettime: 265, clockGettime64: 403, gettimeofday: 78, time: 13},
}

// Where struct user_regs_struct, and that of i386, keep what is needed, in words.
const (
	wideRegisterBytes   = 27 * 8
	narrowRegisterBytes = 17 * 4
	wideStack           = 19
	narrowStack         = 15
	wideCall            = 15 // orig_rax
	wideResult          = 10 // rax
)

// wideArgument is the register of a call's nth argument, from 0.
var wideArgument = [6]int{14, 13, 12, 7, 9, 8} // rdi rsi rdx r10 r8 r9
