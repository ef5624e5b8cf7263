package seccomp

import (
	"encoding/binary"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// interpret runs a classic BPF program over one call, as the kernel would
// (networking/filter: classic BPF), for the instructions that the filter uses.
func interpret(t *testing.T, f []unix.SockFilter, call, arch uint32, args [6]uint64) (answer uint32, took int) {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], call)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(f); pc++ {
		took++
		i := f[pc]
		taken := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= i.K
			continue
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K, took
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = acc == i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = acc >= i.K
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
	return 0, 0
}

func TestProgramAnswersAsDecided(t *testing.T) {
	for name, supervisor := range map[string]bool{"command": false, "supervisor": true} {
		f, decided := Program(), Calls(supervisor)
		if supervisor {
			f = SupervisorProgram()
		}
		if len(f) > 400 { // the kernel takes 4096; this one is copied to every command
			t.Errorf("the %s's program has %d instructions", name, len(f))
		}
		longest := 0
		for n := range uint32(601) {
			got, took := interpret(t, f, n, nativeArch, [6]uint64{})
			longest = max(longest, took)
			if d := decided[n]; d != Judged && got != []uint32{answerENOSYS, answerEPERM, answerAllow}[d] {
				t.Errorf("%s: call %d is decided %d and answers %#x", name, n, d, got)
			}
			if got, _ := interpret(t, f, n, nativeArch^1, [6]uint64{}); got != answerKill {
				t.Errorf("%s: call %d of another architecture answers %#x", name, n, got)
			}
			if got, _ := interpret(t, f, foreignCalls|n, nativeArch, [6]uint64{}); foreignCalls > 0 && got != answerKill {
				t.Errorf("%s: foreign call %d answers %#x", name, n, got)
			}
		}
		if longest > 24 {
			t.Errorf("%s: a call takes %d instructions", name, longest)
		}
		for _, n := range []uint32{601, 1 << 29, ^uint32(0)} {
			if got, _ := interpret(t, f, n, nativeArch, [6]uint64{}); got != answerENOSYS {
				t.Errorf("%s: call %d answers %#x", name, n, got)
			}
		}
	}
}

// BenchmarkProgram is a part of every command's start.
func BenchmarkProgram(b *testing.B) {
	for b.Loop() {
		Program()
	}
}

