//go:build itest

package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gavel/sandbox"
)

func TestOwnersAreShifted(t *testing.T) {
	owned := func(e entry, uid, gid int, mode int64) entry {
		e.Uid, e.Gid, e.Mode = uid, gid, mode
		return e
	}
	// cap_net_raw=ep, as setcap writes it.
	capabilities := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	root, err := unpacked(t, Options{Shift: 300_000}, []entry{
		owned(dir("."), 5, 6, 0o711), owned(file("su", "x"), 0, 0, 0o4755), owned(dir("d"), 65535, 1000, 0o2770),
		owned(symlink("s", "su"), 7, 8, 0o777), file("implied/f", ""), withXattrs(owned(file("ping", "x"), 0, 50, 0o755), capability, capabilities),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"": "300005 300006 711", "su": "300000 300000 4755", "d": "365535 301000 2770", "s": "300007 300008 777",
		"implied": "300000 300000 755", "ping": "300000 300050 755",
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d %d %o", st.Uid, st.Gid, st.Mode&0o7777); got != want {
			t.Errorf("%q has %s, want %s", name, got, want)
		}
	}
	if got := xattrs(t, filepath.Join(root, "ping")); got != capability+"="+capabilities {
		t.Errorf("capabilities %q", got)
	}
}

// The same tests must hold for a user without any rights.
func TestWithoutRoot(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Where everybody may run it.
	place, err := os.MkdirTemp("/tmp", "gavel-rootfs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(place)
	program, temp := filepath.Join(place, "test"), filepath.Join(place, "tmp")
	if b, err := os.ReadFile(self); err != nil || os.WriteFile(program, b, 0o755) != nil || os.Chmod(place, 0o755) != nil || os.Mkdir(temp, 0o755) != nil || os.Chown(temp, 65534, 65534) != nil {
		t.Fatal("preparing a program for another user", err)
	}
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "-test.v",
		"-test.run=^(TestLayers|TestRefused|TestUnpackGivesTheNameLast|TestTimesAndModes|TestExtendedAttributes|TestRemove|TestShelf|TestSweep|TestSparse|TestLayersMean|FuzzUnpack)")
	cmd.Dir, cmd.Env = temp, []string{"TMPDIR=" + temp, "HOME=" + temp}
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("\n--- PASS")) < 12 {
		t.Errorf("%v\n%s", err, out)
	}
}

// smallNamespace tells the test binary that it is root of a user namespace with no other user.
const smallNamespace = "GAVEL_TEST_SMALL_NAMESPACE"

// The kernel answers EINVAL to an owner that the namespace does not have, which
// was taken for a fault of the image: a worker refused every image for good.
func TestOwnersThatTheMachineLacks(t *testing.T) {
	if os.Getenv(smallNamespace) != "" {
		for _, e := range []entry{file("f", "x"), dir("d"), symlink("s", "f")} {
			for _, shift := range []int{0, 300_000} { // the entry is another's, or all are
				e.Uid = 5
				_, err := unpacked(t, Options{Shift: shift}, []entry{e})
				if err == nil || errors.Is(err, sandbox.ErrRefused) || !strings.Contains(err.Error(), "root of a user namespace without user") {
					t.Errorf("%q, shifted by %d: %v", e.Name, shift, err)
				}
			}
		}
		return
	}
	c := exec.Command("/proc/self/exe", "-test.run=^TestOwnersThatTheMachineLacks$", "-test.v")
	c.Env = append(os.Environ(), smallNamespace+"=1")
	only := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: only, GidMappings: only}
	if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
}
