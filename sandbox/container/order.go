package container

import (
	"gavel/sandbox"
	"gavel/sandbox/container/pid1"
)

// Order is what PID 1 runs for s.
func Order(s sandbox.Spec) pid1.Order {
	dir := sandbox.WorkRoot
	if s.WorkDir != "" {
		dir += "/" + s.WorkDir
	}
	return pid1.Order{Dir: dir, Argv: s.Argv, Env: sandbox.Environment(s)}
}
