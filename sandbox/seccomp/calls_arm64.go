package seccomp

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_AARCH64

// foreignCalls is where another architecture's calls begin; here none share the name.
const foreignCalls = 0

// nativeAllowedCalls are none: this architecture began with the newer forms.
var nativeAllowedCalls []uint32

// nativeDeniedCalls answer EPERM too: a number kept for architectures of their own calls.
var nativeDeniedCalls = []uint32{
	unix.SYS_ARCH_SPECIFIC_SYSCALL,
}
