// Package cpus owns how many CPUs a command sees: it spreads commands over those
// of the machine, binds them, and writes what /proc and /sys then say. It mounts
// nothing and bounds no time, which is a runner's work. For one count, and one
// model of CPU, the files are the same on every machine and at every moment.
package cpus

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxCPUs is the kernel's largest number of CPUs, of any configuration.
const maxCPUs = 8192

// mask is a set of CPUs as the kernel takes it.
type mask [maxCPUs / 64]uint64

// Allowed lists the CPUs that the calling thread may use, by number.
func Allowed() ([]int, error) {
	var m mask
	if _, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(m), uintptr(unsafe.Pointer(&m))); errno != 0 {
		return nil, errno
	}
	var found []int
	for n := range maxCPUs {
		if m[n/64]>>(n%64)&1 == 1 {
			found = append(found, n)
		}
	}
	return found, nil
}

// Bind keeps the calling thread, and what it starts from now on, on these CPUs.
func Bind(numbers []int) error {
	var m mask
	for _, n := range numbers {
		if n < 0 || n >= maxCPUs {
			return unix.EINVAL
		}
		m[n/64] |= 1 << (n % 64)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(m), uintptr(unsafe.Pointer(&m))); errno != 0 {
		return errno
	}
	return nil
}

// ErrTooFew is wrapped by errors about more CPUs than there are.
var ErrTooFew = errors.New("this machine has too few CPUs")

// Spread hands out CPUs in turn, so that neighbours share as few as possible. It
// is safe for concurrent use.
type Spread struct {
	allowed []int

	mu   sync.Mutex
	next int // index in allowed of the first to hand out next
}

// NewSpread spreads over the CPUs that this process may use now.
func NewSpread() (*Spread, error) {
	allowed, err := Allowed()
	if err != nil {
		return nil, fmt.Errorf("asking which CPUs may be used: %w", err)
	}
	return &Spread{allowed: allowed}, nil
}

// Count is how many CPUs there are.
func (s *Spread) Count() int { return len(s.allowed) }

// Take returns the numbers of n CPUs, sorted.
func (s *Spread) Take(n int) ([]int, error) {
	if n > len(s.allowed) {
		return nil, fmt.Errorf("%w: %d are asked for and %d may be used; ask for fewer, or another worker", ErrTooFew, n, len(s.allowed))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := make([]int, n)
	for i := range taken {
		taken[i] = s.allowed[s.next]
		s.next = (s.next + 1) % len(s.allowed)
	}
	slices.Sort(taken)
	return taken, nil
}
