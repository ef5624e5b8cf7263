package clock

import "golang.org/x/sys/unix"

// abis are those of an arm64 kernel. The numbers of 32-bit arm are in
// arch/arm/tools/syscall.tbl of Linux; there is no time call.
var abis = []abi{
	{arch: unix.AUDIT_ARCH_AARCH64, wide: true, clockGettime: unix.SYS_CLOCK_GETTIME, gettimeofday: unix.SYS_GETTIMEOFDAY,
		futex: unix.SYS_FUTEX, clockNanosleep: unix.SYS_CLOCK_NANOSLEEP,
		fstat: unix.SYS_FSTAT, newfstatat: unix.SYS_FSTATAT, statx: unix.SYS_STATX},
	{arch: unix.AUDIT_ARCH_ARM, clockGettime: 263, clockGettime64: 403, gettimeofday: 78},
}

// Where struct user_pt_regs, and that of arm, keep what is needed, in words.
const (
	wideRegisterBytes   = 34 * 8
	narrowRegisterBytes = 18 * 4
	wideStack           = 31
	narrowStack         = 13
	wideCall            = 8 // x8
	wideResult          = 0
)

// wideArgument is the register of a call's nth argument, from 0.
var wideArgument = [6]int{0, 1, 2, 3, 4, 5}
