package clock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tree is a running command and its descendants, all traced by one thread.
type Tree struct {
	command   int
	face      *face
	reach     reach
	started   bool         // the command's first instruction was reached
	waits     map[int]wait // of threads whose wait was given another time
	stack     words
	target    remote
	registers registers
	times     [mostFileTimes * timeBytes]byte
}

// traceOptions have every descendant traced from its first instruction and ended
// with its tracer.
const traceOptions = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC |
	unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL

// Wait collects every process that ends, as a first process must, until the
// command does, and returns how that ended. What is left of the tree runs on
// until the caller ends, which ends it.
func (t *Tree) Wait() (syscall.WaitStatus, error) {
	for {
		pid, status, err := t.next()
		if err != nil {
			return 0, err
		}
		if pid == t.command {
			return status, nil
		}
	}
}

// next carries out what one stop of a tracee asks for, or tells which process or thread
// ended; pid is 0 for the former.
func (t *Tree) next() (pid int, status syscall.WaitStatus, err error) {
	for {
		pid, err = syscall.Wait4(-1, &status, unix.WALL, nil)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return 0, 0, err
	}
	if status.Stopped() {
		t.resume(pid, int(status)>>8&0xff, int(status)>>16)
		return 0, 0, nil
	}
	delete(t.waits, pid)
	return pid, status, nil
}

// resume lets a stopped tracee go on as if there were no tracer. A tracee that was
// killed meanwhile answers ESRCH to everything and is collected next, so no error
// here has a consequence.
func (t *Tree) resume(pid, signal, event int) {
	switch {
	case event == unix.PTRACE_EVENT_EXEC:
		t.executed(pid)
		trace(unix.PTRACE_CONT, pid, 0)
	case event == unix.PTRACE_EVENT_SECCOMP:
		if t.attend(pid) {
			trace(unix.PTRACE_SYSCALL, pid, 0) // up to its end
		} else {
			trace(unix.PTRACE_CONT, pid, 0)
		}
	case event == unix.PTRACE_EVENT_STOP && isStop(unix.Signal(signal)):
		// The whole process is stopped, by a signal that was delivered before: it stays
		// so, and tells when it is continued.
		trace(unix.PTRACE_LISTEN, pid, 0)
	case event != 0: // a new descendant, its parent, or a process continued
		trace(unix.PTRACE_CONT, pid, 0)
	case signal == int(unix.SIGTRAP)|0x80: // the end of a call
		t.finish(pid)
		trace(unix.PTRACE_CONT, pid, 0)
	default: // about to get a signal
		trace(unix.PTRACE_CONT, pid, signal)
	}
}

// attend looks at a call that the filter picked, before the kernel sees it; true asks for
// a stop at its end.
func (t *Tree) attend(pid int) bool {
	if t.registers.get(pid) != 0 || !t.registers.wide() {
		return false
	}
	if _, _, _, ok := t.registers.toldTimes(); ok {
		return t.started
	}
	return t.translate(pid)
}

// finish does what is left to do at the end of a call that attend asked for.
func (t *Tree) finish(pid int) {
	if t.registers.get(pid) != 0 || !t.registers.wide() {
		return // ESRCH: it was killed
	}
	if kept, ok := t.waits[pid]; ok {
		t.restore(pid, kept)
	} else {
		t.showTimes(pid)
	}
}

// executed prepares a new program before its first instruction.
func (t *Tree) executed(pid int) {
	delete(t.waits, pid) // of the thread whose number the one that executed took
	if errno := t.registers.get(pid); errno == 0 {
		stack, wordBytes := t.registers.stack()
		t.target = t.reach.of(pid)
		// It fails for a program that nobody may look into, which keeps the machine's clock.
		_ = hideVDSO(&t.stack, &t.target, stack, wordBytes)
	}
	if pid == t.command && !t.started {
		t.started = true
		t.face.begin()
	}
}

func isStop(s unix.Signal) bool {
	return s == unix.SIGSTOP || s == unix.SIGTSTP || s == unix.SIGTTIN || s == unix.SIGTTOU
}

func seize(pid int) unix.Errno { return trace(unix.PTRACE_SEIZE, pid, traceOptions) }

// trace makes one request that blocks never, so the runtime need not know of it.
func trace(request uintptr, pid, data int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, request, uintptr(pid), 0, uintptr(data), 0, 0)
	return errno
}

// registers are a stopped tracee's, as bytes: its program decides how wide they are.
type registers struct {
	bytes [max(wideRegisterBytes, narrowRegisterBytes)]byte
	have  int
}

func (r *registers) get(pid int) unix.Errno { return r.move(unix.PTRACE_GETREGSET, pid, len(r.bytes)) }
func (r *registers) set(pid int) unix.Errno { return r.move(unix.PTRACE_SETREGSET, pid, r.have) }

func (r *registers) move(request uintptr, pid, size int) unix.Errno {
	v := unix.Iovec{Base: &r.bytes[0]}
	v.SetLen(size)
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, request, uintptr(pid), unix.NT_PRSTATUS, uintptr(unsafe.Pointer(&v)), 0, 0)
	r.have = int(v.Len)
	return errno
}

// wide tells a 64-bit program from a 32-bit one.
func (r *registers) wide() bool { return r.have == wideRegisterBytes }
