// Package publictool finds the public programs that hold gavel's evidence to their
// own rules (cosign, slsa-verifier, Tessera's fsck), and runs them without a network.
// It is for tests alone, and never builds or downloads one: sh .ci/tools does. A test
// that needs a program fails where it is missing, since a check left out says nothing.
package publictool

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Path is where a program is that .ci/tools builds.
func Path(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("GAVEL_TOOLS")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(home, ".cache", "gavel-tools")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; build it with sh .ci/tools", err)
	}
	return path
}

// Offline runs a program in dir and in a network namespace of its own, which has no
// interface but an idle loopback, and with an empty home.
func Offline(t *testing.T, dir, program string, args ...string) (output string, err error) {
	t.Helper()
	c := exec.Command("unshare", append([]string{"-n", program}, args...)...)
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	out, err := c.CombinedOutput()
	return string(out), err
}
