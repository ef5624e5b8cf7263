package native

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFilteredEtcTellsNothing(t *testing.T) {
	machine, dir := t.TempDir(), filepath.Join(t.TempDir(), "etc")
	write := func(name string, mode os.FileMode) {
		t.Helper()
		p := filepath.Join(machine, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("machine's"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"shadow", "passwd", "ld.so.cache", "ssl/openssl.cnf", "ssl/certs/a.pem", "ssh/key", "resolv.conf", "machine-id"} {
		write(f, 0o644)
	}
	write("ssl/private-key.pem", 0o600)
	if err := os.MkdirAll(filepath.Join(machine, "ssl/private"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("ssl/private/key.pem", 0o644)
	if err := os.Symlink("/usr/lib/os-release", filepath.Join(machine, "os-release")); err != nil {
		t.Fatal(err)
	}
	if err := writeEtc(dir, machine); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "os-release")); err != nil || target != "/usr/lib/os-release" {
		t.Errorf("os-release leads to %q (%v)", target, err)
	}
	if err := os.Remove(filepath.Join(dir, "os-release")); err != nil { // contents reads through it
		t.Fatal(err)
	}
	var copied []string
	for name, content := range contents(t, dir) {
		if content == "machine's" {
			copied = append(copied, name)
		}
	}
	slices.Sort(copied)
	if got := strings.Join(copied, " "); got != "ld.so.cache ssl/openssl.cnf" {
		t.Errorf("shows %s", got)
	}
}

func TestGorootIsFoundWhereItIs(t *testing.T) {
	root := filepath.Join(t.TempDir(), "sdk", "go")
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "go"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	g := findGoroot(func(string) string { return root })
	if g.outside != root || g.inside != shownGoroot || !slices.Equal(g.pathTail(), []string{"/opt/go/bin"}) {
		t.Errorf("found %+v, PATH tail %q", g, g.pathTail())
	}
	// A GOROOT that is set wrongly hides no other.
	if other := findGoroot(func(string) string { return "/no/such/go" }); other.outside == "/no/such/go" {
		t.Errorf("found %+v", other)
	}
}
