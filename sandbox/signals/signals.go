// Package signals takes from a command what it would inherit of how its worker was
// started: signals that are ignored stay ignored in every program that is started,
// under nohup for one. It changes nothing that a Go program handles, starts no
// process and sends no signal. It links into small first processes.
package signals

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// last is the kernel's highest signal.
const last = 64

// The kernel's words for what becomes of a signal (signal(7)).
const (
	byDefault = 0
	ignored   = 1
)

// action is the kernel's struct sigaction on amd64 and arm64.
type action struct{ handler, flags, restorer, mask uint64 }

// Default gives each signal that this process ignores its default again, so that
// programs it starts have all of them. The process itself should be one that the
// kernel spares unhandled signals: the first of its namespace.
func Default() error {
	for n := uintptr(1); n <= last; n++ {
		var now action
		if err := set(n, nil, &now); err != nil {
			return err
		}
		if now.handler == ignored {
			if err := set(n, &action{handler: byDefault}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// set is rt_sigaction(2); the Go runtime knows only of signals that it was asked for.
func set(n uintptr, to, was *action) error {
	if n == uintptr(unix.SIGKILL) || n == uintptr(unix.SIGSTOP) {
		return nil // nobody ignores them
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(was)), unsafe.Sizeof(action{}.mask), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
