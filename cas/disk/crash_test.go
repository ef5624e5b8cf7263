package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gavel/cas"
)

var errCrash = errors.New("crash")

// crashing is a file system that fails at one step, before or after doing it,
// and from then on, as a machine that has lost power does. It remembers which
// files were written and not synced: those a power cut empties.
type crashing struct {
	osFiles
	at     int  // the step that fails; counted from 1
	did    bool // whether that step still takes effect
	steps  int
	dirty  map[string]bool   // by current path
	undone map[string]string // renames whose directory was not synced: to → from
}

func (c *crashing) step(do func() error) error {
	c.steps++
	if c.at > 0 && c.steps > c.at || c.steps == c.at && !c.did {
		return errCrash
	}
	err := do()
	if c.steps == c.at {
		return errCrash
	}
	return err
}

func (c *crashing) Create(path string) (f file, err error) {
	err = c.step(func() error {
		f, err = c.osFiles.Create(path)
		c.dirty[path] = true
		return err
	})
	if err != nil {
		return nil, err
	}
	return &crashingFile{f, c, path}, nil
}

func (c *crashing) Rename(from, to string) error {
	return c.step(func() error {
		c.dirty[to] = c.dirty[from]
		delete(c.dirty, from)
		c.undone[to] = from
		return c.osFiles.Rename(from, to)
	})
}

func (c *crashing) Remove(path string) error {
	return c.step(func() error { return c.osFiles.Remove(path) })
}

func (c *crashing) SyncDir(path string) error {
	return c.step(func() error {
		for to := range c.undone {
			if filepath.Dir(to) == path {
				delete(c.undone, to)
			}
		}
		return c.osFiles.SyncDir(path)
	})
}

type crashingFile struct {
	file
	fs   *crashing
	path string
}

func (f *crashingFile) Write(p []byte) (n int, err error) {
	err = f.fs.step(func() error { n, err = f.file.Write(p); return err })
	return n, err
}

func (f *crashingFile) Sync() error {
	return f.fs.step(func() error {
		f.fs.dirty[f.path] = false
		return f.file.Sync()
	})
}

// powerCut empties what was not synced. keepNames says whether the file system
// had put unsynced directory entries on the disk: it may or may not.
func (c *crashing) powerCut(t *testing.T, keepNames bool) {
	for path, dirty := range c.dirty {
		info, err := os.Stat(path)
		if err != nil || !dirty {
			continue
		}
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, make([]byte, info.Size()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if keepNames {
		return
	}
	for to := range c.undone {
		if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestCrashAtEveryStepOfPut(t *testing.T) {
	for _, n := range []int{100, 2*chunkBytes + 5} {
		for _, did := range []bool{false, true} {
			for _, powerCut := range []string{"none", "names kept", "names lost"} {
				for at := 1; ; at++ {
					name := fmt.Sprintf("%d bytes, step %d, done %v, power cut %s", n, at, did, powerCut)
					if finished := crashOnce(t, name, n, at, did, powerCut); finished {
						if at < 5 {
							t.Fatalf("%s: Put took only %d steps", name, at-1)
						}
						break
					}
				}
			}
		}
	}
}

// crashOnce lets a Put fail and checks the store that the next process finds. It
// says whether the Put had no such step and succeeded.
func crashOnce(t *testing.T, name string, n, at int, did bool, powerCut string) bool {
	dir := t.TempDir()
	c := &crashing{at: at, did: did, dirty: map[string]bool{}, undone: map[string]string{}}
	s, err := open(dir, Options{}, c)
	if err != nil {
		t.Fatal(err)
	}
	b := randomBytes(1, n)
	d := cas.Of(b)
	putErr := s.Put(t.Context(), d, bytes.NewReader(b))
	if (putErr == nil) != (c.steps < at) {
		t.Fatalf("%s: Put returned %v after %d steps", name, putErr, c.steps)
	}
	s.staging.lock.Close()
	if powerCut != "none" {
		c.powerCut(t, powerCut == "names kept")
	}

	next, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("%s: opening again: %v", name, err)
	}
	defer next.Close()
	missing, err := next.Missing(t.Context(), []cas.Digest{d})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if putErr == nil && len(missing) > 0 {
		t.Errorf("%s: Put succeeded and the blob is gone", name)
	}
	if len(missing) == 0 {
		if got, err := get(next, d, t); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: a bad blob is in sight: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "incoming", "process-*")); len(left) != 1 {
		t.Errorf("%s: unfinished uploads were left: %v", name, left)
	}
	if err := next.Put(t.Context(), d, bytes.NewReader(b)); err != nil {
		t.Errorf("%s: the next Put: %v", name, err)
	}
	return putErr == nil
}
