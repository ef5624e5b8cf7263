package clock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The types of entries of an auxiliary vector (include/uapi/linux/auxvec.h).
const (
	auxEnd    = 0
	auxIgnore = 1
	auxVDSO   = 33 // AT_SYSINFO_EHDR
)

// maxStackBytes is more than arguments, environment and vector ever take: the
// kernel gives their pointers a part of a quarter of the stack limit, 6 MiB at most.
const maxStackBytes = 8 << 20

// memory is a process's, as far as the search for its vector needs it.
type memory interface {
	read(address uint64, b []byte) (int, unix.Errno)
	write(address uint64, b []byte) unix.Errno
}

// words reads a stack upwards, a page at a time.
type words struct {
	from  memory
	size  uint64 // of a word: 4 or 8
	next  uint64
	limit uint64
	page  [4096]byte
	have  []byte // of page, from next on
	blank [8]byte
	errno unix.Errno
}

// take returns the next word and its address; errno is set when there is none.
func (w *words) take() (value, address uint64) {
	if uint64(len(w.have)) < w.size {
		if w.next >= w.limit {
			w.errno = unix.E2BIG
			return 0, 0
		}
		// Never over the end of a page: the next one may be the stack's end.
		n, errno := w.from.read(w.next, w.page[:uint64(len(w.page))-w.next%uint64(len(w.page))])
		if errno == 0 && uint64(n) < w.size {
			errno = unix.EFAULT
		}
		if errno != 0 {
			w.errno = errno
			return 0, 0
		}
		w.have = w.page[:n]
	}
	if w.size == 8 {
		value = binary.LittleEndian.Uint64(w.have)
	} else {
		value = uint64(binary.LittleEndian.Uint32(w.have))
	}
	address = w.next
	w.skip(1)
	return value, address
}

func (w *words) skip(n uint64) {
	w.next += n * w.size
	w.have = w.have[min(n*w.size, uint64(len(w.have))):]
}

// hideVDSO blanks the entry that tells a new program where the vDSO is. stack is its
// stack pointer before its first instruction: the number of arguments, their addresses and a zero,
// those of the environment and a zero, then the vector. Without such an entry nothing is to be done.
func hideVDSO(w *words, from memory, stack, wordBytes uint64) unix.Errno {
	*w = words{from: from, size: wordBytes, next: stack, limit: stack + maxStackBytes}
	arguments, _ := w.take()
	if w.errno == 0 && arguments >= maxStackBytes/wordBytes {
		return unix.E2BIG
	}
	w.skip(arguments + 1)
	for w.errno == 0 {
		if variable, _ := w.take(); variable == 0 {
			break
		}
	}
	for w.errno == 0 {
		kind, address := w.take()
		if w.errno != 0 || kind == auxEnd {
			break
		}
		if kind == auxVDSO {
			w.blank = [8]byte{auxIgnore}
			return from.write(address, w.blank[:wordBytes])
		}
		w.take()
	}
	return w.errno
}
