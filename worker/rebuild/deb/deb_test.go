package deb

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gavel/verify/attest"
)

const stanza = `Package: libfoo1
Source: foo (1:2.0-3)
Version: 1:2.0-3+b1
Architecture: amd64
Description: a library
 Package: a trap in a description
Filename: pool/main/f/foo/libfoo1_2.0-3+b1_amd64.deb
Size: 1234
SHA256: `

func TestParsePackage(t *testing.T) {
	sum := sha256.Sum256([]byte("deb"))
	p, err := parsePackage(stanza + hex.EncodeToString(sum[:]) + "\n\nPackage: other\n")
	if err != nil {
		t.Fatal(err)
	}
	want := Package{Name: "libfoo1", Version: "1:2.0-3+b1", Architecture: "amd64", Source: "foo", SourceVersion: "1:2.0-3", File: "libfoo1_2.0-3+b1_amd64.deb", SHA256: sum, Bytes: 1234}
	if *p != want {
		t.Errorf("got %+v", p)
	}
	a := p.Action("sha256:image", []attest.EnvVar{{Name: "A", Value: "1"}})
	if a.WorkDir != "reproducible-path" || !slices.Equal(a.Argv[3:], []string{"sh", "foo_2.0-3.dsc", "foo-2.0", "any", entryFile}) || !slices.Equal(a.Outputs, []string{p.File}) {
		t.Errorf("%+v", a)
	}
	if e := p.Expected(); e.Path != p.File || e.Digest != sum {
		t.Errorf("%+v", e)
	}
	for name, change := range map[string][2]string{
		"climbing file": {"libfoo1_2.0-3+b1_amd64.deb", ".."}, "no deb": {"_amd64.deb", "_amd64.tar"}, "no size": {"Size: 1234", "Size: much"},
		"shell in the version": {"Version: 1:2.0-3+b1", "Version: $(reboot)"}, "shell in the source": {"Source: foo", "Source: ;reboot"},
		"no package": {"Package: libfoo1", "Bundle: libfoo1"}, "a short digest": {"SHA256: ", "SHA256: 00"},
		"an option for a source version": {"(1:2.0-3)", "(-o)"},
	} {
		text := strings.Replace(stanza, change[0], change[1], 1) + hex.EncodeToString(sum[:])
		if p, err := parsePackage(text); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// Sources were unpacked to openssl-1.1.1w-0+deb11u1, where the archive's builds were in
// openssl-1.1.1w: programs that keep their path, in what they say of the flags they
// were compiled with, could not come out equal.
func TestSourcesLieWhereTheArchivesBuildsHadThem(t *testing.T) {
	for version, want := range map[string]string{
		"1.1.1w-0+deb11u1": "openssl-1.1.1w", "12.4+deb12u15": "openssl-12.4+deb12u15", "1:2.0-rc1-3": "openssl-2.0-rc1", "4:1.203": "openssl-1.203",
	} {
		if got := (&Package{Source: "openssl", SourceVersion: version}).tree(); got != want {
			t.Errorf("%s lies in %s, want %s", version, got, want)
		}
	}
}

func TestSplitName(t *testing.T) {
	for text, want := range map[string][2]string{"base-files": {"base-files", ""}, "g++=4:12.2.0-3": {"g++", "4:12.2.0-3"}} {
		if name, version, err := SplitName(text); err != nil || name != want[0] || version != want[1] {
			t.Errorf("%s: %q, %q, %v", text, name, version, err)
		}
	}
	for _, bad := range []string{"", "-o", "a", "Base", "base-files=", "base-files=$(x)", "../x", "base-files/bookworm"} {
		if name, version, err := SplitName(bad); err == nil {
			t.Errorf("%q is %q, %q", bad, name, version)
		}
	}
}

func TestOrigin(t *testing.T) {
	const madison = ` bash | 5.2.15-2+b8 | http://archive.example/debian bookworm/main amd64 Packages
 bash | 5.2.15-2+b7 | http://archive.example/old bookworm/main amd64 Packages
 bash | 5.2.15-2 | http://archive.example/debian bookworm/main Sources
`
	if mirror, suite, err := origin(madison, "5.2.15-2+b8"); err != nil || mirror != "http://archive.example/debian" || suite != "bookworm" {
		t.Errorf("%q, %q, %v", mirror, suite, err)
	}
	if mirror, suite, err := origin(madison, "5.2.15-2"); err == nil {
		t.Errorf("a source is a package at %q, %q", mirror, suite)
	}
}

// A version that is not there, and a name that others provide, were "no name or version".
func TestLackingNamesWhatIsThere(t *testing.T) {
	const madison = ` hello | 2.10-3 | http://archive.example/debian bookworm/main amd64 Packages
 hello | 2.10-2 | http://archive.example/old bookworm/main amd64 Packages
 hello | 2.10-4 | http://archive.example/debian bookworm/main Sources
`
	if said := lacking(madison, "hello", "9.9"); !strings.Contains(said, "no hello 9.9, but 2.10-3, 2.10-2: ") {
		t.Error(said)
	}
	if said := lacking("", "awk", ""); !strings.Contains(said, "awk is no package, only a name") {
		t.Error(said)
	}
}

// Whatever way the machine names its archive, sources are named beside packages,
// once, and nothing of the machine's is changed.
func TestSourcesAreAdded(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	files := map[string]string{
		"etc/apt/sources.list":                    "# comment\ndeb [signed-by=/k.gpg] http://a.example/debian bookworm main\ndeb-src [signed-by=/k.gpg] http://a.example/debian bookworm main\n",
		"etc/apt/sources.list.d/b.sources":        "Types: deb\nURIs: http://b.example/debian\nSuites: bookworm\n",
		"etc/apt/sources.list.d/c.list":           "deb http://c.example/debian bookworm main # with a word\n",
		"etc/apt/sources.list.d/d.sources.backup": "Types: deb\n",
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := copySources(root, dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"sources.list":             "deb [signed-by=/k.gpg] http://a.example/debian bookworm main\ndeb-src [signed-by=/k.gpg] http://a.example/debian bookworm main\n",
		"sources.list.d/b.sources": "Types: deb deb-src\nURIs: http://b.example/debian\nSuites: bookworm\n",
		"sources.list.d/c.list":    "deb http://c.example/debian bookworm main # with a word\ndeb-src http://c.example/debian bookworm main # with a word\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "sources.list.d", "d.sources.backup")); err == nil {
		t.Error("a file that apt ignores was copied")
	}
	for name, text := range files {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != text {
			t.Errorf("%s was changed to %q (%v)", name, got, err)
		}
	}
}
