// Package seccomp owns the one list of system calls that commands may make,
// whichever runner runs them, and compiles it to a kernel's filter program. It
// applies nothing, names nothing (package profile does, for engines) and imports
// only x/sys, because it is linked into the small first process of sandboxes. Every
// call has one decision: what is on no list is absent, never allowed.
package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Decision is what becomes of a system call.
type Decision uint8

// The decisions. Calls of another architecture, whose numbers mean something
// else, are no decision: they kill the process.
const (
	Absent  Decision = iota // answers ENOSYS, as on an older kernel
	Denied                  // answers EPERM
	Allowed                 // reaches the kernel
	Judged                  // as Judgement of its arguments says
)

// Calls returns the decision on every call that is on a list, by number; others
// are Absent. A supervisor is a first process that shows its command another
// clock; the command itself must be filtered by the stricter rest.
func Calls(supervisor bool) map[uint32]Decision {
	decided := make(map[uint32]Decision)
	for _, l := range lists(supervisor) {
		for _, n := range l.calls {
			decided[n] = l.decision
		}
	}
	for _, j := range judgements {
		decided[j.Call] = Judged
	}
	return decided
}

// list is calls that are decided alike.
type list struct {
	calls    []uint32
	decision Decision
}

func lists(supervisor bool) []list {
	supervised := Denied
	if supervisor {
		supervised = Allowed
	}
	return []list{
		{allowedCalls, Allowed}, {nativeAllowedCalls, Allowed}, {deniedCalls, Denied}, {nativeDeniedCalls, Denied},
		{supervisorCalls, supervised}, {absentCalls, Absent},
	}
}

// A Condition holds if Mask of the low half of argument Arg is Value. The high
// half never counts: the kernel reads 32 bits of every argument that is judged.
type Condition struct {
	Arg         uint32
	Mask, Value uint32
}

// A Judgement is about the arguments of one call.
type Judgement struct {
	Call uint32
	// Cases are alternatives: one applies if all its conditions hold.
	Cases [][]Condition
	// Deny tells what the cases are: those that answer EPERM, or those that are
	// allowed. The rest is the reverse.
	Deny bool
}

// Judgements returns what is decided by arguments.
func Judgements() []Judgement { return slices.Clone(judgements) }

const whole = ^uint32(0)

// newNamespaces are the flags of clone that would make one.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Personalities that change nothing for others: those of setarch, uname26 and
// fixed addresses, and the question which one it is. No executable data.
const (
	linux32 = 0x8
	uname26 = 0x20000
	fixed   = 0x40000
	ask     = 0xffffffff
)

// families are the address families of programs; netlink's only protocol is the
// one with which libraries list interfaces. Others (VSOCK, ALG, PACKET) are code
// of the kernel that builds do not need, or lead out of the sandbox.
var families = [][]Condition{
	{{0, whole, unix.AF_UNIX}}, {{0, whole, unix.AF_INET}}, {{0, whole, unix.AF_INET6}},
	{{0, whole, unix.AF_NETLINK}, {2, whole, unix.NETLINK_ROUTE}},
}

var judgements = []Judgement{
	{Call: unix.SYS_CLONE, Cases: [][]Condition{{{0, newNamespaces, 0}}}},
	// Typing into the worker's terminal, or pasting.
	{Call: unix.SYS_IOCTL, Deny: true, Cases: [][]Condition{{{1, whole, unix.TIOCSTI}}, {{1, whole, unix.TIOCLINUX}}}},
	// With a lease on what a run is only shown, a command makes others that open it
	// wait, where its files belong to the command's own user. Builds take none. A
	// larger pipe is memory that no poll can see; a kernel may always deny one.
	{Call: unix.SYS_FCNTL, Deny: true, Cases: [][]Condition{{{1, whole, unix.F_SETLEASE}}, {{1, whole, unix.F_SETPIPE_SZ}}}},
	{Call: unix.SYS_SOCKET, Cases: families},
	{Call: unix.SYS_SOCKETPAIR, Cases: families},
	{Call: unix.SYS_PERSONALITY, Cases: [][]Condition{
		{{0, ^uint32(linux32 | uname26 | fixed), 0}}, {{0, whole, ask}},
	}},
}
