package container

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A copy must be listed as was asked on whatever file system the test's files
// lie, as long as one order of making them does it.
func TestCopierOrders(t *testing.T) {
	from := t.TempDir()
	for _, name := range []string{"m/z", "m/a", "m/q/x", "m/q/y", "b", "zz", "aa"} {
		path := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Unix(1_700_000_000, 5)
	if err := os.Symlink("m/z", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(from, "b"), when, when); err != nil {
		t.Fatal(err)
	}
	shm := memory(t)
	newFirst, err := newestFirst(shm)
	if err != nil {
		t.Fatal(err)
	}
	for _, reverse := range []bool{false, true} {
		to := filepath.Join(shm, map[bool]string{false: "same", true: "reverse"}[reverse])
		c := copier{owner: -1, reverse: reverse, newFirst: newFirst}
		if err := c.directory(from, to); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{".", "m", "m/q"} {
			want, err := list(filepath.Join(from, dir))
			if err != nil {
				t.Fatal(err)
			}
			got, err := list(filepath.Join(to, dir))
			if err != nil {
				t.Fatal(err)
			}
			if reverse {
				slices.Reverse(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("reverse %v: %s lists %q, want %q", reverse, dir, got, want)
			}
		}
		if text, err := os.ReadFile(filepath.Join(to, "link")); string(text) != "m/z" || err != nil {
			t.Errorf("through the link: %q, %v", text, err)
		}
		info, err := os.Stat(filepath.Join(to, "b"))
		if err != nil || info.Mode() != 0o640 || !info.ModTime().Equal(when) {
			t.Errorf("%v %v", info, err)
		}
	}
	// The wrong idea of how the file system lists must be found out.
	if err := (copier{owner: -1, newFirst: !newFirst}).directory(from, filepath.Join(shm, "wrong")); err == nil {
		t.Error("a wrong order was not noticed")
	}
}

// memory is a directory on a tmpfs, as runs' copies have.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gavel-copy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestCopierRefusesWhatIsNoInput(t *testing.T) {
	from := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	c := copier{owner: -1}
	if err := c.entry("/dev/null", filepath.Join(from, "null")); err == nil {
		t.Error("a device was copied")
	}
	if err := c.entry(filepath.Join(from, "link"), filepath.Join(from, "other")); err != nil {
		t.Error(err)
	}
	if target, err := os.Readlink(filepath.Join(from, "other")); target != "/dev/null" || err != nil {
		t.Errorf("a link became %q, %v", target, err)
	}
}
