package container

import (
	"gavel/sandbox"
	"gavel/sandbox/clock"
	"gavel/sandbox/container/pid1"
)

// Order is what PID 1 runs for s, on these CPUs, or on all if there are none.
func Order(s sandbox.Spec, cpus []uint32) pid1.Order {
	v := s.Surroundings()
	o := pid1.Order{
		Dir: s.Dir(), Argv: s.Argv, Env: sandbox.Environment(s),
		Umask: v.Umask, CPUs: cpus, FixedAddresses: v.FixedAddresses,
	}
	if c := v.Clock; c != nil {
		o.Clock, o.Time = true, clock.Setting{StartSeconds: c.StartSeconds, StepSeconds: c.StepSeconds}
	}
	return o
}

// Pids is the limit of processes and threads of a whole container of s: those of
// PID 1 come on top of what the command may have.
func Pids(s sandbox.Spec) int64 {
	pids := s.Limits.Pids + pid1.Threads
	if s.Variation.Clock != nil {
		pids += clock.Threads + clock.LauncherThreads
	}
	return pids
}
