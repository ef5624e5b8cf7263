package seccomp

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_X86_64

// foreignCalls is the first number of the x32 calls, which share the
// architecture's name.
const foreignCalls = 0x40000000

// nativeAllowedCalls are the older forms of the same that this architecture kept.
var nativeAllowedCalls = []uint32{
	// Files.
	unix.SYS_ACCESS, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_CREAT, unix.SYS_DUP2, unix.SYS_FUTIMESAT, unix.SYS_GETDENTS,
	unix.SYS_INOTIFY_INIT, unix.SYS_LCHOWN, unix.SYS_LINK, unix.SYS_LSTAT, unix.SYS_MKDIR, unix.SYS_MKNOD, unix.SYS_OPEN, unix.SYS_PIPE,
	unix.SYS_READLINK, unix.SYS_RENAME, unix.SYS_RMDIR, unix.SYS_STAT, unix.SYS_SYMLINK, unix.SYS_UNLINK, unix.SYS_UTIME,
	unix.SYS_UTIMES,
	// Waiting, events and time.
	unix.SYS_ALARM, unix.SYS_EPOLL_CREATE, unix.SYS_EPOLL_WAIT, unix.SYS_EVENTFD, unix.SYS_PAUSE, unix.SYS_POLL, unix.SYS_SELECT,
	unix.SYS_SIGNALFD, unix.SYS_TIME,
	// Processes, signals and identities.
	unix.SYS_ARCH_PRCTL, unix.SYS_FORK, unix.SYS_GETPGRP, unix.SYS_GET_THREAD_AREA, unix.SYS_SET_THREAD_AREA, unix.SYS_UPROBE,
	unix.SYS_URETPROBE, unix.SYS_VFORK,
}

// nativeDeniedCalls answer EPERM too: hardware, and what current kernels no longer have.
var nativeDeniedCalls = []uint32{
	unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS__SYSCTL, unix.SYS_CREATE_MODULE,
	unix.SYS_GET_KERNEL_SYMS, unix.SYS_QUERY_MODULE, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS_AFS_SYSCALL, unix.SYS_TUXCALL,
	unix.SYS_SECURITY, unix.SYS_VSERVER, unix.SYS_GETPMSG, unix.SYS_PUTPMSG, unix.SYS_EPOLL_CTL_OLD, unix.SYS_EPOLL_WAIT_OLD,
}
