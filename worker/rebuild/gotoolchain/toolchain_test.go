package gotoolchain

import (
	"archive/zip"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/build"
)

// module writes a toolchain's module with these files.
func module(t *testing.T, files ...string) *Toolchain {
	t.Helper()
	x := &Toolchain{Version: "1.26.8", OS: "linux", Arch: "amd64", zip: filepath.Join(t.TempDir(), "module.zip")}
	f, err := os.Create(x.zip)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for _, name := range files {
		out, err := w.Create(name)
		if err == nil {
			_, err = out.Write([]byte("content of " + name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return x
}

const prefix = "golang.org/toolchain@v0.0.1-go1.26.8.linux-amd64/"

// Programs are the answer and never an input; sources keep their names, but for
// those that modules cannot hold.
func TestUnpack(t *testing.T) {
	x := module(t, prefix+"pkg/tool/linux_amd64/link", prefix+"bin/go", prefix+"VERSION", prefix+"src/_go.mod", prefix+"src/make.bash", prefix+"pkg/include/textflag.h")
	dir := t.TempDir()
	published, err := x.Unpack(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []build.Expected{
		{Path: "go/bin/go", Digest: sha256.Sum256([]byte("content of " + prefix + "bin/go"))},
		{Path: "go/pkg/tool/linux_amd64/link", Digest: sha256.Sum256([]byte("content of " + prefix + "pkg/tool/linux_amd64/link"))},
	}
	if !slices.Equal(published, want) {
		t.Errorf("published %v", published)
	}
	var files []string
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			files = append(files, name)
		}
		return err
	})
	if err != nil || !slices.Equal(files, []string{"go/VERSION", "go/pkg/include/textflag.h", "go/src/go.mod", "go/src/make.bash"}) {
		t.Errorf("inputs %v, %v", files, err)
	}
	a := x.Action("host", published, nil)
	if !slices.Equal(a.Outputs, []string{"go/bin/go", "go/pkg/tool/linux_amd64/link"}) || a.Argv[4] != "linux" || a.Argv[5] != "amd64" {
		t.Errorf("%+v", a)
	}
	if _, _, err := a.Encode(); err != nil {
		t.Error(err)
	}
}

func TestHostileModules(t *testing.T) {
	for name, files := range map[string][]string{
		"climbing":         {prefix + "bin/go", prefix + "../../x"},
		"absolute":         {prefix + "bin/go", "/etc/passwd"},
		"another module":   {prefix + "bin/go", "example.org/x@v1/src/a.go"},
		"the same twice":   {prefix + "bin/go", prefix + "src/a", prefix + "src/a"},
		"renamed onto one": {prefix + "bin/go", prefix + "src/go.mod", prefix + "src/_go.mod"},
		"a file as parent": {prefix + "bin/go", prefix + "src/a", prefix + "src/a/b"},
		"no program":       {prefix + "src/a"},
	} {
		dir := t.TempDir()
		if published, err := module(t, files...).Unpack(t.Context(), filepath.Join(dir, "in", "tree")); err == nil {
			t.Errorf("%s: published %v", name, published)
		}
		if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
			t.Errorf("%s: wrote outside", name)
		}
	}
	for _, version := range []string{"", "1", "1.26.8/../x", "1.26.8 x", "-1", "1.26.x", "latest"} {
		if x, err := Fetch(t.Context(), version, "linux", "amd64"); !errors.Is(err, ErrToolchain) {
			t.Errorf("version %q: %+v, %v", version, x, err)
		}
	}
}

// go1.9 is published as a module too: it was fetched, and its build failed for want of
// a go.mod. 1.26 was asked of the proxy, which has 1.26.0.
func TestFetchTakesWhatCanBeRebuilt(t *testing.T) {
	for _, ok := range []string{"1.21.0", "1.26.8", "1.27rc1", "1.100.1"} {
		if !versionForm.MatchString(ok) {
			t.Errorf("%s is refused", ok)
		}
	}
	for _, bad := range []string{"", "1.9", "1.20.14", "1.26", "go1.26.8.linux", "2.1.0", "1.026.1", "1.26.8/../x"} {
		if _, err := Fetch(t.Context(), bad, "linux", "amd64"); !errors.Is(err, ErrToolchain) || !strings.Contains(err.Error(), "whole version") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What the go command says of a module that is not there came out as lines of its JSON.
func TestFetchRepeatsWhatTheGoCommandSays(t *testing.T) {
	proxy := t.TempDir() // and it is empty
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(proxy))
	t.Setenv("GOMODCACHE", t.TempDir())
	_, err := Fetch(t.Context(), "1.26.8", "linux", "amd64")
	if !errors.Is(err, ErrToolchain) || strings.Contains(err.Error(), `"Error"`) || !strings.Contains(err.Error(), "the go command says golang.org/toolchain@v0.0.1-go1.26.8.linux-amd64: reading file://") {
		t.Errorf("%v", err)
	}
}
