package tlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var errCrash = errors.New("crash")

// how a step fails.
const (
	undone = iota // nothing of it happened
	torn          // of a file, the first half was written
	done          // all of it happened, but nobody was told
	ways
)

// crashing is a file system that fails at one step, in one of three ways, and from
// then on, as a machine that has lost power does. It remembers which names are not
// on the disk yet: those a power cut may take back.
type crashing struct {
	unsynced
	at      int // the step that fails, from 1; 0 never
	how     int
	steps   int
	storing bool   // the step that failed was to store a file
	undo    []undo // oldest first
}

// undo takes a change of a directory back.
type undo struct {
	dir  string
	back func() error
}

func (c *crashing) step(do func() error) error {
	c.steps++
	if c.at > 0 && c.steps > c.at || c.steps == c.at && c.how != done {
		return errCrash
	}
	err := do()
	if c.steps == c.at {
		return errCrash
	}
	return err
}

func (c *crashing) Store(files []stored) error {
	for _, f := range files {
		c.storing = c.storing || c.at == c.steps+1
		if c.storing && c.how == torn {
			half := stored{f.path, f.content[:len(f.content)/2]}
			if err := c.unsynced.Store([]stored{half}); err != nil {
				return err
			}
		}
		if err := c.step(func() error { return c.unsynced.Store([]stored{f}) }); err != nil {
			return err
		}
	}
	return nil
}

// remember notes how to restore what a name stands for now.
func (c *crashing) remember(path string) {
	old, err := os.ReadFile(path)
	back := func() error { return os.WriteFile(path, old, 0o644) }
	if errors.Is(err, fs.ErrNotExist) {
		back = func() error { return os.RemoveAll(path) }
	}
	c.undo = append(c.undo, undo{filepath.Dir(path), back})
}

func (c *crashing) Rename(from, to string) error {
	return c.step(func() error { c.remember(to); return c.unsynced.Rename(from, to) })
}

func (c *crashing) Remove(path string) error {
	return c.step(func() error {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			c.remember(path)
		}
		return c.unsynced.Remove(path)
	})
}

func (c *crashing) MakeDir(path string) error {
	return c.step(func() error {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			c.remember(path)
		}
		return c.unsynced.MakeDir(path)
	})
}

