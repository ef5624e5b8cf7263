package sandbox

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultLimits are what a zero field of Limits means. CPUMillis stays 0: all CPUs.
var DefaultLimits = Limits{
	TimeMillis:  10 * 60 * 1000, // longer builds say so, and are priced so
	MemoryBytes: 2 << 30,
	CPUMillis:   0,
	Pids:        512,
	DiskBytes:   4 << 30,
	LogBytes:    64 << 20, // more than a person reads, less than a disk holds
}

// Bounds on what a Spec may ask for, so that no field reaches the kernel or an
// engine as a number that means something else there.
const (
	minMemoryBytes = 16 << 20 // below it the sandbox's own first process does not start
	maxMemoryBytes = 1 << 44  // 16 TiB, above any machine and far below overflow in pages
	minDiskBytes   = 1 << 20  // a file system of less cannot hold its own directories
	maxDiskBytes   = 1 << 44
	maxTimeMillis  = 7 * 24 * 60 * 60 * 1000 // a week: above it nothing of the farm waits
	minCPUMillis   = 10                      // the kernel's smallest quota is 1 ms in a 100 ms period
	maxCPUMillis   = 8192 * 1000             // the kernel's largest CPU count
	maxPids        = 4 << 20                 // the kernel's PID_MAX_LIMIT
	maxLogBytes    = 1 << 34                 // 16 GiB, the worker keeps logs on disk
)

// Bounds on the shape of a Spec and of what its command leaves behind.
const (
	maxArgBytes      = 128 << 10 // the kernel's MAX_ARG_STRLEN for one string
	maxArgTotalBytes = 2 << 20   // the kernel's usual room for argv and environment together
	maxOutputs       = 10_000    // declared paths; more belong in a directory
	maxPathBytes     = 4095      // the kernel's PATH_MAX without its NUL
	maxOutputEntries = 250_000   // files, directories and links of all outputs together, somewhat more than a result can name
	maxOutputDepth   = 200       // nested directories; each costs the collector two descriptors
)

// Two of ResourceLimits.
const (
	OpenFiles  = 16384   // descriptors of one process; below the hard limit that distributions give users
	StackBytes = 8 << 20 // the usual soft limit, so that recursion fails at the same depth everywhere
)

// ResourceLimit is one of setrlimit(2).
type ResourceLimit struct {
	Resource   int
	Soft, Hard uint64
}

// ResourceLimits are what every command starts with besides Limits, whoever runs
// it; hard limits of the worker that are lower count. Those that a kernel takes from the
// machine's memory (processes, pending signals) are inherited.
func ResourceLimits() []ResourceLimit {
	const (
		lockedBytes = 64 << 10  // memory that cannot be swapped: a few keys
		queueBytes  = 800 << 10 // of POSIX message queues, as kernels have it
	)
	return []ResourceLimit{
		{unix.RLIMIT_CORE, 0, 0},
		{unix.RLIMIT_MEMLOCK, lockedBytes, lockedBytes},
		{unix.RLIMIT_MSGQUEUE, queueBytes, queueBytes},
		{unix.RLIMIT_NICE, 0, 0},
		{unix.RLIMIT_NOFILE, OpenFiles, OpenFiles},
		{unix.RLIMIT_RTPRIO, 0, 0},
		{unix.RLIMIT_STACK, StackBytes, math.MaxUint64},
	}
}

// WithDefaults returns l with zero fields replaced by DefaultLimits.
func (l Limits) WithDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.TimeMillis, DefaultLimits.TimeMillis)
	def(&l.MemoryBytes, DefaultLimits.MemoryBytes)
	def(&l.CPUMillis, DefaultLimits.CPUMillis)
	def(&l.Pids, DefaultLimits.Pids)
	def(&l.DiskBytes, DefaultLimits.DiskBytes)
	def(&l.LogBytes, DefaultLimits.LogBytes)
	return l
}

// Timeout is TimeMillis as a duration.
func (l Limits) Timeout() time.Duration { return time.Duration(l.TimeMillis) * time.Millisecond }

// Validate refuses limits out of range, with ErrRefused. Zero fields mean the defaults.
func (l Limits) Validate() error { return l.WithDefaults().validate() }

// validate refuses limits out of range; zero was replaced before, except CPUMillis.
func (l Limits) validate() error {
	for _, f := range []struct {
		name        string
		v, min, max int64
	}{
		{"time limit (milliseconds)", l.TimeMillis, 1, maxTimeMillis},
		{"memory limit (bytes)", l.MemoryBytes, minMemoryBytes, maxMemoryBytes},
		{"process limit", l.Pids, 1, maxPids},
		{"disk limit (bytes)", l.DiskBytes, minDiskBytes, maxDiskBytes},
		{"log limit (bytes)", l.LogBytes, 1, maxLogBytes},
	} {
		if f.v < f.min || f.v > f.max {
			return refuse("the %s is %d; ask for %d to %d", f.name, f.v, f.min, f.max)
		}
	}
	if l.CPUMillis != 0 && (l.CPUMillis < minCPUMillis || l.CPUMillis > maxCPUMillis) {
		return refuse("the CPU limit is %d thousandths of a CPU; ask for %d to %d, or 0 for all", l.CPUMillis, minCPUMillis, int64(maxCPUMillis))
	}
	return nil
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}
