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

// callNumbers is above every number on the lists.
const callNumbers = 512

// step is what is decided from its first number to the next step's.
type step struct {
	first     uint32
	decision  Decision
	judgement *Judgement // of Judged
	kill      bool       // the numbers are another architecture's
}

// steps are the decisions on all numbers. It allocates little, because every
// command waits for it.
func steps(supervisor bool) []step {
	var decided [callNumbers]Decision // Absent where no list has the number
	for _, l := range lists(supervisor) {
		for _, n := range l.calls {
			decided[n] = l.decision
		}
	}
	for _, j := range judgements {
		decided[j.Call] = Judged
	}
	found := make([]step, 0, callNumbers/2)
	for n, d := range decided {
		switch {
		case d == Judged:
			found = append(found, step{first: uint32(n), decision: d, judgement: judgementOf(uint32(n))})
		case n == 0 || decided[n-1] != d:
			found = append(found, step{first: uint32(n), decision: d})
		}
	}
	if foreignCalls > 0 {
		// The last number is -1, which stands for no call in any architecture.
		found = append(found, step{first: foreignCalls, kill: true}, step{first: ^uint32(0)})
	}
	return found
}

func judgementOf(call uint32) *Judgement {
	for i := range judgements {
		if judgements[i].Call == call {
			return &judgements[i]
		}
	}
	return nil
}

// compile makes a binary search over the steps. What it decides by the number
// alone, kernels since 5.11 find out once and then do not run it for.
func compile(supervisor bool) []unix.SockFilter {
	p := make(program, 0, 2*callNumbers)
	p.load(offsetArch)
	p.jump(unix.BPF_JEQ, nativeArch, 1, 0)
	p.answer(answerKill)
	p.load(offsetCall)
	p.search(steps(supervisor))
	return p
}

// nearSteps take fewer instructions than a conditional jump can leave behind.
const nearSteps = 8

// search finds the step of the loaded number: it is at or after the middle one, or before.
func (p *program) search(s []step) {
	if len(s) == 1 {
		p.decide(s[0])
		return
	}
	middle := len(s) / 2
	jump := len(*p)
	if middle <= nearSteps {
		p.jump(unix.BPF_JGE, s[middle].first, 0, 0)
		p.search(s[:middle])
		(*p)[jump].Jt = uint8(len(*p) - jump - 1)
	} else {
		p.jump(unix.BPF_JGE, s[middle].first, 0, 1)
		jump++
		*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA})
		p.search(s[:middle])
		(*p)[jump].K = uint32(len(*p) - jump - 1)
	}
	p.search(s[middle:])
}

func (p *program) decide(s step) {
	switch {
	case s.kill:
		p.answer(answerKill)
	case s.decision == Allowed:
		p.answer(answerAllow)
	case s.decision == Denied:
		p.answer(answerEPERM)
	case s.decision == Judged:
		p.judge(s.judgement)
	default:
		p.answer(answerENOSYS)
	}
}

// judge tries the cases in their order.
func (p *program) judge(j *Judgement) {
	matched, other := answerAllow, answerEPERM
	if j.Deny {
		matched, other = other, matched
	}
	for _, conditions := range j.Cases {
		var failing [maxConditions]int // jumps to the next case
		for i, c := range conditions {
			p.load(offsetArgs + 8*c.Arg)
			if c.Mask != whole {
				*p = append(*p, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: c.Mask})
			}
			failing[i] = len(*p)
			p.jump(unix.BPF_JEQ, c.Value, 0, 0)
		}
		p.answer(matched)
		for _, jump := range failing[:len(conditions)] {
			(*p)[jump].Jf = uint8(len(*p) - jump - 1)
		}
	}
	p.answer(other)
}

// maxConditions is of one case.
const maxConditions = 2

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
