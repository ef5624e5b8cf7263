//go:build itest

package profile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gavel/sandbox/seccomp"
)

// insideContainer tells the test binary that it is the command of a container.
const insideContainer = "GAVEL_TEST_INSIDE_CONTAINER"

func TestMain(m *testing.M) {
	if os.Getenv(insideContainer) != "" {
		probe()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// probe makes every call that must not reach the kernel, and some that must, and
// prints each that answers otherwise. The arguments are such that the kernel's own
// answer to an unprivileged caller would mostly be another.
func probe() {
	complain := func(name string, got unix.Errno, want uint) {
		if uint(got) != want {
			fmt.Printf("%s answers %d, want %d\n", name, uint(got), want)
		}
	}
	for n, d := range seccomp.Calls(false) {
		want := uint(unix.EPERM)
		if d == seccomp.Absent {
			want = uint(unix.ENOSYS)
		}
		if d != seccomp.Denied && d != seccomp.Absent {
			continue
		}
		_, _, got := unix.RawSyscall(uintptr(n), 0, 0, 0)
		if got != unix.ENOSYS { // which a denied call also answers where the runtime's library is older than it
			complain(names[n], got, want)
		}
	}
	_, _, got := unix.RawSyscall(600, 0, 0, 0)
	complain("a call of the future", got, uint(unix.ENOSYS))
	for _, c := range []struct {
		name       string
		call, a, b uintptr
		c          uintptr
		want       unix.Errno
	}{
		{"socket ALG", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0, unix.EPERM},
		{"socket VSOCK", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0, unix.EPERM},
		{"socket audit", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT, unix.EPERM},
		{"socket route", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, 0},
		{"socket local", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0, 0},
		{"socket IPv4", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0, 0},
		{"ioctl TIOCSTI", unix.SYS_IOCTL, ^uintptr(0), unix.TIOCSTI, 0, unix.EPERM},
		{"ioctl TIOCSTI with high bits", unix.SYS_IOCTL, ^uintptr(0), 1<<32 | unix.TIOCSTI, 0, unix.EPERM},
		{"ioctl TCGETS", unix.SYS_IOCTL, ^uintptr(0), unix.TCGETS, 0, unix.EBADF},
		{"fcntl lease", unix.SYS_FCNTL, ^uintptr(0), unix.F_SETLEASE, unix.F_RDLCK, unix.EPERM},
		{"fcntl larger pipe", unix.SYS_FCNTL, ^uintptr(0), unix.F_SETPIPE_SZ, 1 << 20, unix.EPERM},
		{"fcntl flags", unix.SYS_FCNTL, ^uintptr(0), unix.F_GETFD, 0, unix.EBADF},
		{"personality executable data", unix.SYS_PERSONALITY, 0x400000, 0, 0, unix.EPERM},
		{"personality fixed addresses", unix.SYS_PERSONALITY, 0x40000, 0, 0, 0},
		{"personality asked", unix.SYS_PERSONALITY, 0xffffffff, 0, 0, 0},
		{"clone into a namespace", unix.SYS_CLONE, unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD), 0, 0, unix.EPERM},
	} {
		_, _, got := unix.RawSyscall(c.call, c.a, c.b, c.c)
		complain(c.name, got, uint(c.want))
	}
	fmt.Println("probed")
}

// onePureHierarchy starts its arguments without the second hierarchy of a machine
// with both, of which crun refuses to run on one. Of cgroups this test wants nothing.
const onePureHierarchy = `umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"`

// Runtimes translate the profile with a library of their own; the probe inside
// says what came of it.
func TestRuntimesFilterAsTheProgramDoes(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			path, err := exec.LookPath(runtime)
			if err != nil {
				t.Fatalf("%s is needed: apt install %s", runtime, runtime)
			}
			bundle := t.TempDir()
			writeBundle(t, bundle)
			state := t.TempDir()
			name := fmt.Sprintf("gavel-profile-%s-%d", runtime, os.Getpid())
			out, err := exec.Command("unshare", "--mount", "sh", "-c", onePureHierarchy, path, "--root", state, "run", "-b", bundle, name).CombinedOutput()
			if err != nil || string(out) != "probed\n" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func writeBundle(t *testing.T, bundle string) {
	t.Helper()
	root := filepath.Join(bundle, "root")
	for _, d := range []string{"proc", "dev", "bin"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "test", "-c", "-tags", "itest", "-o", filepath.Join(root, "bin", "probe"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // the container has no libraries
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the probe: %v: %s", err, out)
	}
	config := specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Args: []string{"/bin/probe"}, Env: []string{insideContainer + "=1"}, Cwd: "/", NoNewPrivileges: true,
			User: specs.User{UID: 65534, GID: 65534},
		},
		Root:   &specs.Root{Path: "root", Readonly: true},
		Mounts: []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}},
			Seccomp:    OCI(false),
		},
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("SCMP_CMP_MASKED_EQ")) || strings.Contains(string(b), `"names":null`) {
		t.Fatal("the profile lacks its rules")
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
}
