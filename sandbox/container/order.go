package container

import (
	"gavel/sandbox"
	"gavel/sandbox/container/pid1"
)

// Order is what PID 1 runs for s, on these CPUs, or on all if there are none.
func Order(s sandbox.Spec, cpus []uint32) pid1.Order {
	v := s.Surroundings()
	return pid1.Order{
		Dir: s.Dir(), Argv: s.Argv, Env: sandbox.Environment(s),
		Umask: v.Umask, CPUs: cpus, FixedAddresses: v.FixedAddresses,
	}
}
