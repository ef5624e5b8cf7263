package box

import (
	"errors"
	"math"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// HostBase is the user, and group, of the machine that root of a sandbox is when
// the worker may choose; the others follow, so that the machine's root is nobody
// inside. It lies above the ranges that systemd gives to containers and below 2^31,
// where file systems and programs begin to disagree.
const HostBase = 0x7a7a0000

// Users is how many there are inside: all that images name, and the build's own.
const Users = 1 << 16

// boxCapabilities are what the first process needs, in its own user namespace,
// until it drops them all before the command: mounts and host name, loopback,
// dropping, writing below directories it does not own, and giving what it makes to root.
var boxCapabilities = []uintptr{
	unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_CHROOT, unix.CAP_DAC_OVERRIDE,
	unix.CAP_CHOWN, unix.CAP_FOWNER,
}

// serve clones a box for each request until the worker is gone.
func serve(socket int) {
	// Twice: the worker asked for it before exec, and a socket without peer below.
	if unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) != nil {
		unix.Exit(1)
	}
	if closeOnExec(SpawnerRequestFD) != nil {
		unix.Exit(1)
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Exit(1)
	}
	var body [64]byte
	rights := make([]byte, unix.CmsgSpace((requestFDs+maxExtraFDs)*4))
	for {
		n, rn, _, _, err := unix.Recvmsg(socket, body[:], rights, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 { // the worker closed its end, or is dead
			return
		}
		fds := receivedFDs(rights[:rn])
		q, err := DecodeRequest(body[:n])
		if err == nil && len(fds) >= requestFDs {
			spawn(q, null, fds)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// closeOnExec keeps descriptors from first on from every program started later.
// Whoever started the worker may have left some open in it, and a directory of
// the machine among them would be a way out of the sandbox.
func closeOnExec(first uint) error {
	return unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
}

// spawn clones one box and reports to its control socket.
func spawn(q Request, null int, fds []int) {
	control, log := fds[0], fds[1]
	files := []uintptr{uintptr(null), uintptr(log), uintptr(log), uintptr(control)}
	for _, fd := range fds[requestFDs:] {
		files = append(files, uintptr(fd))
	}
	pidfd := -1
	pid, err := syscall.ForkExec("/proc/self/exe", []string{boxName, strconv.Itoa(len(fds) - requestFDs)}, &syscall.ProcAttr{
		Env:   []string{"GOGC=off"}, // a box allocates a few kilobytes in its life
		Files: files,
		Sys:   boxAttributes(q, &pidfd),
	})
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		// A failing send means that the runner is gone: nobody waits for this box.
		_ = Report{Kind: SpawnFailed, Errno: errno}.send(control, -1)
		return
	}
	// The thread of Wait4 is what a command costs here; it is the runner that bounds them.
	kept, err := unix.FcntlInt(uintptr(control), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		kept = -1 // it is reaped all the same, in silence
	}
	go reapBox(pid, kept)
	if (Report{Kind: Spawned}).send(control, pidfd) != nil {
		// ESRCH: it ended meanwhile. Without a runner it must not run.
		_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	}
	unix.Close(pidfd)
}

// reapBox waits for a box, which is this process's child alone, and tells the
// runner of one that a signal killed: the box cannot say that itself. control is
// its own from here on.
func reapBox(pid, control int) {
	for {
		var st syscall.WaitStatus
		_, err := syscall.Wait4(pid, &st, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err == nil && st.Signaled() {
			_ = Report{Kind: Killed, Code: int32(st.Signal())}.send(control, -1) // without a runner there is nobody to tell
		}
		unix.Close(control)
		return
	}
}

func boxAttributes(q Request, pidfd *int) *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:   syscall.SIGKILL,
		AmbientCaps: boxCapabilities,
		PidFD:       pidfd,
	}
	if q.Network {
		sys.Cloneflags &^= syscall.CLONE_NEWNET
	}
	if q.Ranged {
		all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: HostBase, Size: Users}}
		sys.UidMappings, sys.GidMappings = all, all
		sys.Credential = &syscall.Credential{Uid: uint32(q.UID), Gid: uint32(q.UID), Groups: []uint32{uint32(q.UID)}} // as Docker has it
		sys.GidMappingsEnableSetgroups = true
		return sys
	}
	sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: q.UID, HostID: os.Getuid(), Size: 1}}
	sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: q.UID, HostID: os.Getgid(), Size: 1}}
	return sys
}

func receivedFDs(rights []byte) []int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	var fds []int
	for _, m := range messages {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}
