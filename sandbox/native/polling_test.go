package native

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
	"gavel/sandbox/sandboxtest"
)

// holdMemory makes this test binary a command that fills 128 MiB of a kind and
// waits until it is noticed.
const holdMemory = "GAVEL_TEST_HOLD_MEMORY"

// kinds of memory that no process's own size has.
var kinds = map[string]func() ([]byte, error){
	"segment": func() ([]byte, error) {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, heldBytes, 0o600)
		if err != nil {
			return nil, err
		}
		return unix.SysvShmAttach(id, 0, 0)
	},
	"mapping": func() ([]byte, error) {
		return unix.Mmap(-1, 0, heldBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	},
	"nameless file": func() ([]byte, error) {
		fd, err := unix.MemfdCreate("x", 0)
		if err == nil {
			err = unix.Ftruncate(fd, heldBytes)
		}
		if err != nil {
			return nil, err
		}
		return unix.Mmap(fd, 0, heldBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	},
	"hidden mapping": func() ([]byte, error) {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return nil, err
		}
		return unix.Mmap(-1, 0, heldBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	},
}

// unmapped are kinds of memory that nobody maps.
var unmapped = map[string]func(bytes int) error{
	"written nameless file": func(n int) error {
		fd, err := unix.MemfdCreate("x", 0)
		if err != nil {
			return err
		}
		for b := make([]byte, 1<<20); n > 0; n -= len(b) {
			if _, err := unix.Write(fd, b); err != nil {
				return err
			}
		}
		return nil
	},
	"sockets": func(n int) error {
		for b := make([]byte, 1<<16); n > 0; {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			for _, fd := range pair {
				for m := 0; err == nil; n -= max(m, 0) {
					m, err = unix.Write(fd, b)
				}
				err = nil
			}
		}
		return nil
	},
	"messages": func(n int) error {
		message := make([]byte, 8+8192)
		message[0] = 1
		for n > 0 {
			id, _, errno := unix.Syscall(unix.SYS_MSGGET, unix.IPC_PRIVATE, 0o600|unix.IPC_CREAT, 0)
			for ; errno == 0; n -= 8192 {
				_, _, errno = unix.Syscall6(unix.SYS_MSGSND, id, uintptr(unsafe.Pointer(&message[0])), 8192, unix.IPC_NOWAIT, 0, 0)
			}
			if errno != unix.EAGAIN {
				return errno
			}
		}
		return nil
	},
	"empty files": func(n int) error {
		for i := range n / 1000 {
			fd, err := unix.Open("/tmp/"+strconv.Itoa(i), unix.O_CREAT|unix.O_WRONLY, 0o600)
			if err == unix.ENOSPC { // no more may be made
				break
			}
			if err != nil {
				return err
			}
			unix.Close(fd)
		}
		return nil
	},
}

// mapOutput maps a file in the working directory.
func mapOutput() ([]byte, error) {
	f, err := os.Create("out")
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(heldBytes); err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, heldBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

const heldBytes = 128 << 20

func beHolder(kind string) {
	fill := kinds[kind]
	if take := unmapped[kind]; take != nil {
		fill = func() ([]byte, error) { return nil, take(heldBytes) }
	} else if fill == nil {
		fill = mapOutput
	}
	b, err := fill()
	if err == nil {
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		if kind == "segment" { // it outlives those that are attached to it
			err = unix.SysvShmDetach(b)
		}
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(2)
	}
	time.Sleep(10 * time.Second) // until it is noticed
	os.Exit(0)
}

// withoutCgroups is a runner as on a machine that refuses them.
func withoutCgroups(t testing.TB, c Config) *Runner {
	t.Helper()
	r := openRunner(t, c)
	if err := r.dropSpare(); err != nil {
		t.Error(err)
	}
	if r.cgroups != nil {
		if err := r.cgroups.close(); err != nil {
			t.Error(err)
		}
		r.cgroups = nil
	}
	return r
}

// The contract holds as well where memory is polled.
func TestContractWithoutCgroups(t *testing.T) {
	t.Parallel()
	sandboxtest.Contract(t, sandboxtest.Config{
		New:             func(t testing.TB) sandbox.Runner { return withoutCgroups(t, Config{ScratchDir: t.TempDir()}) },
		Root:            sandbox.HostRoot,
		PathTail:        findGoroot(os.Getenv).pathTail(),
		ForeignRoot:     "sha256:" + strings.Repeat("0", 64),
		ForeignRootSays: "needs a worker started with --sandbox docker",
		Leftovers:       func(t testing.TB) []string { return nil },
	})
}

// hold runs beHolder until it is killed, or waited in vain.
func hold(t *testing.T, r *Runner, kind string, limit, timeMillis int64) sandbox.Result {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	inputs := t.TempDir()
	if err := os.WriteFile(filepath.Join(inputs, "hold"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	res, err := r.Run(context.Background(), sandbox.Spec{
		Root: sandbox.HostRoot, Argv: []string{"./hold"}, Env: []string{holdMemory + "=" + kind}, InputDir: inputs, OutputDir: t.TempDir(), Log: os.Stderr,
		Limits: sandbox.Limits{MemoryBytes: limit, TimeMillis: timeMillis},
	})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestSharedMemoryCounts(t *testing.T) {
	for name, r := range map[string]*Runner{"as the machine has it": openRunner(t, Config{ScratchDir: t.TempDir()}), "polled": withoutCgroups(t, Config{ScratchDir: t.TempDir()})} {
		for _, kind := range slices.Concat(slices.Collect(maps.Keys(kinds)), slices.Collect(maps.Keys(unmapped))) {
			if res := hold(t, r, kind, heldBytes/2, 60_000); res.Status != sandbox.OOM {
				t.Errorf("%s %s: %+v", name, kind, res)
			}
		}
		if res := hold(t, r, "mapping", 2*heldBytes, 2000); res.Status != sandbox.Timeout {
			t.Errorf("%s, below its limit: %+v", name, res)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What programs map of their own outputs is written once, and counts once.
func TestMappedOutputsCountOnce(t *testing.T) {
	r := withoutCgroups(t, Config{ScratchDir: t.TempDir()})
	defer r.Close()
	if res := hold(t, r, "output", heldBytes*3/2, 2000); res.Status != sandbox.Timeout {
		t.Errorf("%+v", res)
	}
}
