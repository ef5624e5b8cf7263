package layout

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"gavel/cas"
)

func put(t *testing.T, d *Dir, content string) cas.Digest {
	t.Helper()
	g := cas.Of([]byte(content))
	if err := d.Put(t.Context(), g, bytes.NewReader([]byte(content))); err != nil {
		t.Fatal(err)
	}
	return g
}

func create(t *testing.T) *Dir {
	t.Helper()
	d, err := Create(filepath.Join(t.TempDir(), "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestBlobsComeBackWhole(t *testing.T) {
	d := create(t)
	g := put(t, d, "main.c")
	r, err := d.Open(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(raw) != "main.c" {
		t.Errorf("%q, %v", raw, err)
	}
	if raw, err := os.ReadFile(filepath.Join(d.Path(), "blobs/sha256", g.Hash)); err != nil || string(raw) != "main.c" {
		t.Errorf("the file that anybody can read: %q, %v", raw, err)
	}
	if err := d.Put(t.Context(), g, bytes.NewReader([]byte("main.d"))); !errors.Is(err, cas.ErrDigestMismatch) {
		t.Errorf("a lie was stored: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(d.Path(), "blobs/sha256/.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := d.Open(t.Context(), cas.Of([]byte("nobody"))); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	if r, err := d.Open(t.Context(), cas.Empty); err != nil {
		t.Errorf("the empty blob: %v", err)
	} else if raw, err := io.ReadAll(r); err != nil || len(raw) > 0 {
		t.Errorf("the empty blob: %q, %v", raw, err)
	}
	if _, err := d.OpenSum(t.Context(), g.Sum(), 5); !errors.Is(err, cas.ErrTooLarge) {
		t.Errorf("a blob above its limit: %v", err)
	}
	if r, err := d.OpenSum(t.Context(), g.Sum(), 6); err != nil {
		t.Error(err)
	} else if raw, _ := io.ReadAll(r); string(raw) != "main.c" {
		t.Errorf("by its sum: %q", raw)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("an empty directory has inputs")
	}
}

func TestFifosAreNoBlobs(t *testing.T) {
	d := create(t)
	g := cas.Of([]byte("x"))
	if err := syscall.Mkfifo(filepath.Join(d.Path(), "blobs/sha256", g.Hash), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context(), g); err == nil {
		t.Error("a fifo was opened")
	}
	if _, err := d.Check(t.Context(), []cas.Digest{g}); err == nil {
		t.Error("a fifo was checked")
	}
}

// Whatever becomes of some blobs, Check names exactly those, and reading by the
// digest yields the right bytes or an error.
func TestCheckAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := create(t)
		var all, bad []cas.Digest
		for i := range rapid.IntRange(1, 6).Draw(rt, "blobs") {
			content := append([]byte{byte(i)}, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "content")...)
			g := put(t, d, string(content))
			all = append(all, g)
			file := filepath.Join(d.Path(), "blobs/sha256", g.Hash)
			changed := slices.Clone(content)
			switch rapid.IntRange(0, 4).Draw(rt, "fate") {
			case 1:
				changed[rapid.IntRange(0, len(changed)-1).Draw(rt, "at")] ^= 1
			case 2:
				changed = append(changed, 0)
			case 3:
				changed = changed[:len(changed)-1]
			case 4:
				changed = nil
			}
			if bytes.Equal(changed, content) {
				continue
			}
			bad = append(bad, g)
			var err error
			if changed == nil {
				err = os.Remove(file)
			} else {
				err = os.WriteFile(file, changed, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			if r, err := d.Open(t.Context(), g); err == nil {
				if raw, err := io.ReadAll(r); err == nil {
					rt.Fatalf("%s was handed out as %x", g, raw)
				}
			}
		}
		findings, err := d.Check(t.Context(), all)
		if err != nil {
			rt.Fatal(err)
		}
		var found []cas.Digest
		for _, f := range findings {
			found = append(found, f.Want)
			if f.Absent() {
				continue
			}
			r, err := d.OpenFound(f)
			if err != nil {
				rt.Fatal(err)
			}
			if raw, err := io.ReadAll(r); err != nil || cas.Of(raw) != f.Got {
				rt.Fatalf("what was found of %s: %x, %v", f.Want, raw, err)
			}
		}
		if !slices.Equal(found, bad) {
			rt.Fatalf("found %v, want %v", found, bad)
		}
	})
}