func (c *crashing) SyncDirs(dirs []string) error {
	for _, dir := range dirs {
		err := c.step(func() error {
			c.undo = slices.DeleteFunc(c.undo, func(u undo) bool { return u.dir == dir })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// powerCuts are which of the names that were not synced are lost: by their number.
var powerCuts = []struct {
	name string
	lost func(i int) bool
}{
	{"none", func(int) bool { return false }},
	{"all", func(int) bool { return true }},
	{"odd", func(i int) bool { return i%2 == 1 }},
	{"even", func(i int) bool { return i%2 == 0 }},
}

func (c *crashing) powerCut(t testing.TB, lost func(i int) bool) {
	for i, u := range slices.Backward(c.undo) {
		// Below a directory that was taken back before there is nothing any more.
		if _, err := os.Stat(u.dir); err != nil || !lost(i) {
			continue
		}
		if err := u.back(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkFiles holds every file below tile/ against the naive tree: no file but
// those of the size and earlier ones, each of the one right content.
func checkFiles(t testing.TB, dir string, entries [][]byte) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "tile"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		one, err := parseTilePath(filepath.ToSlash(name))
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !one.within(uint64(len(entries))) || !bytes.Equal(content, naiveTile(one, entries)) {
			t.Errorf("%s is not what belongs there", name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// naiveTile is a tile's content by tlog-tiles' definition.
func naiveTile(t tile, entries [][]byte) (content []byte) {
	unit := uint64(1) << t.unit()
	for i := t.n * tileWidth; i < t.n*tileWidth+uint64(t.width); i++ {
		if t.level == entriesLevel {
			content = appendEntry(content, entries[i])
			continue
		}
		root := naive(entries[i*unit : (i+1)*unit])
		content = append(content, root[:]...)
	}
	return content
}

func TestCrashAtEveryStepOfAppend(t *testing.T) {
	for _, c := range []struct{ before, batch int }{{0, 1}, {255, 3}, {300, 30}} {
		all := someEntries(0, c.before+c.batch)
		template := t.TempDir()
		if err := open(t, template).AppendAt(0, all[:c.before]); err != nil {
			t.Fatal(err)
		}
		for how := range ways {
			for at, finished := 1, false; !finished && !t.Failed(); at++ {
				for _, cut := range powerCuts {
					name := fmt.Sprintf("%d and %d entries, step %d, way %d, power cut %s", c.before, c.batch, at, how, cut.name)
					crash := &crashing{at: at, how: how}
					finished = crashInAppend(t, name, template, all, c.before, crash, cut.lost)
					if len(crash.undo) == 0 || how == torn && !crash.storing {
						break // every other power cut is the same, and so is every other way
					}
				}
				if finished && at < 10 {
					t.Fatalf("%d and %d entries took only %d steps", c.before, c.batch, at-1)
				}
			}
		}
	}
}

// crashInAppend lets opening or an Append fail, and checks the log that the next
// process finds, and that the batch, or another, can follow. It says whether there
// was no such step.
func crashInAppend(t *testing.T, name, template string, all [][]byte, before int, c *crashing, lost func(int) bool) (finished bool) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	l, err := openLog(dir, c)
	if err == nil {
		if err = l.AppendAt(uint64(before), all[before:]); err != nil {
			if !errors.Is(err, ErrReopen) {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := l.Append(all[:1]); !errors.Is(err, ErrReopen) {
				t.Fatalf("%s: the log went on after a failed write: %v", name, err)
			}
		}
	}
	if (err == nil) != (c.at > c.steps) {
		t.Fatalf("%s: error %v after %d steps", name, err, c.steps)
	}
	c.powerCut(t, lost)

	l = open(t, dir)
	n := int(l.Size())
	if n != before && n != len(all) || err == nil && n != len(all) {
		t.Fatalf("%s: the next process finds %d entries", name, n)
	}
	checkLog(t, l, all[:n])
	checkFiles(t, dir, all[:n])
	if err := l.AppendAt(uint64(before), all[before:]); err != nil {
		t.Fatalf("%s: the same batch again: %v", name, err)
	}
	l = open(t, dir)
	checkLog(t, l, all)
	checkFiles(t, dir, all)
	return err == nil
}

// What a crash leaves must not get into another batch, of another length, either.
// And a crash while opening cleans up is one more crash.
func TestAnotherBatchAfterACrash(t *testing.T) {
	const before = 250
	all := someEntries(0, before+600)
	for at := 12; at < 40; at += 3 {
		for second := 1; second < 12; second += 2 {
			dir := t.TempDir()
			if err := open(t, dir).AppendAt(0, all[:before]); err != nil {
				t.Fatal(err)
			}
			l, err := openLog(dir, &crashing{at: at, how: done})
			if err != nil {
				t.Fatal(err)
			}
			if l.AppendAt(before, all[before:]) == nil {
				break
			}
			_, _ = openLog(dir, &crashing{at: second, how: second % ways})
			l = open(t, dir)
			if l.Size() != before {
				break // it was sealed
			}
			other := append(slices.Clone(all[:before]), someEntries(9000, 3)...)
			for i := before; i < len(other); i++ {
				if err := l.AppendAt(uint64(i), other[i:i+1]); err != nil {
					t.Fatal(err)
				}
			}
			checkFiles(t, dir, other)
			checkLog(t, open(t, dir), other)
		}
	}
}

func TestCrashAtEveryStepOfPublish(t *testing.T) {
	all := someEntries(0, 600)
	k := newLogKey(t)
	at := func(n int) []byte { return k.sign(t, Checkpoint{k.origin, uint64(n), naive(all[:n])}) }
	old, next := at(300), at(600)
	template := t.TempDir()
	for _, n := range []int{300, 600} {
		l := open(t, template)
		if err := l.AppendAt(0, all[:n]); err != nil {
			t.Fatal(err)
		}
		if err := l.Publish(old); err != nil {
			t.Fatal(err)
		}
	}
	for how := range ways {
		for _, cut := range powerCuts {
			for step := 1; ; step++ {
				name := fmt.Sprintf("step %d, way %d, power cut %s", step, how, cut.name)
				dir := filepath.Join(t.TempDir(), "log")
				if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
					t.Fatal(err)
				}
				c := &crashing{}
				l, err := openLog(dir, c)
				if err != nil {
					t.Fatal(err)
				}
				c.at, c.how = c.steps+step, how
				err = l.Publish(next)
				if err != nil && !errors.Is(err, ErrReopen) {
					t.Fatalf("%s: %v", name, err)
				}
				finished := c.steps < c.at
				c.powerCut(t, cut.lost)
				l = open(t, dir)
				if how == torn && !c.storing && !finished {
					continue // as another way
				}
				signed, readErr := os.ReadFile(filepath.Join(dir, CheckpointPath))
				if readErr != nil || !bytes.Equal(signed, old) && !bytes.Equal(signed, next) || err == nil && !bytes.Equal(signed, next) {
					t.Fatalf("%s: published is %q, %v", name, signed, readErr)
				}
				checkLog(t, l, all)
				checkFiles(t, dir, all)
				if err := l.Publish(next); err != nil {
					t.Fatalf("%s: again: %v", name, err)
				}
				if finished {
					break
				}
			}
		}
	}
}

func TestCrashAtEveryStepOfPutFiles(t *testing.T) {
	files := []File{{"transcript/" + strings.Repeat("a", 64), []byte("a long transcript")}, {"epoch/1", []byte("entries")}}
	for how := range ways {
		for _, cut := range powerCuts {
			for step := 1; ; step++ {
				dir := t.TempDir()
				c := &crashing{at: step, how: how}
				l, err := openLog(dir, c)
				if err == nil {
					err = l.PutFiles(files)
				}
				finished := c.steps < c.at
				c.powerCut(t, cut.lost)
				for _, f := range files {
					got, readErr := os.ReadFile(filepath.Join(dir, f.Path))
					if readErr == nil && !bytes.Equal(got, f.Content) || err == nil && readErr != nil {
						t.Fatalf("step %d: %q, %v, after %v", step, got, readErr, err)
					}
				}
				// A second try in a process that has seen the first one's name must make it
				// durable, not only find it.
				again := &crashing{}
				if cut.name == "none" {
					again.undo = c.undo
				}
				l, err = openLog(dir, again)
				if err == nil {
					err = l.PutFiles(files)
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range again.undo {
					if filepath.Base(u.dir) != incoming { // what is removed there may come back
						t.Fatalf("step %d: a name in %s is not on the disk", step, u.dir)
					}
				}
				if finished {
					break
				}
			}
		}
	}
}
