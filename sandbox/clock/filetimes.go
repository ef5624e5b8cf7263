package clock

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Whoever asks for a file's times stops before the kernel sees the call, by the filter, and
// again at its end, when the kernel has filled the caller's buffer. The tracer then
// replaces those times that the kernel gave while the clock ran by what the clock showed.
// Nothing is kept between the two stops: at the end the registers still tell the call
// and where its buffer lies, and the result, which is 0 only for a buffer that is filled.
// A call that a signal interrupts before its end is not 0 and stops anew when it is restarted.

// Where the times lie in struct stat, which has the same place for them on amd64 and
// arm64, and in struct statx: 16 bytes each, seconds first.
const (
	statTimes  = unsafe.Offsetof(unix.Stat_t{}.Atim)
	statxTimes = unsafe.Offsetof(unix.Statx_t{}.Atime)

	timeBytes     = 16
	mostFileTimes = 4 // access, birth, change and modification
)

// toldTimes says where the call that the registers are of has times of a file put, how
// many, and whether their nanoseconds have 64 bits rather than 32; ok is false for other calls.
func (r *registers) toldTimes() (at uint64, times int, wideNanos, ok bool) {
	a := &abis[0]                                   // the filter picks no calls by the others
	argument := 1                                   // of stat, fstat and lstat: name or descriptor, buffer
	switch call := uint32(r.word(wideCall)); call { // the half that the kernel takes
	case 0: // as are those that this architecture does not have
		return 0, 0, false, false
	case a.statx: // directory, name, flags, mask, buffer
		return r.word(wideArgument[4]) + uint64(statxTimes), 4, false, true
	case a.newfstatat: // directory, name, buffer
		argument = 2
	case a.stat, a.fstat, a.lstat:
	default:
		return 0, 0, false, false
	}
	return r.word(wideArgument[argument]) + uint64(statTimes), 3, true, true
}

// showTimes puts what the clock shows in place of a file's times, at the end of a call.
func (t *Tree) showTimes(pid int) {
	at, times, wideNanos, ok := t.registers.toldTimes()
	if !ok || t.registers.word(wideResult) != 0 {
		return
	}
	b := t.times[:times*timeBytes]
	there := t.reach.of(pid)
	if n, errno := there.read(at, b); errno != 0 || n != len(b) {
		return
	}
	if t.face.showIn(b, wideNanos, time.Now()) {
		// It fails for who may not be written to, or whose memory went away meanwhile.
		_ = there.write(at, b)
	}
}

// showIn replaces the times in b, and tells whether there was one to replace.
func (f *face) showIn(b []byte, wideNanos bool, now time.Time) (changed bool) {
	le := binary.LittleEndian
	for ; len(b) >= timeBytes; b = b[timeBytes:] {
		moment := [2]int64{int64(le.Uint64(b)), int64(le.Uint32(b[8:]))}
		if wideNanos {
			moment[1] = int64(le.Uint64(b[8:]))
		}
		shown, ok := f.ofFile(moment, now)
		if !ok {
			continue
		}
		changed = true
		le.PutUint64(b, uint64(shown[0]))
		if le.PutUint32(b[8:], uint32(shown[1])); wideNanos {
			le.PutUint64(b[8:], uint64(shown[1]))
		}
	}
	return changed
}
