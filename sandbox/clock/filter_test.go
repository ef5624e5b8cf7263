package clock

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// interpret runs a filter over one call, as the kernel would (networking/filter:
// classic BPF), for the instructions that this package uses.
func interpret(t *testing.T, f []unix.SockFilter, arch, call uint32, args [6]uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[offsetCall:], call)
	binary.LittleEndian.PutUint32(data[offsetArch:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[offsetArgs+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(f); pc++ {
		i := f[pc]
		taken := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= i.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = acc == i.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			taken = acc&i.K != 0
		default:
			t.Fatalf("instruction %d has unknown code %#x", pc, i.Code)
		}
		if taken {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
	t.Fatal("the filter runs past its end")
	return 0
}

func TestFilterAnswers(t *testing.T) {
	const (
		allow  = unix.SECCOMP_RET_ALLOW
		notify = unix.SECCOMP_RET_USER_NOTIF
		trace  = unix.SECCOMP_RET_TRACE

		waitBitset, realtime = 9, futexRealtime
		private, lockPI      = 128, futexLockPI
	)
	wide, narrow := abis[0], abis[1]
	f := notifyFilter()
	if len(f) > 4096 {
		t.Errorf("%d instructions", len(f))
	}
	for _, c := range []struct {
		name       string
		arch, call uint32
		args       [6]uint64
		want       uint32
	}{
		{"realtime", wide.arch, wide.clockGettime, [6]uint64{unix.CLOCK_REALTIME}, notify},
		{"coarse", wide.arch, wide.clockGettime, [6]uint64{unix.CLOCK_REALTIME_COARSE}, notify},
		{"tai", wide.arch, wide.clockGettime, [6]uint64{unix.CLOCK_TAI}, notify},
		{"high half of a clock", wide.arch, wide.clockGettime, [6]uint64{7<<32 | unix.CLOCK_REALTIME}, notify},
		{"monotonic", wide.arch, wide.clockGettime, [6]uint64{unix.CLOCK_MONOTONIC}, allow},
		{"raw", wide.arch, wide.clockGettime, [6]uint64{unix.CLOCK_MONOTONIC_RAW}, allow},
		{"boot", wide.arch, wide.clockGettime, [6]uint64{unix.CLOCK_BOOTTIME}, allow},
		{"of the process", wide.arch, wide.clockGettime, [6]uint64{unix.CLOCK_PROCESS_CPUTIME_ID}, allow},
		{"of another's", wide.arch, wide.clockGettime, [6]uint64{^uint64(0) - 5}, allow},
		{"gettimeofday", wide.arch, wide.gettimeofday, [6]uint64{1}, notify},
		{"read", wide.arch, unix.SYS_READ, [6]uint64{0, 0, 0}, allow},
		{"stat by name", wide.arch, wide.newfstatat, [6]uint64{}, trace},
		{"stat by descriptor", wide.arch, wide.fstat, [6]uint64{}, trace},
		{"statx", wide.arch, wide.statx, [6]uint64{}, trace},
		{"getdents", wide.arch, unix.SYS_GETDENTS64, [6]uint64{}, allow},
		{"32-bit call of the number of statx", narrow.arch, wide.statx, [6]uint64{}, allow},
		{"32-bit", narrow.arch, narrow.clockGettime, [6]uint64{unix.CLOCK_REALTIME}, notify},
		{"32-bit with 64-bit times", narrow.arch, narrow.clockGettime64, [6]uint64{unix.CLOCK_REALTIME}, notify},
		{"32-bit monotonic", narrow.arch, narrow.clockGettime64, [6]uint64{unix.CLOCK_MONOTONIC}, allow},
		{"32-bit gettimeofday", narrow.arch, narrow.gettimeofday, [6]uint64{1}, notify},
		{"unknown architecture", 1, wide.clockGettime, [6]uint64{unix.CLOCK_REALTIME}, allow},
		{"wait until", wide.arch, wide.futex, [6]uint64{8, waitBitset | realtime | private, 0, 8}, trace},
		{"wait until, high address", wide.arch, wide.futex, [6]uint64{8, waitBitset | realtime, 0, 1 << 32}, trace},
		{"wait without end", wide.arch, wide.futex, [6]uint64{8, waitBitset | realtime, 0, 0}, allow},
		{"wait by the monotonic clock", wide.arch, wide.futex, [6]uint64{8, waitBitset | private, 0, 8}, allow},
		{"wake", wide.arch, wide.futex, [6]uint64{8, 1, 1, 8}, allow},
		{"lock until", wide.arch, wide.futex, [6]uint64{8, lockPI | private, 0, 8}, trace},
		{"sleep until", wide.arch, wide.clockNanosleep, [6]uint64{unix.CLOCK_REALTIME, unix.TIMER_ABSTIME, 8}, trace},
		{"sleep", wide.arch, wide.clockNanosleep, [6]uint64{unix.CLOCK_REALTIME, 0, 8}, allow},
		{"sleep by the monotonic clock", wide.arch, wide.clockNanosleep, [6]uint64{unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, 8}, allow},
	} {
		if got := interpret(t, f, c.arch, c.call, c.args); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	for _, a := range abis {
		if a.time == 0 {
			continue
		}
		if got := interpret(t, f, a.arch, a.time, [6]uint64{}); got != notify {
			t.Errorf("time: %#x", got)
		}
	}
}

func TestAnswersHaveTheirForm(t *testing.T) {
	const seconds, nanos = 0x1_8000_0005, 123_456_789
	le := binary.LittleEndian
	for kind, want := range map[answerKind][]byte{
		answerTimespec64: le.AppendUint64(le.AppendUint64(nil, seconds), nanos),
		answerTimespec32: le.AppendUint32(le.AppendUint32(nil, seconds&0xffffffff), nanos),
		answerTimeval64:  le.AppendUint64(le.AppendUint64(nil, seconds), nanos/1000),
		answerTimeval32:  le.AppendUint32(le.AppendUint32(nil, seconds&0xffffffff), nanos/1000),
		answerTime64:     le.AppendUint64(nil, seconds),
		answerTime32:     le.AppendUint32(nil, seconds&0xffffffff),
	} {
		got, result := kind.append(nil, seconds, nanos)
		if string(got) != string(want) {
			t.Errorf("kind %d: %x, want %x", kind, got, want)
		}
		if wantResult := map[answerKind]int64{answerTime64: seconds, answerTime32: -0x7ffffffb}[kind]; result != wantResult {
			t.Errorf("kind %d: result %d, want %d", kind, result, wantResult)
		}
	}
}
