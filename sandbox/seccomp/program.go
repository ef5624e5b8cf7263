package seccomp

import "golang.org/x/sys/unix"

// Program is the filter of every command.
func Program() []unix.SockFilter { return compile(false) }

// SupervisorProgram is the filter of a first process that shows its command
// another clock; the command must get Program before it starts.
func SupervisorProgram() []unix.SockFilter { return compile(true) }

// Offsets in struct seccomp_data, of little-endian machines.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16 // 8 bytes each
)

// What the filter answers; errors are in the low half.
const (
	answerAllow  = uint32(unix.SECCOMP_RET_ALLOW)
	answerKill   = uint32(unix.SECCOMP_RET_KILL_PROCESS)
	answerEPERM  = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
	answerENOSYS = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
)

// compile makes a binary search over the steps. What it decides by the number
// alone, kernels since 5.11 find out once and then do not run it for.
func compile(supervisor bool) []unix.SockFilter {
	p := program{}
	p.load(offsetArch)
	p.jump(unix.BPF_JEQ, nativeArch, 1, 0)
	p.answer(answerKill)
	p.load(offsetCall)
	return append(p, search(steps(supervisor))...)
}

// search finds the step of the loaded number: it is at or after the middle one, or before.
func search(s []step) program {
	if len(s) == 1 {
		return s[0].answer()
	}
	middle := len(s) / 2
	before, after := search(s[:middle]), search(s[middle:])
	p := program{}
	if len(before) <= maxJump {
		p.jump(unix.BPF_JGE, s[middle].first, uint8(len(before)), 0)
	} else {
		p.jump(unix.BPF_JGE, s[middle].first, 0, 1)
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(before))})
	}
	return append(append(p, before...), after...)
}

func (s step) answer() program {
	p := program{}
	switch {
	case s.kill:
		p.answer(answerKill)
	case s.decision == Allowed:
		p.answer(answerAllow)
	case s.decision == Denied:
		p.answer(answerEPERM)
	case s.decision == Judged:
		p.judge(judgements[s.judged])
	default:
		p.answer(answerENOSYS)
	}
	return p
}

// judge tries the cases in their order.
func (p *program) judge(j Judgement) {
	matched, other := answerAllow, answerEPERM
	if j.Deny {
		matched, other = other, matched
	}
	for _, conditions := range j.Cases {
		c := program{}
		// From the last: each that fails leaves what follows it behind.
		c.answer(matched)
		for i := len(conditions) - 1; i >= 0; i-- {
			test := program{}
			test.load(offsetArgs + 8*conditions[i].Arg)
			if conditions[i].Mask != whole {
				test = append(test, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: conditions[i].Mask})
			}
			test.jump(unix.BPF_JEQ, conditions[i].Value, 0, uint8(len(c)))
			c = append(test, c...)
		}
		*p = append(*p, c...)
	}
	p.answer(other)
}

// maxJump is how far a conditional jump reaches.
const maxJump = 255

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
