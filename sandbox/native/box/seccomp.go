package box

import "golang.org/x/sys/unix"

// deniedCalls answer EPERM on every architecture: making namespaces and mounts,
// reaching into other processes, kernel keys, and large interfaces that builds do
// not need and exploits like.
var deniedCalls = []uint32{
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_ACCT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_NFSSERVCTL,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES,
}

// newNamespaces are the flags of clone that would make one.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Offsets in struct seccomp_data, of little-endian machines.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArg0 = 16
	offsetArg1 = 24
)

// What the filter answers.
const (
	answerAllow = uint32(unix.SECCOMP_RET_ALLOW)
	answerKill  = uint32(unix.SECCOMP_RET_KILL_PROCESS)
	// Errors in the low half. ENOSYS makes libraries fall back from clone3, whose
	// flags a filter cannot read, to clone.
	answerEPERM  = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	answerENOSYS = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
)

// systemCallFilter is the program of every command. Calls of another
// architecture kill: their numbers mean something else.
func systemCallFilter() []unix.SockFilter {
	f := program{}
	f.load(offsetArch)
	f.unlessEqual(nativeArch, answerKill)
	f.load(offsetCall)
	if foreignCallBit != 0 {
		f.ifAnyBit(foreignCallBit, answerKill)
	}
	f.ifEqual(unix.SYS_CLONE3, answerENOSYS)
	for _, calls := range [][]uint32{deniedCalls, nativeDeniedCalls} {
		for _, n := range calls {
			f.ifEqual(n, answerEPERM)
		}
	}
	// Three instructions of a block that ends in allow.
	f.unlessEqualSkip(unix.SYS_CLONE, 4)
	f.load(offsetArg0)
	f.ifAnyBit(newNamespaces, answerEPERM)
	f.answer(answerAllow)
	// Typing into the worker's terminal, or pasting.
	f.unlessEqualSkip(unix.SYS_IOCTL, 6)
	f.load(offsetArg1)
	f.ifEqual(unix.TIOCSTI, answerEPERM)
	f.ifEqual(unix.TIOCLINUX, answerEPERM)
	f.answer(answerAllow)
	f.answer(answerAllow)
	return f
}

// program is a filter under construction.
type program []unix.SockFilter

func (p *program) load(offset uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (p *program) answer(a uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: a})
}

func (p *program) jump(test uint16, k uint32, ifTrue, ifFalse uint8) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, K: k, Jt: ifTrue, Jf: ifFalse})
}

func (p *program) ifEqual(k, a uint32)     { p.jump(unix.BPF_JEQ, k, 0, 1); p.answer(a) }
func (p *program) unlessEqual(k, a uint32) { p.jump(unix.BPF_JEQ, k, 1, 0); p.answer(a) }
func (p *program) ifAnyBit(k, a uint32)    { p.jump(unix.BPF_JSET, k, 0, 1); p.answer(a) }

// unlessEqualSkip jumps over the next n instructions unless the value is k.
func (p *program) unlessEqualSkip(k uint32, n uint8) { p.jump(unix.BPF_JEQ, k, 0, n) }
