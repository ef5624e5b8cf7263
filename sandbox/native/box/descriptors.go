package box

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// What a pipe, which no command can enlarge, and a socket, which it can up to the
// usual net.core.wmem_max, may hold. Nobody can see how much they do: they count in full.
const (
	pipeBytes   = 64 << 10
	socketBytes = 2 * 212992
)

// lookedAt bounds how many descriptors one poll looks at, but for the last process's.
const lookedAt = 2048

// descriptors finds what processes hold by open descriptors alone: files without
// a name, which are in no file system that anybody can ask, and pipes and sockets. Many
// descriptors take it several polls.
type descriptors struct {
	nameless uint64                 // the file system of files without a name
	rest     []string               // processes to look at before all were
	seen     map[openFile]heldBytes // of this round
	round    heldBytes              // sum of seen
	last     heldBytes              // sum of the round before
}

type openFile struct{ device, inode uint64 }

type heldBytes struct{ files, buffers uint64 }

func newDescriptors() *descriptors {
	d := &descriptors{nameless: math.MaxUint64, seen: map[openFile]heldBytes{}}
	if fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC); err == nil {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			d.nameless = st.Dev
		}
		unix.Close(fd)
	}
	return d
}

// held is what the descriptors of pids hold, as far as is known. Each file counts
// once, however many have it open.
func (d *descriptors) held(pids []string) (files, buffers uint64) {
	if len(d.rest) == 0 {
		d.last, d.round, d.seen, d.rest = d.round, heldBytes{}, map[openFile]heldBytes{}, pids
	}
	for left := lookedAt; left > 0 && len(d.rest) > 0; d.rest = d.rest[1:] {
		left -= d.process(d.rest[0])
	}
	if len(d.rest) == 0 {
		return d.round.files, d.round.buffers
	}
	return max(d.last.files, d.round.files), max(d.last.buffers, d.round.buffers)
}

// process looks at one process and returns how many descriptors it has, or 1 if
// it is gone or forbids to look.
func (d *descriptors) process(pid string) int {
	dir, err := os.Open("/proc/" + pid + "/fd")
	if err != nil {
		return 1
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 1
	}
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(int(dir.Fd()), name, &st, 0) != nil { // closed meanwhile
			continue
		}
		var h heldBytes
		switch kind := st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFIFO:
			h.buffers = pipeBytes
		case kind == unix.S_IFSOCK:
			h.buffers = socketBytes
		case kind == unix.S_IFREG && st.Dev == d.nameless:
			h.files = uint64(st.Blocks) * 512 // stat(2): whatever a block of the file system is
		default:
			continue
		}
		file := openFile{st.Dev, st.Ino}
		if _, ok := d.seen[file]; !ok {
			d.seen[file] = h
			d.round.files += h.files
			d.round.buffers += h.buffers
		}
	}
	return len(names) + 1
}
