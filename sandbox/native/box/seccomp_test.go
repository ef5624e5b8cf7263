package box

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// interpret runs a classic BPF program over one call, as the kernel would
// (networking/filter: classic BPF), for the instructions that the filter uses.
func interpret(t *testing.T, f []unix.SockFilter, call, arch uint32, args [6]uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], call)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(f); pc++ {
		i := f[pc]
		taken := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[i.K:])
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
	t.Fatal("the program runs past its end")
	return 0
}

func TestFilterAnswers(t *testing.T) {
	const otherArch = nativeArch ^ 1
	f := systemCallFilter()
	for _, c := range []struct {
		name       string
		call, arch uint32
		arg0, arg1 uint64
		want       uint32
	}{
		{"read", unix.SYS_READ, nativeArch, 0, 0, answerAllow},
		{"execve", unix.SYS_EXECVE, nativeArch, 0, 0, answerAllow},
		{"mount", unix.SYS_MOUNT, nativeArch, 0, 0, answerEPERM},
		{"unshare", unix.SYS_UNSHARE, nativeArch, 0, 0, answerEPERM},
		{"ptrace", unix.SYS_PTRACE, nativeArch, 0, 0, answerEPERM},
		{"bpf", unix.SYS_BPF, nativeArch, 0, 0, answerEPERM},
		{"clone3", unix.SYS_CLONE3, nativeArch, 0, 0, answerENOSYS},
		{"fork", unix.SYS_CLONE, nativeArch, uint64(unix.SIGCHLD), 0, answerAllow},
		{"thread", unix.SYS_CLONE, nativeArch, unix.CLONE_VM | unix.CLONE_THREAD, 0, answerAllow},
		{"clone into user namespace", unix.SYS_CLONE, nativeArch, unix.CLONE_NEWUSER | uint64(unix.SIGCHLD), 0, answerEPERM},
		{"clone into mount namespace", unix.SYS_CLONE, nativeArch, unix.CLONE_NEWNS, 0, answerEPERM},
		{"TIOCSTI", unix.SYS_IOCTL, nativeArch, 0, unix.TIOCSTI, answerEPERM},
		{"TIOCSTI with high bits", unix.SYS_IOCTL, nativeArch, 0, 1<<32 | unix.TIOCSTI, answerEPERM},
		{"TIOCLINUX", unix.SYS_IOCTL, nativeArch, 0, unix.TIOCLINUX, answerEPERM},
		{"TCGETS", unix.SYS_IOCTL, nativeArch, 0, unix.TCGETS, answerAllow},
		{"another architecture", unix.SYS_READ, otherArch, 0, 0, answerKill},
	} {
		if got := interpret(t, f, c.call, c.arch, [6]uint64{c.arg0, c.arg1}); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	for _, calls := range [][]uint32{deniedCalls, nativeDeniedCalls} {
		for _, n := range calls {
			if got := interpret(t, f, n, nativeArch, [6]uint64{}); got != answerEPERM {
				t.Errorf("call %d: %#x, want EPERM", n, got)
			}
		}
	}
	if foreignCallBit != 0 {
		if got := interpret(t, f, foreignCallBit|unix.SYS_READ, nativeArch, [6]uint64{}); got != answerKill {
			t.Errorf("x32: %#x, want kill", got)
		}
	}
}
