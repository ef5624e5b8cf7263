// Package seccomp owns the one list of system calls that commands may make,
// whichever runner runs them, and compiles it to a kernel's filter program. It
// applies nothing, names nothing (package profile does, for engines) and imports
// only x/sys, because it is linked into the small first process of sandboxes. Every
// call has one decision: what is on no list is absent, never allowed.
package seccomp

import (
	"maps"
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
	decided := make(map[uint32]Decision, len(allowedCalls)+len(nativeAllowedCalls)+len(deniedCalls)+len(nativeDeniedCalls)+len(judgements))
	enter := func(calls []uint32, d Decision) {
		for _, n := range calls {
			decided[n] = d
		}
	}
	enter(allowedCalls, Allowed)
	enter(nativeAllowedCalls, Allowed)
	enter(deniedCalls, Denied)
	enter(nativeDeniedCalls, Denied)
	enter(supervisorCalls, Denied)
	if supervisor {
		enter(supervisorCalls, Allowed)
	}
	enter(absentCalls, Absent)
	for _, j := range judgements {
		decided[j.Call] = Judged
	}
	return decided
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

// Judgements returns what is decided by arguments, by number of the call.
func Judgements() []Judgement {
	return slices.SortedFunc(slices.Values(judgements), func(a, b Judgement) int { return int(a.Call) - int(b.Call) })
}

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
	{Call: unix.SYS_SOCKET, Cases: families},
	{Call: unix.SYS_SOCKETPAIR, Cases: families},
	{Call: unix.SYS_PERSONALITY, Cases: [][]Condition{
		{{0, ^uint32(linux32 | uname26 | fixed), 0}}, {{0, whole, ask}},
	}},
}

// ranges are the decisions as steps: each holds from its first number to the
// next step's. The last of all is -1, which no call has and the kernel does not know either.
type step struct {
	first    uint32
	decision Decision
	judged   int  // index in judgements, of Judged
	kill     bool // another architecture's
}

func steps(supervisor bool) []step {
	decided := Calls(supervisor)
	var found []step
	add := func(s step) {
		if n := len(found); n > 0 && s.decision != Judged && found[n-1].decision == s.decision && found[n-1].kill == s.kill {
			return
		}
		found = append(found, s)
	}
	next := uint32(0)
	for _, n := range slices.Sorted(maps.Keys(decided)) {
		if n > next {
			add(step{first: next})
		}
		s := step{first: n, decision: decided[n]}
		if s.decision == Judged {
			s.judged = slices.IndexFunc(judgements, func(j Judgement) bool { return j.Call == n })
		}
		add(s)
		next = n + 1
	}
	add(step{first: next})
	if foreignCalls > 0 {
		found = append(found, step{first: foreignCalls, kill: true}, step{first: ^uint32(0)})
	}
	return found
}
