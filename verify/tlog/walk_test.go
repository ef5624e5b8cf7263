package tlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// walked makes a log of n entries and returns its directory and root.
func walked(t *testing.T, n int) (dir string, root [32]byte) {
	t.Helper()
	dir = t.TempDir()
	l := must(openLog(dir, unsynced{}))
	var entries [][]byte
	for i := range n {
		entries = append(entries, fmt.Appendf(nil, "entry %d %s", i, strings.Repeat("x", i%37)))
	}
	for len(entries) > 0 {
		batch := min(len(entries), 7000)
		must(l.Append(entries[:batch]))
		entries = entries[batch:]
	}
	// A published log has no partial tiles left of its edge.
	for level := entriesLevel; level < levels(uint64(n)); level++ {
		l.prune(0, uint64(n))
	}
	return dir, l.Root()
}

func walk(t *testing.T, w *Walk, root [32]byte) (entries int, faults []Fault) {
	t.Helper()
	for {
		_, bundle, err := w.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return entries, must(w.Finish(t.Context(), root))
		}
		if err != nil {
			t.Fatal(err)
		}
		entries += len(bundle)
	}
}

func TestWalkFindsNothingInAGoodLog(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 257, 700, 66_000} {
		dir, root := walked(t, n)
		size := uint64(n)
		w := NewWalk(DirSource(dir), size, size/2, size)
		got, faults := walk(t, w, root)
		if got != n || len(faults) != 0 {
			t.Errorf("%d entries: %d read, faults %v", n, got, faults)
		}
		half, ok := w.RootAt(size / 2)
		if want := must(must(openLog(dir, unsynced{})).RootAt(size / 2)); !ok || half != want {
			t.Errorf("%d entries: the root at half of them is %x, want %x", n, half, want)
		}
		for _, p := range Paths(size) {
			if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
				t.Errorf("%d entries: %v", n, err)
			}
		}
	}
}

// Any changed byte of any file is found, once, and the file is named; so is a file
// that is missing.
func TestWalkNamesTheFile(t *testing.T) {
	for _, n := range []int{1, 300, 512, 20_000} {
		dir, root := walked(t, n)
		paths := Paths(uint64(n))
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		if len(paths) > 40 { // all of the upper levels, some of the rest
			paths = slices.DeleteFunc(paths, func(p string) bool {
				return (strings.HasPrefix(p, "tile/0/") || strings.HasPrefix(p, "tile/entries/")) && rng.IntN(20) > 0
			})
		}
		for _, p := range paths {
			for _, way := range []string{"flipped", "cut", "gone"} {
				file := filepath.Join(dir, p)
				good := must(os.ReadFile(file))
				bad := slices.Clone(good)
				switch way {
				case "flipped":
					bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
				case "cut":
					bad = bad[:len(bad)-1]
				}
				check(t, os.WriteFile(file, bad, 0o644))
				if way == "gone" {
					check(t, os.Remove(file))
				}
				_, faults := walk(t, NewWalk(DirSource(dir), uint64(n)), root)
				if len(faults) != 1 || faults[0].Path != p {
					t.Errorf("%d entries, %s %s: faults %v", n, p, way, faults)
				}
				check(t, os.WriteFile(file, good, 0o644))
			}
		}
	}
}

