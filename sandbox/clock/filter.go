package clock

import "golang.org/x/sys/unix"

// Offsets in struct seccomp_data, of little-endian machines. An argument's low
// half comes first.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16
)

// futex operations with an absolute time of CLOCK_REALTIME: those with this flag, and
// the oldest lock. The others count from now, or by the monotonic clock.
const (
	futexRealtime  = 0x100
	futexLockPI    = 6
	futexOperation = 0x7f
)

// timeOfDayClocks are those of clock_gettime that tell the time of day.
var timeOfDayClocks = []uint32{unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_REALTIME_ALARM, unix.CLOCK_TAI}

// notifyFilter is the program that tells calls which tell, or wait for, the time
// of day, or tell the times of files, from all others. It decides nothing but that: a filter that refuses a call outranks it.
func notifyFilter() []unix.SockFilter {
	var p program
	for i := range abis {
		block := abis[i].filter()
		p.load(offsetArch)
		// A jump's target is at most 255 instructions away.
		p.jump(unix.BPF_JEQ, abis[i].arch, 0, uint8(len(block)))
		p = append(p, block...)
	}
	p.answer(unix.SECCOMP_RET_ALLOW)
	return p
}

// filter is the part for one architecture; it always ends in an answer.
func (a *abi) filter() program {
	var p program
	for _, call := range []uint32{a.clockGettime, a.clockGettime64} {
		p.forCall(call, func(p *program) {
			p.load(offsetArgs)
			for _, id := range timeOfDayClocks {
				p.ifEqual(id, unix.SECCOMP_RET_USER_NOTIF)
			}
		})
	}
	for _, call := range []uint32{a.gettimeofday, a.time} {
		p.forCall(call, func(p *program) { p.answer(unix.SECCOMP_RET_USER_NOTIF) })
	}
	p.forCall(a.clockNanosleep, func(p *program) { // clock, flags
		p.load(offsetArgs + 8)
		p.unlessAnyBit(unix.TIMER_ABSTIME, unix.SECCOMP_RET_ALLOW)
		p.load(offsetArgs)
		for _, id := range timeOfDayClocks {
			p.ifEqual(id, unix.SECCOMP_RET_TRACE)
		}
	})
	p.forCall(a.futex, func(p *program) { // word, operation, value, time
		// Nearly all have no time; neither half of its address is set.
		p.load(offsetArgs + 3*8)
		p.jump(unix.BPF_JEQ, 0, 0, 3)
		p.load(offsetArgs + 3*8 + 4)
		p.jump(unix.BPF_JEQ, 0, 0, 1)
		p.answer(unix.SECCOMP_RET_ALLOW)
		p.load(offsetArgs + 8)
		p.ifAnyBit(futexRealtime, unix.SECCOMP_RET_TRACE)
		*p = append(*p, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: futexOperation})
		p.ifEqual(futexLockPI, unix.SECCOMP_RET_TRACE)
	})
	for _, call := range []uint32{a.stat, a.fstat, a.lstat, a.newfstatat, a.statx} {
		p.forCall(call, func(p *program) { p.answer(unix.SECCOMP_RET_TRACE) })
	}
	p.answer(unix.SECCOMP_RET_ALLOW)
	return p
}

// program is a filter under construction.
type program []unix.SockFilter

func (p *program) load(offset uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (p *program) answer(a uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: a})
}

func (p *program) jump(test uint16, k uint32, ifTrue, ifFalse uint8) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, K: k, Jt: ifTrue, Jf: ifFalse})
}

func (p *program) ifEqual(k, a uint32)      { p.jump(unix.BPF_JEQ, k, 0, 1); p.answer(a) }
func (p *program) ifAnyBit(k, a uint32)     { p.jump(unix.BPF_JSET, k, 0, 1); p.answer(a) }
func (p *program) unlessAnyBit(k, a uint32) { p.jump(unix.BPF_JSET, k, 1, 0); p.answer(a) }

// forCall is what to do for one call; what body does not answer is allowed.
func (p *program) forCall(call uint32, body func(*program)) {
	if call == 0 { // not of this architecture
		return
	}
	var b program
	body(&b)
	b.answer(unix.SECCOMP_RET_ALLOW)
	p.load(offsetCall)
	p.jump(unix.BPF_JEQ, call, 0, uint8(len(b)))
	*p = append(*p, b...)
}
