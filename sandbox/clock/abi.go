package clock

// abi is how programs of one architecture ask the time. A call that it does not
// have is 0, which on each of them is another call than the field's.
type abi struct {
	arch uint32 // as in audit.h
	// wide tells of 64-bit registers and times; else both have 32 bits.
	wide bool
	// The calls that tell the time.
	clockGettime, clockGettime64, gettimeofday, time uint32
	// The calls that wait for it, where deadlines are translated.
	futex, clockNanosleep uint32
	// The calls that tell the times of a file; 0 for all where those stay as they are.
	stat, fstat, lstat, newfstatat, statx uint32
}

// asked says what a call wants, by number.
func (a *abi) asked(call uint32) answerKind {
	switch call {
	case 0:
		return answerNothing
	case a.clockGettime:
		if a.wide {
			return answerTimespec64
		}
		return answerTimespec32
	case a.clockGettime64:
		return answerTimespec64
	case a.gettimeofday:
		if a.wide {
			return answerTimeval64
		}
		return answerTimeval32
	case a.time:
		if a.wide {
			return answerTime64
		}
		return answerTime32
	}
	return answerNothing
}

// abiOf finds the architecture that a call was made by.
func abiOf(arch uint32) *abi {
	for i := range abis {
		if abis[i].arch == arch {
			return &abis[i]
		}
	}
	return nil
}