// What an appender leaves beside what readers need is held to it: the hash or the
// entry that differs is named. What lies beyond is not known.
func TestLeftover(t *testing.T) {
	grown := t.TempDir()
	l := must(openLog(grown, unsynced{}))
	var entries [][]byte
	for i := range 700 {
		entries = append(entries, fmt.Appendf(nil, "entry %d", i))
	}
	for _, size := range []int{100, 300, 600, 700} {
		must(l.Append(entries[l.Size():size]))
	}
	for _, c := range []struct {
		path  string
		at    int // the byte that is changed, -1 for none
		known bool
		index uint64
		field string
	}{
		{"tile/0/000.p/100", -1, true, 0, ""},
		{"tile/0/000.p/100", 3 * hashBytes, true, 3, "hash 3"},
		{"tile/0/001.p/44", hashBytes, true, 257, "hash 1"},
		{"tile/1/000.p/1", 0, true, 0, "hash 0"},
		{"tile/entries/000.p/100", -1, true, 0, ""},
		{"tile/entries/000.p/100", 12, true, 1, "entry"},
		{"tile/entries/001.p/44", 0, true, 256, "entry bundle"},
		{"tile/entries/002.p/88", 2, true, 512, "entry"},
		{"sealed", -1, true, 0, ""},
		{"sealed", 21, true, 700, "checkpoint"},
		{"tile/0/002.p/188", -1, false, 0, ""}, // the walk's own
		{"tile/0/000", -1, false, 0, ""},
		{"tile/0/002.p/189", -1, false, 0, ""},
		{"tile/0/003.p/1", -1, false, 0, ""},
		{"tile/0/002.p/088", -1, false, 0, ""},
		{"genesis", -1, false, 0, ""},
		{"incoming/", -1, true, 0, ""},
		{"tile/0/001.p/", -1, true, 0, ""},
		{"tile/entries/000.p/", -1, true, 0, ""},
		{"tile/0/002.p/", -1, false, 0, ""}, // the walk's own are in it
		{"tile/0/000/", -1, false, 0, ""},
		{"epoch/", -1, false, 0, ""},
	} {
		file := filepath.Join(grown, c.path)
		good, _ := os.ReadFile(file)
		if c.at >= 0 {
			bad := slices.Clone(good)
			bad[c.at] ^= 1
			check(t, os.WriteFile(file, bad, 0o644))
		}
		w := NewWalk(DirSource(grown), 700)
		if _, faults := walk(t, w, l.Root()); len(faults) > 0 {
			t.Fatalf("%s: faults %v", c.path, faults)
		}
		faults, known, err := w.Leftover(t.Context(), c.path)
		switch {
		case err != nil || known != c.known || len(faults) > 1 || (len(faults) == 1) != (c.at >= 0):
			t.Errorf("%s, byte %d: known %v, faults %v, %v", c.path, c.at, known, faults, err)
		case c.at >= 0 && (faults[0].Path != c.path || faults[0].Index != c.index || faults[0].Field != c.field):
			t.Errorf("%s, byte %d: fault %+v", c.path, c.at, faults[0])
		}
		if c.at >= 0 {
			check(t, os.WriteFile(file, good, 0o644))
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A changed entry under a tree that was built anew over it shows in the root alone.
func TestWalkFindsAnotherRoot(t *testing.T) {
	dir, root := walked(t, 300)
	root[3] ^= 1
	if _, faults := walk(t, NewWalk(DirSource(dir), 300), root); len(faults) != 1 || faults[0].Path != CheckpointPath {
		t.Errorf("faults %v", faults)
	}
}

// A walk that stops goes on where it was, also into a log that has grown; and a
// walk of a size that is past reads the tiles that were filled since.
func TestWalkResumes(t *testing.T) {
	dir, root := walked(t, 66_000)
	l := must(openLog(dir, unsynced{}))
	for _, size := range []uint64{300, 66_000, 1000, 65_536, 65_700} {
		want := must(l.RootAt(size))
		for _, stop := range []int{1, 2, 3, 255, 256} {
			w := NewWalk(DirSource(dir), size)
			for range stop {
				if _, _, err := w.Next(t.Context()); err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
			}
			p, ok := w.Position()
			if !ok {
				if size%tileWidth == 0 || w.edge.size != size {
					t.Fatalf("no position after %d bundles of %d entries", stop, size)
				}
				continue
			}
			again := must(ResumeWalk(DirSource(dir), size, p))
			if n, faults := walk(t, again, want); len(faults) != 0 || uint64(n) != size-p.Size {
				t.Errorf("%d entries after %d bundles: %d read, %v", size, stop, n, faults)
			}
			grown := must(ResumeWalk(DirSource(dir), 66_000, p))
			if _, faults := walk(t, grown, root); len(faults) != 0 {
				t.Errorf("%d entries after %d bundles, grown: %v", size, stop, faults)
			}
		}
	}
	for _, p := range []Position{{Size: 256}, {Size: 5}, {Size: 512, Hashes: make([][][32]byte, 2)}, {Size: 1 << 40}} {
		if _, err := ResumeWalk(DirSource(dir), 66_000, p); err == nil {
			t.Errorf("a walk resumed from %+v", p)
		}
	}
}

// An error of the source is no fault of the log.
func TestWalkStopsWithItsSource(t *testing.T) {
	dir, _ := walked(t, 300)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := NewWalk(DirSource(dir), 300).Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
