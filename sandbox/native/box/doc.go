// Package box is the inside of a native sandbox: the spawner that clones it and
// the first process that builds it, runs one command and reaps. It carries out
// Plans and decides nothing; what a sandbox shows is the runner's policy, and it
// imports only the standard library, x/sys and two leaves of this room (system
// calls, CPUs), so that it links into a small static binary that starts in a
// millisecond. A command never runs before every step of its Plan succeeded and
// its privileges are gone, and nothing outlives the first process.
//
// Two roles, told apart by argv[0]:
//
//	worker ──requests──▶ spawner ──clone+exec──▶ box (PID 1) ──fork──▶ command
//	   ▲                    │                        │
//	   └────── control ─────┴────────────────────────┘   one socket a command
//
// The spawner is a process of its own because cloning into a new user namespace
// copies the caller's page tables: a worker with a 2 GiB heap would pay 74 ms.
package box

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"gavel/sandbox/clock"
)

// The roles, as argv[0].
const (
	SpawnerName = "gavel-spawner"
	boxName     = "gavel-box"
)

// Descriptors a spawner starts with and those a box starts with.
const (
	SpawnerRequestFD = 3 // SOCK_SEQPACKET, requests from the worker

	controlFD = 3 // SOCK_SEQPACKET, the plan from and Reports to the runner
	joinFD    = 4 // cgroup.procs files; argv[1] is their number
)

// IsRole says whether this process was started as spawner or box.
func IsRole() bool {
	return len(os.Args) > 0 && (os.Args[0] == SpawnerName || os.Args[0] == boxName) || clock.IsRole()
}

// Main plays the role and exits; it must only be called when IsRole.
func Main() {
	if clock.IsRole() {
		clock.Main() // between a box with a clock of its own and its command
	}
	// One thread does everything that is an attribute of threads: the parent
	// death signal, capabilities, the filter, namespaces.
	runtime.LockOSThread()
	if os.Args[0] == SpawnerName {
		serve(SpawnerRequestFD)
		// At once: os.Exit would first run what the program around this package registered.
		unix.Exit(0)
	}
	runBox()
}
