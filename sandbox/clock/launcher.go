package clock

import (
	"encoding/binary"
	"math"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launcherName is the launcher's argv[0].
const launcherName = "gavel-launch"

// The launcher's descriptors: its end of the socket to PID 1, and from firstFile on the
// command's three.
const (
	launcherFD = 3
	firstFile  = 4
)

// stage is how far the launcher came, the first byte of what it says; none is of a text.
type stage byte

const (
	stageOrder     stage = 1 // the order did not arrive whole
	stagePrivilege stage = 2 // new privileges could not be given up
	stageNotify    stage = 3 // the notifying filter was not installed
	stageListening stage = 4 // it was; the listener comes along, and PID 1 answers with one byte
	stageFiles     stage = 5 // the command's descriptors could not be put in place
	stageFilter    stage = 6 // the caller's filter was not installed
	stageExec      stage = 7 // the command could not be executed
)

// messageBytes is a stage and an errno.
const messageBytes = 5

// IsRole says whether this process was started as launcher.
func IsRole() bool { return len(os.Args) > 0 && os.Args[0] == launcherName }

// Main plays the launcher and becomes the command; it must only be called when
// IsRole, before the program does anything else, and does not return.
func Main() {
	// Filters are attributes of threads, and so is being traced; the one that
	// executes takes its own along.
	runtime.LockOSThread()
	at, errno := launch()
	// Without a reader PID 1 is gone, and this process with it.
	_ = say(at, errno, -1)
	unix.Exit(1)
}

// launch returns only where it failed.
func launch() (stage, unix.Errno) {
	// Whatever else PID 1 left open is not the command's either.
	if unix.CloseRange(launcherFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		for fd := launcherFD; fd < firstFile+3; fd++ {
			unix.CloseOnExec(fd)
		}
	}
	o, err := receiveOrder()
	if err != nil {
		return stageOrder, errnoOf(err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return stagePrivilege, errnoOf(err)
	}
	listener, errno := listen()
	if errno != 0 {
		return stageNotify, errno
	}
	// From here to the command nothing here may ask the time: PID 1 may not answer yet.
	if err := say(stageListening, 0, listener); err != nil {
		return stageNotify, errnoOf(err)
	}
	unix.Close(listener)
	var goAhead [1]byte
	if err := readWhole(goAhead[:]); err != nil {
		return stageOrder, errnoOf(err)
	}
	for fd := range 3 {
		if err := unix.Dup3(firstFile+fd, fd, 0); err != nil {
			return stageFiles, errnoOf(err)
		}
	}
	if len(o.filter) > 0 {
		if _, errno := installFilter(o.filter, 0); errno != 0 {
			return stageFilter, errno
		}
	}
	// By package syscall, which restores the limit of open files that Go raises.
	return stageExec, errnoOf(syscall.Exec(o.program, o.argv, o.env))
}

// listen installs the notifying filter on this thread.
func listen() (int, unix.Errno) {
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	// Once PID 1 works at an answer, only a fatal signal interrupts the call.
	listener, errno := installFilter(notifyFilter(), flags|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if errno == unix.EINVAL { // before Linux 5.19; an interrupted call asks again
		listener, errno = installFilter(notifyFilter(), flags)
	}
	return listener, errno
}

func installFilter(f []unix.SockFilter, flags uintptr) (int, unix.Errno) {
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	n, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	return int(n), errno
}

func receiveOrder() (order, error) {
	var head [4]byte
	if err := readWhole(head[:]); err != nil {
		return order{}, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxOrderBytes {
		return order{}, unix.E2BIG
	}
	body := make([]byte, n)
	if err := readWhole(body); err != nil {
		return order{}, err
	}
	return decodeOrder(body)
}

func readWhole(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(launcherFD, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.ECONNRESET
		}
		b = b[n:]
	}
	return nil
}

// say tells PID 1 how far the launcher came, with fd when it is not -1.
func say(at stage, errno unix.Errno, fd int) error {
	message := binary.LittleEndian.AppendUint32([]byte{byte(at)}, uint32(errno))
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	for {
		if err := unix.Sendmsg(launcherFD, message, rights, nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			return err
		}
	}
}

// errnoOf is err's number; EINVAL for what has none.
func errnoOf(err error) unix.Errno {
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return unix.EINVAL
}
