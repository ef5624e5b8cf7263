package clock

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// answerKind is the form in which a call wants the time.
type answerKind uint8

const (
	answerNothing    answerKind = iota
	answerTimespec64            // two 64-bit numbers: seconds, nanoseconds
	answerTimespec32            // as two 32-bit ones
	answerTimeval64             // seconds, microseconds
	answerTimeval32
	answerTime64 // seconds, which are also the result
	answerTime32
)

// append appends the time in this form, and tells the call's result.
func (k answerKind) append(b []byte, seconds, nanos int64) ([]byte, int64) {
	le := binary.LittleEndian
	switch k {
	case answerTimespec64:
		return le.AppendUint64(le.AppendUint64(b, uint64(seconds)), uint64(nanos)), 0
	case answerTimespec32:
		return le.AppendUint32(le.AppendUint32(b, uint32(seconds)), uint32(nanos)), 0
	case answerTimeval64:
		return le.AppendUint64(le.AppendUint64(b, uint64(seconds)), uint64(nanos/1000)), 0
	case answerTimeval32:
		return le.AppendUint32(le.AppendUint32(b, uint32(seconds)), uint32(nanos/1000)), 0
	case answerTime64:
		return le.AppendUint64(b, uint64(seconds)), seconds
	case answerTime32:
		return le.AppendUint32(b, uint32(seconds)), int64(int32(seconds))
	}
	return b, 0
}

// notification is struct seccomp_notif, response struct seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	call       int32
	arch       uint32
	_          uint64 // where the instruction is
	args       [6]uint64
}

type response struct {
	id     uint64
	result int64
	errno  int32
	flags  uint32
}

// answerer answers one listener. It keeps what it passes to the kernel, so that
// a program without garbage collection can run it forever.
type answerer struct {
	listener int
	face     *face
	reach    reach
	asked    notification
	reply    response
	buffer   [16]byte
}

// answer tells the time to whoever asks, until nobody is left who could. It never
// waits for the tracer, nor the tracer for it.
func answer(listener int, f *face, r reach) {
	runtime.LockOSThread()
	a := answerer{listener: listener, face: f, reach: r}
	// Wake whom is answered on this CPU, as this thread waits next: Linux 6.6.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	for a.receive() {
		a.prepare()
		// An answer that comes too late, for a caller that is gone, is nobody's.
		_ = a.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a.reply))
	}
	unix.Close(listener) // whoever still waits gets ENOSYS instead of nothing
}

func (a *answerer) ioctl(request uintptr, argument unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(a.listener), request, uintptr(argument))
	return errno
}

func (a *answerer) receive() bool {
	for {
		a.asked = notification{} // the kernel insists
		switch a.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&a.asked)) {
		case 0:
			return true
		case unix.EINTR, unix.ENOENT: // the second: the caller died meanwhile
		default:
			return false
		}
	}
}

// prepare writes the answer to the caller's memory and fills in the reply.
func (a *answerer) prepare() {
	a.reply = response{id: a.asked.id}
	abi := abiOf(a.asked.arch)
	if abi == nil {
		a.proceed()
		return
	}
	kind := abi.asked(uint32(a.asked.call))
	seconds, nanos := a.face.now()
	text, result := kind.append(a.buffer[:0], seconds, nanos)
	var errno unix.Errno
	switch kind {
	case answerTimespec32, answerTimespec64: // clock, address
		errno = a.write(a.asked.args[1], text)
	case answerTimeval32, answerTimeval64: // address of the time, that of the zone, each or none
		if at := a.asked.args[0]; at != 0 {
			errno = a.write(at, text)
		}
		if at := a.asked.args[1]; at != 0 && errno == 0 {
			errno = a.write(at, append(a.buffer[:0], 0, 0, 0, 0, 0, 0, 0, 0)) // UTC, as the kernel knows no other
		}
	case answerTime32, answerTime64:
		if at := a.asked.args[0]; at != 0 {
			errno = a.write(at, text)
		}
	default:
		a.proceed()
		return
	}
	switch errno {
	case 0:
		a.reply.result = result
	case unix.EPERM: // an undumpable process: nobody of this user may write to it
		a.proceed()
	default:
		a.reply.errno = -int32(unix.EFAULT)
	}
}

// proceed lets the kernel answer.
func (a *answerer) proceed() { a.reply.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE }

// write puts b where the caller asked for it, while it is the one that asks.
func (a *answerer) write(address uint64, b []byte) unix.Errno {
	if errno := a.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&a.asked.id)); errno != 0 {
		return errno
	}
	return a.reach.of(int(a.asked.pid)).write(address, b)
}
