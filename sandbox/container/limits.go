package container

import "time"

// Bounds on waiting for a container.
const (
	// LaunchTimeout is from the start of a container to that of its command.
	LaunchTimeout = 60 * time.Second
	// KillTimeout is from SIGKILL to the container's end; a process in an
	// uninterruptible write to a slow disk dies late.
	KillTimeout = 30 * time.Second
	// DrainTimeout is how long the rest of a dead container's log may take.
	DrainTimeout = 10 * time.Second
)

// SharedMemoryBytes is /dev/shm, as engines give by default.
const SharedMemoryBytes = 64 << 20
