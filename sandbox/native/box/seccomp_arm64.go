package box

import "golang.org/x/sys/unix"

const (
	nativeArch     = unix.AUDIT_ARCH_AARCH64
	foreignCallBit = 0
)

var nativeDeniedCalls []uint32
