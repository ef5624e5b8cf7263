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

// watchMemory ends the box when its processes, and what they hold in memory
// without being larger themselves, exceed the plan's bound. What a process holds
// that forbids to look at it, or that is on its way between processes, escapes it
// unless it is mapped; cgroups count that too.
func watchMemory(p *Plan) {
	open := newDescriptors()
	for range time.Tick(pollInterval) {
		pids, err := processes()
		if err != nil {
			exit(Report{Kind: SetupFailed, Text: "watching memory: " + err.Error()})
		}
		files, buffers := open.held(pids)
		files += writtenBytes(p.WorkRoot) + writtenBytes("/tmp") + writtenBytes("/dev/shm") + segmentBytes()
		buffers += messageBytes()
		var own, shared uint64
		for _, pid := range pids {
			o, s := residentBytes(pid)
			own, shared = own+o, shared+s
		}
		if own+files+shared+buffers <= p.PollBytes {
			continue
		}
		// Most of what is shared is programs. Mappings without a file are found only
		// by a walk through each process's pages; those of files are found again, so
		// the larger of both counts.
		var mapped uint64
		for _, pid := range pids {
			mapped += mappedBytes(pid)
		}
		if own+max(files, mapped)+buffers > p.PollBytes {
			exit(Report{Kind: MemoryOver})
		}
	}
}

// processes lists all but this one, as they are named in /proc.
func processes() ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil && e.Name() != "1" {
			pids = append(pids, e.Name())
		}
	}
	return pids, nil
}

// residentBytes is what a process holds in memory, alone and together with
// others or the page cache; nothing of one that ended meanwhile.
func residentBytes(pid string) (own, shared uint64) {
	b, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0, 0
	}
	if f := strings.Fields(string(b)); len(f) > 2 {
		resident, _ := strconv.ParseUint(f[1], 10, 64)
		shared, _ = strconv.ParseUint(f[2], 10, 64)
		shared = min(shared, resident)
		own = resident - shared
	}
	page := uint64(os.Getpagesize())
	return own * page, shared * page
}

// mappedBytes is a process's part of the shared memory that it maps. Of one that
// forbids to look (which needs no privilege) all that it shares counts.
func mappedBytes(pid string) uint64 {
	b, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err == nil {
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Pss_Shmem:"); ok {
				kilobytes, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				return kilobytes << 10
			}
		}
	}
	_, shared := residentBytes(pid)
	return shared
}

// FileBytes is what a file of a tmpfs takes besides its content, in the file
// system itself and in what shows it (half of it below an overlay's own).
const FileBytes = 2 << 10

// writtenBytes is what was written to the tmpfs at dir, or below the overlay there,
// and what its files take that hold nothing.
func writtenBytes(dir string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return (st.Blocks-st.Bfree)*uint64(st.Bsize) + (st.Files-st.Ffree)*FileBytes
}

// segmentBytes is what System V shared memory holds, which belongs to no process
// that is attached to it (proc(5): the resident size is the last but one column).
func segmentBytes() uint64 {
	return sumColumns("/proc/sysvipc/shm", func(f []string) uint64 { return number(f[len(f)-2]) })
}

// messageBytes is what System V messages hold (proc(5): their bytes and their
// number are the fourth and fifth column).
func messageBytes() uint64 {
	const headBytes = 64 // of each, rounded up
	return sumColumns("/proc/sysvipc/msg", func(f []string) uint64 { return number(f[3]) + number(f[4])*headBytes })
}

// sumColumns adds up what each line of a table says.
func sumColumns(path string, of func(fields []string) uint64) uint64 {
	b, err := os.ReadFile(path)
	if err != nil { // a kernel without it
		return 0
	}
	total := uint64(0)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 5 {
			total += of(f)
		}
	}
	return total
}

// number is what a column says, and 0 of its heading.
func number(column string) uint64 {
	n, _ := strconv.ParseUint(column, 10, 64)
	return n
}
