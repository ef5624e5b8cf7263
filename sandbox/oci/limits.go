package oci

import "time"

const (
	// runtimeTimeout is one call of the runtime; a loaded machine makes it take seconds.
	runtimeTimeout = 60 * time.Second
	// maxSaid is what is kept of a runtime's complaint: a person reads it.
	maxSaid = 4 << 10
	// cpuPeriodMicros is the kernel's default period of CPU quotas.
	cpuPeriodMicros = 100_000
	// removeTimeout is how long a cgroup may take to be empty after its last
	// process was seen to end.
	removeTimeout = 5 * time.Second
	removePoll    = 5 * time.Millisecond
)