func TestFilterAnswers(t *testing.T) {
	const high = 1 << 32 // a half that the kernel does not read
	args := func(a ...uint64) (all [6]uint64) { copy(all[:], a); return all }
	for _, c := range []struct {
		name                string
		call                uint32
		args                [6]uint64
		command, supervisor uint32
	}{
		{"read", unix.SYS_READ, args(), answerAllow, answerAllow},
		{"execve", unix.SYS_EXECVE, args(), answerAllow, answerAllow},
		{"mount", unix.SYS_MOUNT, args(), answerEPERM, answerEPERM},
		{"unshare", unix.SYS_UNSHARE, args(), answerEPERM, answerEPERM},
		{"bpf", unix.SYS_BPF, args(), answerEPERM, answerEPERM},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, args(), answerEPERM, answerEPERM},
		{"ptrace", unix.SYS_PTRACE, args(), answerEPERM, answerAllow},
		{"process_vm_readv", unix.SYS_PROCESS_VM_READV, args(), answerEPERM, answerAllow},
		{"clone3", unix.SYS_CLONE3, args(), answerENOSYS, answerENOSYS},
		{"fork", unix.SYS_CLONE, args(uint64(unix.SIGCHLD)), answerAllow, answerAllow},
		{"thread", unix.SYS_CLONE, args(unix.CLONE_VM | unix.CLONE_THREAD), answerAllow, answerAllow},
		{"clone into user namespace", unix.SYS_CLONE, args(unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)), answerEPERM, answerEPERM},
		{"clone into mount namespace", unix.SYS_CLONE, args(unix.CLONE_NEWNS), answerEPERM, answerEPERM},
		{"TIOCSTI", unix.SYS_IOCTL, args(0, unix.TIOCSTI), answerEPERM, answerEPERM},
		{"TIOCSTI with high bits", unix.SYS_IOCTL, args(0, high|unix.TIOCSTI), answerEPERM, answerEPERM},
		{"TIOCLINUX", unix.SYS_IOCTL, args(0, unix.TIOCLINUX), answerEPERM, answerEPERM},
		{"TCGETS", unix.SYS_IOCTL, args(0, unix.TCGETS), answerAllow, answerAllow},
		{"lease", unix.SYS_FCNTL, args(3, unix.F_SETLEASE, unix.F_WRLCK), answerEPERM, answerEPERM},
		{"lease with high bits", unix.SYS_FCNTL, args(3, high|unix.F_SETLEASE, unix.F_RDLCK), answerEPERM, answerEPERM},
		{"larger pipe", unix.SYS_FCNTL, args(3, unix.F_SETPIPE_SZ, 1<<20), answerEPERM, answerEPERM},
		{"lock of a file", unix.SYS_FCNTL, args(3, unix.F_SETLK), answerAllow, answerAllow},
		{"local socket", unix.SYS_SOCKET, args(unix.AF_UNIX, unix.SOCK_STREAM), answerAllow, answerAllow},
		{"IPv4 socket", unix.SYS_SOCKET, args(unix.AF_INET, unix.SOCK_STREAM, 6), answerAllow, answerAllow},
		{"IPv6 socket", unix.SYS_SOCKET, args(unix.AF_INET6, unix.SOCK_STREAM, 6), answerAllow, answerAllow},
		{"socket that lists interfaces", unix.SYS_SOCKET, args(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), answerAllow, answerAllow},
		{"socket that audits", unix.SYS_SOCKET, args(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT), answerEPERM, answerEPERM},
		{"socket of the kernel's ciphers", unix.SYS_SOCKET, args(unix.AF_ALG), answerEPERM, answerEPERM},
		{"socket to the virtual machine's host", unix.SYS_SOCKET, args(high | unix.AF_VSOCK), answerEPERM, answerEPERM},
		{"packet socket", unix.SYS_SOCKET, args(unix.AF_PACKET), answerEPERM, answerEPERM},
		{"pair of local sockets", unix.SYS_SOCKETPAIR, args(unix.AF_UNIX), answerAllow, answerAllow},
		{"pair of TIPC sockets", unix.SYS_SOCKETPAIR, args(unix.AF_TIPC), answerEPERM, answerEPERM},
		{"usual personality", unix.SYS_PERSONALITY, args(0), answerAllow, answerAllow},
		{"asked personality", unix.SYS_PERSONALITY, args(0xffffffff), answerAllow, answerAllow},
		{"setarch i686 -R", unix.SYS_PERSONALITY, args(0x8 | 0x40000), answerAllow, answerAllow},
		{"executable data", unix.SYS_PERSONALITY, args(0x400000), answerEPERM, answerEPERM},
		{"another system's personality", unix.SYS_PERSONALITY, args(1), answerEPERM, answerEPERM},
	} {
		if got, _ := interpret(t, Program(), c.call, nativeArch, c.args); got != c.command {
			t.Errorf("%s: a command gets %#x, want %#x", c.name, got, c.command)
		}
		if got, _ := interpret(t, SupervisorProgram(), c.call, nativeArch, c.args); got != c.supervisor {
			t.Errorf("%s: a supervisor gets %#x, want %#x", c.name, got, c.supervisor)
		}
	}
}

// Every call that x/sys knows is on exactly one list, so that an update of x/sys
// makes somebody decide about the new ones.
func TestEveryCallIsDecided(t *testing.T) {
	listed := make(map[uint32]int)
	for _, l := range [][]uint32{allowedCalls, nativeAllowedCalls, deniedCalls, nativeDeniedCalls, supervisorCalls, absentCalls} {
		for _, n := range l {
			listed[n]++
		}
	}
	for _, j := range judgements {
		listed[j.Call]++
	}
	for name, n := range knownCalls(t) {
		if n >= callNumbers {
			t.Errorf("%s (%d) is above the table's end", name, n)
		}
		if listed[n] != 1 {
			t.Errorf("%s (%d) is on %d lists; put it on one", name, n, listed[n])
		}
		delete(listed, n)
	}
	for n := range listed {
		t.Errorf("call %d is listed and x/sys does not know it", n)
	}
}

// knownCalls reads the constants of x/sys for this architecture.
func knownCalls(t *testing.T) map[string]uint32 {
	t.Helper()
	dir, err := build.Import("golang.org/x/sys/unix", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir.Dir, "zsysnum_linux_"+runtime.GOARCH+".go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]uint32)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		name, numbered := strings.CutPrefix(spec.Names[0].Name, "SYS_")
		if value, ok := spec.Values[0].(*ast.BasicLit); ok && numbered {
			number, err := strconv.ParseUint(value.Value, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			known[name] = uint32(number)
		}
		return true
	})
	if len(known) < 300 {
		t.Fatalf("found %d calls in x/sys", len(known))
	}
	return known
}
