//go:build itest

package native

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// aUser is a user of the machine without any privilege.
const aUser = 1000

// Nearly every worker is started by an ordinary user, and these tests by root: so
// all that are not about root's own ways run again as a user.
func TestEverythingWithoutPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to stop being it: run `sudo make itest`")
	}
	dir, err := os.MkdirTemp("", "gavel-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, aUser, aUser); err != nil {
		t.Fatal(err)
	}
	// The test binary itself lies where only root may look.
	program := filepath.Join(dir, "native.test")
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	copied, err := os.OpenFile(program, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(copied, self); err != nil {
		t.Fatal(err)
	}
	if err := copied.Close(); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "-test.skip=^TestEverythingWithoutPrivileges$", "-test.timeout=10m")
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: aUser, Gid: aUser}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("as user %d: %v\n%s", aUser, err, out)
	}
}
