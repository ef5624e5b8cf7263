package tlog

import (
	"bytes"
	"context"
	"errors"
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
			if err := r.Extends(t.Context(), Checkpoint{"log.example", uint64(i), naive(all[1 : i+1])}); i > 0 && !errors.Is(err, ErrRewritten) {
				t.Fatalf("another history of %d entries: %v", i, err)
			}
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
	var f *FileError
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
	empty := newReader(t, DirSource(t.TempDir()), Checkpoint{"log.example", 0, naive(nil)})
	if got, err := collect(t.Context(), empty, 0, 0); len(got) != 0 || err != nil {
		t.Errorf("an empty log: %q, %v", got, err)
	}
	later := newReader(t, DirSource(dir), c)
	if err := later.Extends(t.Context(), Checkpoint{c.Origin, 301, c.Root}); !errors.Is(err, ErrRewritten) {
		t.Errorf("a log that shrank: %v", err)
	}
}

// A changed hash tile is named when what it vouches for is read.
func TestReaderNamesTheChangedTile(t *testing.T) {
	dir, all, c := published(t, 70000)
	for name, at := range map[string]struct {
		index uint64
		edge  bool // read at the start, with the root
	}{"tile/0/004": {1100, false}, "tile/1/000": {1100, false}, "tile/1/001.p/17": {69999, true}, "tile/2/000.p/1": {0, true}, "tile/0/273.p/112": {69999, true}} {
		path := filepath.Join(dir, name)
		if err := flip(path); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(t.Context(), DirSource(dir), c)
		if (err != nil) != at.edge {
			t.Fatalf("%s: %v", name, err)
		}
		if err == nil {
			_, err = r.Inclusion(t.Context(), at.index)
		}
		var f *FileError
		if !errors.As(err, &f) || !errors.Is(err, ErrRoot) || !strings.Contains(f.Path, name) {
			t.Errorf("%s: %v", name, err)
		}
		if err := flip(path); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(t, DirSource(dir), c)
	if got, err := collect(t.Context(), r, 65000, 70000); err != nil || !equalEntries(got, all[65000:]) {
		t.Errorf("%d entries, %v", len(got), err)
	}
}
