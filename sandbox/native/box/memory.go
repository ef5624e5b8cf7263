package box

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pollInterval is how long a command may exceed its memory where no cgroup
// watches; reading a few hundred small files takes a small part of it.
const pollInterval = 25 * time.Millisecond

// watchMemory ends the box when its processes, and what they wrote to memory,
// exceed the plan's bound.
func watchMemory(p *Plan) {
	page := uint64(os.Getpagesize())
	for range time.Tick(pollInterval) {
		total := writtenBytes(p.WorkRoot) + writtenBytes("/tmp") + writtenBytes("/dev/shm") + segmentBytes()
		entries, err := os.ReadDir("/proc")
		if err != nil {
			exit(Report{Kind: SetupFailed, Text: "watching memory: " + err.Error()})
		}
		for _, e := range entries {
			if _, err := strconv.Atoi(e.Name()); err != nil || e.Name() == "1" {
				continue
			}
			b, err := os.ReadFile("/proc/" + e.Name() + "/statm")
			if err != nil { // it ended meanwhile
				continue
			}
			if f := strings.Fields(string(b)); len(f) > 2 {
				resident, _ := strconv.ParseUint(f[1], 10, 64)
				shared, _ := strconv.ParseUint(f[2], 10, 64)
				total += (resident - min(shared, resident)) * page
			}
		}
		if total > p.PollBytes {
			exit(Report{Kind: MemoryOver})
		}
	}
}

// writtenBytes is what was written to the tmpfs at dir, or below the overlay there.
func writtenBytes(dir string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return (st.Blocks - st.Bfree) * uint64(st.Bsize)
}

// segmentBytes is what System V shared memory holds, which belongs to no process
// that is attached to it (proc(5): the resident size is the last but one column).
func segmentBytes() uint64 {
	b, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil { // a kernel without it
		return 0
	}
	total := uint64(0)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 {
			resident, _ := strconv.ParseUint(f[len(f)-2], 10, 64) // of the heading, none
			total += resident
		}
	}
	return total
}
