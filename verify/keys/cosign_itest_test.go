//go:build itest

package keys

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gavel/verify/publictool"
)

// cosign reads the keys that are encrypted here, and its own are read here.
func TestCosignKeys(t *testing.T) {
	dir, program := t.TempDir(), publictool.Path(t, "cosign")
	cosign := func(args ...string) []byte {
		t.Helper()
		c := exec.Command(program, args...)
		c.Dir, c.Env = dir, append(os.Environ(), "COSIGN_PASSWORD="+secret, "HOME="+dir)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("cosign %q: %v", args, err)
		}
		return out
	}
	for _, algorithm := range []Algorithm{Ed25519, ECDSAP256} {
		path := filepath.Join(dir, string(algorithm))
		made, err := CreateEncrypted(path, algorithm, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		if got := cosign("public-key", "--key", path); !bytes.Equal(got, PEM(made.Public)) {
			t.Errorf("%s: cosign reads\n%s\nwant\n%s", algorithm, got, PEM(made.Public))
		}
	}
	cosign("generate-key-pair")
	t.Setenv(PasswordVariable, secret)
	read, err := Load(t.Context(), filepath.Join(dir, "cosign.key"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, "cosign.pub"))
	if err != nil || !bytes.Equal(PEM(read.Public), want) {
		t.Errorf("read\n%s\nwant\n%s\n%v", PEM(read.Public), want, err)
	}
}
