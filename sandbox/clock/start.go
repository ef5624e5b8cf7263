package clock

import (
	"encoding/binary"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Threads is how many threads PID 1 has for a clock besides its own; LauncherThreads
// how many the launcher has while it lives, which is before the command. Both are
// for limits on processes.
const (
	Threads         = 1 + spareThreads
	LauncherThreads = 6 // five, as measured
)

// spareThreads are made before the command starts. Two threads that wait in the
// kernel take turns with whatever else PID 1 does, and the Go runtime ends the process
// when it needs another and the command has used up the limit.
const spareThreads = 3

// settle makes the spare threads.
func settle() {
	var ready sync.WaitGroup
	release := make(chan struct{})
	for range spareThreads {
		ready.Add(1)
		go func() {
			runtime.LockOSThread() // a thread of its own, idle afterwards
			defer runtime.UnlockOSThread()
			ready.Done()
			<-release
		}()
	}
	ready.Wait()
	close(release)
}

// Command is what Start starts. It inherits the caller's working directory, umask,
// limits, user and capabilities, and becomes the leader of a session.
type Command struct {
	Program   string     // as execve takes it: no search in PATH
	Argv, Env []string   // at least the command's name; exactly its environment
	Files     [3]uintptr // its standard input, output and error; all it gets
	// Filter is the caller's own, for the command only; none is installed when empty.
	// It need not know of this package's: what it refuses stays refused.
	Filter []unix.SockFilter
	// Launcher is the program whose main calls Main when IsRole; empty is
	// /proc/self/exe, which also works once the program's file is out of sight.
	Launcher string
}

// SetupError is a clock that could not be given: the command never ran.
type SetupError struct {
	What string // what was being done, and where a person can help, how
	Err  error
}

func (e *SetupError) Error() string { return "setting the clock: " + e.What + ": " + e.Err.Error() }

// Unwrap returns the kernel's reason.
func (e *SetupError) Unwrap() error { return e.Err }

// Start starts c with a clock that shows s. Its error is the syscall.Errno of execve
// when c is not there or no program, as of syscall.ForkExec, and else a *SetupError.
// The caller must be the first process of its namespace or a subreaper, have no
// other child, and call Wait from the same goroutine, which is locked to its thread.
func Start(s Setting, c Command) (*Tree, error) {
	runtime.LockOSThread()
	if len(c.Argv) == 0 {
		return nil, &SetupError{"checking the command", unix.EINVAL}
	}
	settle()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &SetupError{"making a socket", err}
	}
	defer unix.Close(pair[0])
	end := uintptr(pair[1])
	program := c.Launcher
	if program == "" {
		program = "/proc/self/exe"
	}
	pid, err := syscall.ForkExec(program, []string{launcherName}, &syscall.ProcAttr{
		// The command's own variables could steer the launcher's runtime.
		Env: []string{"GOGC=off", "GOMAXPROCS=1"},
		// What a dying launcher says must not come into the command's log.
		Files: []uintptr{end, end, end, end, c.Files[0], c.Files[1], c.Files[2]},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	unix.Close(pair[1])
	if err != nil {
		return nil, &SetupError{"starting " + program + " as launcher", err}
	}
	t := &Tree{command: pid, face: newFace(s), waits: map[int]wait{}}
	if err := t.launch(pair[0], order{c.Program, c.Argv, c.Env, c.Filter}); err != nil {
		return nil, err
	}
	return t, nil
}

// launch brings the launcher, which has just begun, to the command's first
// instruction, or ends it.
func (t *Tree) launch(socket int, o order) error {
	if err := t.prepare(socket, o); err != nil {
		t.discard()
		return err
	}
	for !t.started {
		pid, _, err := t.next()
		if err != nil {
			return &SetupError{"waiting for the launcher", err}
		}
		if pid == t.command {
			at, errno, _, err := hear(socket)
			if err == nil && at == stageExec {
				return errno
			}
			return launcherFailure(at, errno, err)
		}
	}
	return nil
}

// discard ends and collects a launcher that is of no use.
func (t *Tree) discard() {
	_ = unix.Kill(t.command, unix.SIGKILL) // it may have ended by itself
	for {
		if pid, _, err := t.next(); err != nil || pid == t.command {
			return
		}
	}
}

// prepare brings the launcher to where only its own filter and execve are left.
func (t *Tree) prepare(socket int, o order) error {
	if err := sendWhole(socket, o.append(nil)); err != nil {
		return &SetupError{"sending the command to the launcher", err}
	}
	at, errno, listener, err := hear(socket)
	if err != nil || at != stageListening || listener < 0 {
		return launcherFailure(at, errno, err)
	}
	if err := t.attach(); err != nil {
		unix.Close(listener)
		return err
	}
	go answer(listener, t.face, t.reach)
	if err := sendWhole(socket, []byte{1}); err != nil {
		return &SetupError{"releasing the launcher", err}
	}
	return nil
}

// attach begins to trace the launcher and finds the way to its memory.
func (t *Tree) attach() error {
	if errno := seize(t.command); errno != 0 {
		return &SetupError{"tracing the command; kernel.yama.ptrace_scope must be 0 or 1, no outer filter may refuse ptrace, and this program must be readable", errno}
	}
	var errno unix.Errno
	if t.reach, errno = probe(t.command); errno != 0 {
		return &SetupError{"reaching the command's memory; an outer filter must allow process_vm_readv and process_vm_writev, or /proc must be this namespace's", errno}
	}
	return nil
}

// launcherFailure puts what the launcher said, if it did, in words.
func launcherFailure(at stage, errno unix.Errno, err error) error {
	what := map[stage]string{
		stageOrder:     "reading the order in the launcher",
		stagePrivilege: "giving up new privileges",
		stageNotify:    "installing a filter that notifies; it takes Linux 5.5 or later, built with seccomp filters, and no other listener outside",
		stageFiles:     "placing the command's descriptors",
		stageFilter:    "installing the command's filter",
	}[at]
	if err == nil && what != "" {
		return &SetupError{what, errno}
	}
	if err == nil { // the runtime's last words
		err = unix.EPROTO
	}
	return &SetupError{"hearing from the launcher; a limit on processes or memory may have ended it", err}
}

// hear receives what the launcher says; fd is -1 when no descriptor came along.
func hear(socket int) (at stage, errno unix.Errno, fd int, err error) {
	var message [messageBytes]byte
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		n, rn, _, _, err := unix.Recvmsg(socket, message[:], rights, unix.MSG_CMSG_CLOEXEC|unix.MSG_WAITALL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, 0, -1, err
		}
		if n != len(message) {
			return 0, 0, -1, unix.ECONNRESET
		}
		return stage(message[0]), unix.Errno(binary.LittleEndian.Uint32(message[1:])), receivedFD(rights[:rn]), nil
	}
}

func receivedFD(rights []byte) int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	return fds[0]
}

func sendWhole(socket int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(socket, b, nil, nil, unix.MSG_NOSIGNAL)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}
