package clock

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// A wait until a time of day stops before the kernel sees it, by the filter. The
// tracer then writes the translated time below the thread's stack, lets the call
// take it from there, and gives the thread its own argument back when the call
// ends: a register that a call must not change, so it cannot stay changed. The
// time is not translated in place, because threads may share it.

// belowStack is how far below the stack pointer the translated time lies: under the
// 128 bytes that amd64 lets leaf functions use, where signal frames may come too.
const belowStack = 128 + 16

// wait is a thread's own argument while it waits, and the register that it belongs in.
type wait struct {
	register int
	own      uint64
}

// translate gives the wait of the thread whose registers are read the machine's time;
// false leaves it as it is.
func (t *Tree) translate(pid int) bool {
	r := &t.registers
	var argument int
	switch r.word(wideCall) {
	case unix.SYS_FUTEX: // word, operation, value, time
		argument = 3
	case unix.SYS_CLOCK_NANOSLEEP: // clock, flags, time
		argument = 2
	default:
		return false
	}
	var b [16]byte
	own := r.word(wideArgument[argument])
	if n, errno := t.reach.of(pid).read(own, b[:]); errno != 0 || n != len(b) {
		return false
	}
	le := binary.LittleEndian
	seconds, nanos := t.face.now()
	real := time.Now()
	moment, ok := inMachineTime([2]int64{int64(le.Uint64(b[:])), int64(le.Uint64(b[8:]))}, [2]int64{seconds, nanos}, [2]int64{real.Unix(), int64(real.Nanosecond())})
	if !ok {
		return false
	}
	le.PutUint64(b[:], uint64(moment[0]))
	le.PutUint64(b[8:], uint64(moment[1]))
	stack, _ := r.stack()
	below := (stack - belowStack) &^ 15
	if t.reach.of(pid).write(below, b[:]) != 0 {
		return false
	}
	r.setWord(wideArgument[argument], below)
	if r.set(pid) != 0 {
		return false
	}
	t.waits[pid] = wait{wideArgument[argument], own}
	return true
}

// restore gives the thread, whose registers are read, its own argument back.
func (t *Tree) restore(pid int, kept wait) {
	delete(t.waits, pid)
	t.registers.setWord(kept.register, kept.own)
	_ = t.registers.set(pid) // ESRCH: it was killed
}

func (r *registers) word(i int) uint64       { return binary.LittleEndian.Uint64(r.bytes[8*i:]) }
func (r *registers) setWord(i int, v uint64) { binary.LittleEndian.PutUint64(r.bytes[8*i:], v) }

// stack is the stack pointer, and the size of a word.
func (r *registers) stack() (pointer, wordBytes uint64) {
	if r.wide() {
		return r.word(wideStack), 8
	}
	return uint64(binary.LittleEndian.Uint32(r.bytes[4*narrowStack:])), 4
}
