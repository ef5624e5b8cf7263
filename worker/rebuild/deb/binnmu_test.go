package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const nmuEntry = `foo (1:2.0-3+b1) sid; urgency=low, binary-only=yes

  * Binary-only non-maintainer upload for amd64; no source changes.

 -- a build daemon <buildd@example.org>  Sun, 05 Sep 2021 16:01:18 +0000

`

const sourceEntry = `foo (1:2.0-3) unstable; urgency=medium

  * A change.

 -- A Person <a@example.org>  Sat, 04 Sep 2021 10:00:00 +0000
`

// packed is a package's files as a tar, each compressed as changelogs are.
func packed(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		var z bytes.Buffer
		g := gzip.NewWriter(&z)
		if _, err := g.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Size: int64(z.Len()), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(z.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A package that the archive had rebuilt (bc 1.07.1-3+b1) came out as its source
// says, bc 1.07.1-3, so that the published file "was not made", ever.
func TestTheEntryOfARebuildIsFound(t *testing.T) {
	const head = "foo (1:2.0-3+b1) "
	apart, source := "./usr/share/doc/libfoo1/changelog.Debian.amd64.gz", "./usr/share/doc/libfoo1/changelog.Debian.gz"
	for name, files := range map[string][]string{
		"apart": {source, sourceEntry, apart, nmuEntry}, "native": {"./usr/share/doc/foo/changelog.amd64.gz", nmuEntry}, "before the others": {source, nmuEntry + sourceEntry},
	} {
		if entry, err := findEntry(bytes.NewReader(packed(t, files...)), head); err != nil || string(entry) != nmuEntry {
			t.Errorf("%s: %q, %v", name, entry, err)
		}
	}
	for name, files := range map[string][]string{
		"the source's alone": {source, sourceEntry}, "another version": {apart, strings.Replace(nmuEntry, "+b1", "+b10", 1)}, "another source": {apart, "lib" + nmuEntry},
		"not of a rebuild": {apart, strings.Replace(nmuEntry, ", binary-only=yes", "", 1)}, "no end": {apart, strings.Replace(nmuEntry, " -- ", "    ", 1)},
		"too long": {apart, strings.Replace(nmuEntry, "\n\n", "\n\n"+strings.Repeat("  * again\n", maxEntryBytes/10), 1)}, "elsewhere": {"./etc/changelog.gz", nmuEntry},
	} {
		if entry, err := findEntry(bytes.NewReader(packed(t, files...)), head); err == nil {
			t.Errorf("%s: %q", name, entry)
		}
	}
}

func TestWhichVersionsAreRebuilds(t *testing.T) {
	for versions, want := range map[[2]string]string{
		{"1:2.0-3+b1", "1:2.0-3"}: "+b1", {"4:12.2.0-3+b12", "1.203"}: "+b12", {"2.0-3", "2.0-3"}: "", {"1.0+b1", "1.0+b1"}: "", {"2.0+b1-3", "2.0+b1-3"}: "", {"12.4+deb12u15", "12.4+deb12u15"}: "",
	} {
		if got := (&Package{Version: versions[0], SourceVersion: versions[1]}).binNMU(); got != want {
			t.Errorf("%s of source %s: %q, want %q", versions[0], versions[1], got, want)
		}
	}
}

// What is built is the source with the entry before its own changelog, and the
// source as it is where there is none.
func TestTheEntryComesBeforeTheSources(t *testing.T) {
	tools := t.TempDir()
	for name, text := range map[string]string{"dpkg-source": `mkdir -p "$3/debian" && cp ../source-changelog "$3/debian/changelog"`, "dpkg-buildpackage": `cp debian/changelog ../built`} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []Package{{Name: "libfoo1", Version: "1:2.0-3+b1", SourceVersion: "1:2.0-3", Source: "foo"}, {Name: "libfoo1", Version: "1:2.0-3", SourceVersion: "1:2.0-3", Source: "foo"}} {
		dir := t.TempDir()
		a := p.Action("host", nil)
		work := filepath.Join(dir, a.WorkDir)
		if err := os.Mkdir(work, 0o755); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{filepath.Join(dir, "source-changelog"): sourceEntry, filepath.Join(work, entryFile): nmuEntry} {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c := exec.CommandContext(t.Context(), a.Argv[0], a.Argv[1:]...)
		c.Dir, c.Env = work, append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		want := sourceEntry
		if p.binNMU() != "" {
			want = nmuEntry + sourceEntry
		}
		if got, err := os.ReadFile(filepath.Join(work, "built")); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", p.Version, got, err)
		}
	}
}

// With --work a second package was not explained: the first one's file lay there too,
// and what was said of it ended in a verb of fmt's.
func TestFetchBinaryIsOfOnePackage(t *testing.T) {
	tools := t.TempDir()
	if err := os.WriteFile(filepath.Join(tools, "apt-get"), []byte("#!/bin/sh\necho new >'foo_1%3a2.0-3_amd64.deb'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	a, p := &Apt{dir: t.TempDir()}, &Package{Name: "foo", Version: "1:2.0-3", File: "foo_2.0-3_amd64.deb"}
	dir := t.TempDir()
	if err := a.FetchBinary(t.Context(), p, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, p.File)); err != nil || string(got) != "new\n" {
		t.Errorf("%q, %v", got, err)
	}
	p.File = "bar_1_amd64.deb"
	if err := a.FetchBinary(t.Context(), p, dir); err == nil || strings.Contains(err.Error(), "%!") || !strings.Contains(err.Error(), "has 2 packages") {
		t.Errorf("beside another package: %v", err)
	}
}
