package tlog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// published is a log of n entries with a published checkpoint.
func published(t testing.TB, n int) (dir string, all [][]byte, c Checkpoint) {
	t.Helper()
	dir, all = t.TempDir(), someEntries(0, n)
	l := open(t, dir)
	for batch := range slices.Chunk(all, MaxBatchEntries) {
		if _, err := l.Append(batch); err != nil {
			t.Fatal(err)
		}
	}
	k := newLogKey(t)
	c = Checkpoint{k.origin, uint64(n), l.Root()}
	if err := l.Publish(k.sign(t, c)); err != nil {
		t.Fatal(err)
	}
	return dir, all, c
}

func newReader(t testing.TB, from Source, c Checkpoint) *Reader {
	t.Helper()
	r, err := NewReader(t.Context(), from, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// collect reads entries until the first error.
func collect(ctx context.Context, r *Reader, from, to uint64) (entries [][]byte, err error) {
	for leaf, err := range r.Entries(ctx, from, to) {
		if err != nil {
			return entries, err
		}
		if leaf.Index != from+uint64(len(entries)) {
			return entries, errors.New("an index was left out")
		}
		entries = append(entries, leaf.Entry)
	}
	return entries, nil
}

func equalEntries(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func TestReaderOfEverySize(t *testing.T) {
	const most = 600
	dir, all := t.TempDir(), someEntries(0, most)
	l := open(t, dir)
	for n := 0; n <= most; n += 1 + n%5 {
		if err := l.AppendAt(0, all[:n]); err != nil {
			t.Fatal(err)
		}
		c := Checkpoint{"log.example", uint64(n), naive(all[:n])}
		r := newReader(t, DirSource(dir), c)
		got, err := collect(t.Context(), r, 0, uint64(n))
		if err != nil || !equalEntries(got, all[:n]) {
			t.Fatalf("size %d: %d entries, %v", n, len(got), err)
		}
		for i := n % 7; i < n; i += 101 {
			p, err := r.Inclusion(t.Context(), uint64(i))
			if err != nil || !slices.Equal(p, naivePath(i, all[:n])) {
				t.Fatalf("inclusion of %d in %d: %v", i, n, err)
			}
			p, err = r.Consistency(t.Context(), uint64(i))
			if err != nil || i > 0 && !slices.Equal(p, naiveConsistency(i, all[:n], true)) {
				t.Fatalf("consistency of %d and %d: %v", i, n, err)
			}
			if entry, err := r.Entry(t.Context(), uint64(i)); err != nil || !bytes.Equal(entry, all[i]) {
				t.Fatalf("entry %d: %q, %v", i, entry, err)
			}
			if err := r.Extends(t.Context(), Checkpoint{"log.example", uint64(i), naive(all[:i])}); err != nil {
				t.Fatal(err)
			}
			if err := r.Extends(t.Context(), Checkpoint{"log.example", uint64(i), naive(all[1 : i+1])}); i > 0 && !errors.Is(err, ErrRoot) {
				t.Fatalf("another history of %d entries: %v", i, err)
			}
		}
		if err := r.CheckTiles(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Earlier sizes stay readable, also when full tiles stand in for deleted ones.
	if err := os.RemoveAll(filepath.Join(dir, "tile/0/000.p")); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 3, 250} {
		r := newReader(t, DirSource(dir), Checkpoint{"log.example", uint64(n), naive(all[:n])})
		if got, err := collect(t.Context(), r, 0, uint64(n)); err != nil || !equalEntries(got, all[:n]) {
			t.Errorf("size %d from full tiles: %d entries, %v", n, len(got), err)
		}
	}
}

func TestReaderOverHTTP(t *testing.T) {
	dir, all, c := published(t, 5000)
	server := httptest.NewServer(Handler(dir))
	defer server.Close()
	r := newReader(t, HTTPSource(server.URL, server.Client()), c)
	for _, span := range [][2]uint64{{0, 5000}, {0, 0}, {5000, 5000}, {255, 257}, {300, 4000}, {4999, 5000}} {
		got, err := collect(t.Context(), r, span[0], span[1])
		if err != nil || !equalEntries(got, all[span[0]:span[1]]) {
			t.Errorf("%v: %d entries, %v", span, len(got), err)
		}
	}
	for _, span := range [][2]uint64{{0, 5001}, {2, 1}} {
		if _, err := collect(t.Context(), r, span[0], span[1]); err == nil {
			t.Errorf("%v was read", span)
		}
	}
	for range r.Entries(t.Context(), 0, 5000) {
		break // leaves no goroutine that writes to nobody
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := collect(ctx, r, 0, 5000); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := r.Entry(t.Context(), 5000); err == nil {
		t.Error("an entry beyond the end")
	}
}

// Every byte of every file below tile/ counts: whichever is changed, lost, cut or
// lengthened is named.
func TestCheckFindsEveryFile(t *testing.T) {
	dir, _, c := published(t, 70000)
	if err := CheckDir(t.Context(), dir, c); err != nil {
		t.Fatal(err)
	}
	names := filesBelow(t, filepath.Join(dir, "tile"))
	if len(names) != 273*2+3+2 {
		t.Errorf("%d files", len(names))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i, path := range names {
		if i%67 != 0 && !strings.Contains(path, "/1/") && !strings.Contains(path, ".p/") {
			continue
		}
		name := strings.TrimPrefix(path, dir+"/")
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := slices.Clone(good)
		flipped[random.IntN(len(good))] ^= 1 << random.IntN(8)
		for what, bad := range map[string][]byte{"changed": flipped, "cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0), "empty": {}, "lost": nil} {
			if bad == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, bad, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			faults := Faults(CheckDir(t.Context(), dir, c))
			if len(faults) == 0 || !strings.Contains(faults[0].Path, name) || len(faults) > 1 && !strings.Contains(name, "/1/") {
				t.Errorf("%s %s: %v", name, what, faults)
			}
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func filesBelow(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestCheckFindsStrays(t *testing.T) {
	dir, all, c := published(t, 300)
	l := open(t, dir)
	if err := l.AppendAt(300, someEntries(300, 5)); err != nil {
		t.Fatal(err)
	}
	if err := CheckDir(t.Context(), dir, c); len(Faults(err)) != 2 || !errors.Is(err, ErrRoot) {
		t.Errorf("tiles of a larger log: %v", err)
	}
	all = someEntries(0, 305)
	c = Checkpoint{c.Origin, 305, naive(all)}
	if err := CheckDir(t.Context(), dir, c); err != nil { // 44 wide ones are earlier
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"tile/0/001.p/44":       joinTile(make([][32]byte, 44)),
		"tile/entries/001.p/44": make([]byte, 88),
		"tile/0/000.p/7":        nil,
		"tile/0/readme":         []byte("x"),
		"tile/0/002":            make([]byte, maxTileBytes),
		"tile/7/000":            nil,
	} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		there := err == nil
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			t.Fatal(err)
		}
		if faults := Faults(CheckDir(t.Context(), dir, c)); len(faults) != 1 || faults[0].Path != name {
			t.Errorf("%s: %v", name, faults)
		}
		if there {
			err = os.WriteFile(path, good, 0o644)
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// An entry that was changed is named, and what comes before it is still read.
func TestEntriesNamesTheChangedEntry(t *testing.T) {
	dir, all, c := published(t, 1000)
	path := filepath.Join(dir, "tile/entries/001")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, all[400])
	content[at+3] ^= 1
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, DirSource(dir), c)
	got, err := collect(t.Context(), r, 0, 1000)
	var f *Fault
	if len(got) != 256 || !errors.As(err, &f) || f.Index != 400 || f.Path != "tile/entries/001" || !errors.Is(err, ErrRoot) {
		t.Errorf("%d entries, %v", len(got), err)
	}
	if _, err := r.Entry(t.Context(), 300); !errors.As(err, &f) || f.Index != 400 {
		t.Errorf("another entry of the bundle: %v", err)
	}
	if got, err := collect(t.Context(), r, 512, 1000); err != nil || !equalEntries(got, all[512:]) {
		t.Errorf("what follows: %v", err)
	}
}

func TestReaderRefusesAnotherRoot(t *testing.T) {
	dir, all, c := published(t, 300)
	for _, bad := range []Checkpoint{
		{c.Origin, 300, naive(all[:299])},
		{c.Origin, 299, c.Root},
		{c.Origin, 0, c.Root},
		{c.Origin, 1 << 61, c.Root},
		{c.Origin, 1 << 63, c.Root},
	} {
		if r, err := NewReader(t.Context(), DirSource(dir), bad); r != nil || err == nil {
			t.Errorf("size %d: %v", bad.Size, err)
		}
	}
	if r := newReader(t, DirSource(t.TempDir()), Checkpoint{"log.example", 0, naive(nil)}); r.CheckTiles(t.Context()) != nil {
		t.Error("an empty log is at fault")
	}
	if err := CheckDir(t.Context(), t.TempDir(), Checkpoint{"log.example", 0, naive(nil)}); err != nil {
		t.Error(err)
	}
	later := newReader(t, DirSource(dir), c)
	if err := later.Extends(t.Context(), Checkpoint{c.Origin, 301, c.Root}); !errors.Is(err, ErrRoot) {
		t.Errorf("a log that shrank: %v", err)
	}
}
