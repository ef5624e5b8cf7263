package tlog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// naive is the Merkle tree of RFC 6962, section 2.1, as it is written there.
func naive(entries [][]byte) [32]byte {
	switch len(entries) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, entries[0]...))
	}
	k := 1
	for 2*k < len(entries) {
		k *= 2
	}
	left, right := naive(entries[:k]), naive(entries[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// naivePath is the audit path of section 2.1.1.
func naivePath(m int, entries [][]byte) [][32]byte {
	if len(entries) <= 1 {
		return nil
	}
	k := 1
	for 2*k < len(entries) {
		k *= 2
	}
	if m < k {
		return append(naivePath(m, entries[:k]), naive(entries[k:]))
	}
	return append(naivePath(m-k, entries[k:]), naive(entries[:k]))
}

// naiveConsistency is the proof of section 2.1.2.
func naiveConsistency(m int, entries [][]byte, whole bool) [][32]byte {
	n := len(entries)
	if m == n {
		if whole {
			return nil
		}
		return [][32]byte{naive(entries)}
	}
	k := 1
	for 2*k < n {
		k *= 2
	}
	if m <= k {
		return append(naiveConsistency(m, entries[:k], whole), naive(entries[k:]))
	}
	return append(naiveConsistency(m-k, entries[k:], false), naive(entries[:k]))
}

func someEntries(from, n int) [][]byte {
	entries := make([][]byte, n)
	for i := range entries {
		entries[i] = fmt.Appendf(nil, `{"entry":%d}`, from+i)
	}
	return entries
}

func open(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := openLog(dir, unsynced{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// checkLog compares all that a log says with the naive tree over the entries.
func checkLog(t testing.TB, l *Log, entries [][]byte) {
	t.Helper()
	if l.Size() != uint64(len(entries)) {
		t.Fatalf("size %d, want %d", l.Size(), len(entries))
	}
	if l.Root() != naive(entries) {
		t.Fatalf("root of %d entries differs", len(entries))
	}
	for i := 0; i < len(entries); i += 1 + len(entries)/40 {
		want := entries[i]
		if got, err := l.Entry(uint64(i)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("entry %d is %q, %v", i, got, err)
		}
	}
	if _, err := l.Entry(l.Size()); err == nil {
		t.Error("an entry beyond the end was read")
	}
}

func TestLogOfEverySize(t *testing.T) {
	const most = 600
	all := someEntries(0, most)
	dir := t.TempDir()
	l := open(t, dir)
	for n := range most + 1 {
		if n > 0 {
			if first, err := l.Append(all[n-1 : n]); err != nil || first != uint64(n-1) {
				t.Fatalf("append at %d: %d, %v", n-1, first, err)
			}
		}
		if l.Root() != naive(all[:n]) {
			t.Fatalf("root at size %d differs", n)
		}
		if n%37 == 0 || n > 254 && n < 260 || n > 510 && n < 515 {
			l = open(t, dir) // what was sealed is what is found
			checkLog(t, l, all[:n])
		}
	}
	for n := range most + 1 {
		if root, err := l.RootAt(uint64(n)); err != nil || root != naive(all[:n]) {
			t.Fatalf("root at size %d: %v", n, err)
		}
	}
	if _, err := l.RootAt(most + 1); err == nil {
		t.Error("a root beyond the end")
	}
}

func TestProofsAgainstTheNaiveTree(t *testing.T) {
	const most = 600
	all := someEntries(0, most)
	l := open(t, t.TempDir())
	if _, err := l.Append(all); err != nil {
		t.Fatal(err)
	}
	roots := make([][32]byte, most+1)
	for n := range roots {
		roots[n] = naive(all[:n])
	}
	for n := range most + 1 {
		for i := n % 7; i < n; i += 61 {
			p, err := l.Inclusion(uint64(i), uint64(n))
			if err != nil {
				t.Fatal(err)
			}
			if n%9 == 0 && !slices.Equal(p, naivePath(i, all[:n])) {
				t.Fatalf("path of %d in %d differs", i, n)
			}
			leaf := LeafHash(all[i])
			if err := VerifyInclusion(uint64(i), uint64(n), leaf, roots[n], p); err != nil {
				t.Fatal(err)
			}
			if n == most {
				continue
			}
			for _, bad := range []error{
				VerifyInclusion(uint64(i), uint64(n), LeafHash(all[i+1]), roots[n], p),
				VerifyInclusion(uint64(i), uint64(n), leaf, roots[n+1], p),
				VerifyInclusion(uint64(i), uint64(n), leaf, roots[n], append(p, leaf)),
				VerifyInclusion(uint64(n), uint64(n), leaf, roots[n], p),
			} {
				if !errors.Is(bad, ErrProof) {
					t.Fatalf("wrong inclusion of %d in %d: %v", i, n, bad)
				}
			}
		}
		for m := n % 5; m <= n; m += 67 {
			p, err := l.Consistency(uint64(m), uint64(n))
			if err != nil {
				t.Fatal(err)
			}
			if n%9 == 0 && m > 0 && !slices.Equal(p, naiveConsistency(m, all[:n], true)) {
				t.Fatalf("consistency of %d and %d differs", m, n)
			}
			if err := VerifyConsistency(uint64(m), uint64(n), roots[m], roots[n], p); err != nil {
				t.Fatal(err)
			}
			other := roots[(m+1)%most]
			if err := VerifyConsistency(uint64(m), uint64(n), other, roots[n], p); !errors.Is(err, ErrProof) {
				t.Fatalf("%d and %d with another root: %v", m, n, err)
			}
		}
	}
	if _, err := l.Inclusion(600, 600); err == nil {
		t.Error("a proof of no entry")
	}
	if _, err := l.Inclusion(0, 601); err == nil {
		t.Error("a proof beyond the end")
	}
	if _, err := l.Consistency(601, 600); err == nil {
		t.Error("a proof that a shorter log extends a longer")
	}
	if _, err := l.Consistency(0, 601); err == nil {
		t.Error("a proof beyond the end")
	}
}

// One log of three levels of tiles, appended in batches of all kinds.
func TestBatches(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var all [][]byte
	for _, n := range []int{0, 1, 255, 256, 257, 3000, 0, 5, 60000, 2500, 6500} {
		batch := someEntries(len(all), n)
		first, err := l.Append(batch)
		if err != nil || first != uint64(len(all)) {
			t.Fatalf("append: %d, %v", first, err)
		}
		all = append(all, batch...)
	}
	l = open(t, dir)
	checkLog(t, l, all)
	index, size := uint64(65537), uint64(len(all))
	p, err := l.Inclusion(index, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyInclusion(index, size, LeafHash(all[index]), l.Root(), p); err != nil {
		t.Error(err)
	}
	// The example of tlog-tiles for which tiles there are.
	for _, p := range []string{"tile/0/272", "tile/1/000", "tile/2/000.p/1", "tile/entries/x000/000"} {
		_, err := os.Stat(filepath.Join(dir, p))
		if exists := err == nil; exists == strings.Contains(p, "x000") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestAppendAtIsIdempotent(t *testing.T) {
	l := open(t, t.TempDir())
	all := someEntries(0, 700)
	for _, c := range []struct{ first, n int }{{0, 300}, {0, 300}, {100, 200}, {0, 310}, {299, 300}, {700, 0}, {599, 101}, {0, 700}} {
		err := l.AppendAt(uint64(c.first), all[c.first:c.first+c.n])
		if gap := c.first > int(l.Size()); (err != nil) != gap {
			t.Fatalf("%+v at size %d: %v", c, l.Size(), err)
		}
	}
	checkLog(t, l, all)
	if err := l.AppendAt(698, [][]byte{all[698], []byte("other")}); err == nil || !strings.Contains(err.Error(), "entry 699 is there already and differs") {
		t.Errorf("another entry: %v", err)
	}
	if err := l.AppendAt(701, nil); err == nil || !strings.Contains(err.Error(), "the log has only 700") {
		t.Errorf("a gap: %v", err)
	}
	checkLog(t, l, all)
}

func TestAppendRefusals(t *testing.T) {
	l := open(t, t.TempDir())
	longest := bytes.Repeat([]byte("x"), MaxEntryBytes)
	for says, batch := range map[string][][]byte{
		"entry 1 of the batch has 65536 bytes; the 16-bit length of a tlog-tiles entry bundle allows 65535": {nil, append(slices.Clone(longest), 'x')},
		"at most 65536 entries": make([][]byte, MaxBatchEntries+1),
		"at most 268435456":     slices.Repeat([][]byte{longest}, 4097),
	} {
		if _, err := l.Append(batch); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
	}
	all := [][]byte{{}, longest, {}}
	if _, err := l.Append(all); err != nil {
		t.Fatal(err)
	}
	checkLog(t, l, all)
}

func TestOpenFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"no state": func(dir string) error { return os.Remove(filepath.Join(dir, "sealed")) },
		"torn state": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "sealed"), []byte("gavel-log-sealed/v1\n30"), 0o644)
		},
		"old state": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "sealed"), []byte(Checkpoint{sealedOrigin, 0, naive(nil)}.text()), 0o644)
		},
		"another's checkpoint": func(dir string) error {
			k := newLogKey(t)
			return os.WriteFile(filepath.Join(dir, "checkpoint"), k.sign(t, Checkpoint{k.origin, 200, naive(someEntries(1, 200))}), 0o644)
		},
		"torn checkpoint": func(dir string) error { return os.WriteFile(filepath.Join(dir, "checkpoint"), []byte("x"), 0o644) },
		"changed tile":    func(dir string) error { return flip(filepath.Join(dir, "tile/0/001.p/44")) },
		"changed bundle":  func(dir string) error { return flip(filepath.Join(dir, "tile/entries/001.p/44")) },
		"lost tile":       func(dir string) error { return os.Remove(filepath.Join(dir, "tile/1/000.p/1")) },
		"lost bundle":     func(dir string) error { return os.Remove(filepath.Join(dir, "tile/entries/001.p/44")) },
	} {
		dir := t.TempDir()
		l := open(t, dir)
		if _, err := l.Append(someEntries(0, 300)); err != nil {
			t.Fatal(err)
		}
		k := newLogKey(t)
		if err := l.Publish(k.sign(t, Checkpoint{k.origin, 300, l.Root()})); err != nil {
			t.Fatal(err)
		}
		if err := harm(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLog(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// flip changes one byte in the middle of a file.
func flip(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	content[len(content)/2] ^= 1
	return os.WriteFile(path, content, 0o644)
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	all := someEntries(0, 600)
	k := newLogKey(t)
	at := func(n int) Checkpoint { return Checkpoint{k.origin, uint64(n), naive(all[:n])} }
	publish := func(c Checkpoint) error { return l.Publish(k.sign(t, c)) }
	if err := publish(at(0)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{100, 300} {
		if err := l.AppendAt(0, all[:n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := publish(at(100)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tile/0/000.p/100")); err != nil {
		t.Errorf("a partial tile that readers need is gone: %v", err)
	}
	if err := publish(at(256)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tile/0/000.p")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stale partial tiles stay: %v", err)
	}
	for says, c := range map[string]Checkpoint{
		"size 256 is published already":  at(255),
		"only 300 entries are sealed":    at(301),
		"its root is":                    {k.origin, 300, naive(all[:299])},
		"it is one of log \"other.log\"": {"other.log", 300, naive(all[:300])},
	} {
		if err := publish(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
	}
	if err := l.Publish([]byte("no note")); !errors.Is(err, ErrMalformed) {
		t.Errorf("no note: %v", err)
	}
	l = open(t, dir)
	if c := l.Published(); c != at(256) {
		t.Errorf("published is %+v", c)
	}
	if err := publish(at(100)); err == nil {
		t.Error("an older checkpoint replaced a newer after opening")
	}
}

func TestPutFile(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for range 2 {
		for _, p := range []string{"genesis", "status.json", "transcript/" + strings.Repeat("a", 64), "epoch/12", "vsa/00.dsse.json"} {
			if err := l.PutFile(p, []byte("one")); err != nil {
				t.Error(err)
			}
		}
		l = open(t, dir)
	}
	if err := l.PutFile("genesis", []byte("two")); !errors.Is(err, ErrExists) {
		t.Errorf("another genesis: %v", err)
	}
	if err := l.PutFile("status.json", []byte("two")); err != nil {
		t.Error(err)
	}
	many := []File{{"epoch/1", []byte("a")}, {"epoch/2", []byte("b")}, {"vsa/1", []byte("c")}, {"epoch/1", []byte("a")}, {"genesis", []byte("one")}}
	for range 2 {
		if err := l.PutFiles(many); err != nil {
			t.Fatal(err)
		}
		for _, f := range many {
			if got, err := os.ReadFile(filepath.Join(dir, f.Path)); err != nil || !bytes.Equal(got, f.Content) {
				t.Errorf("%s: %q, %v", f.Path, got, err)
			}
		}
	}
	if err := l.PutFiles([]File{{"epoch/3", []byte("a")}, {"epoch/3", []byte("b")}}); !errors.Is(err, ErrExists) {
		t.Errorf("one file, two contents: %v", err)
	}
	if err := l.PutFiles(nil); err != nil {
		t.Error(err)
	}
	for _, p := range []string{"", "checkpoint", "sealed", "tile/0/000", "transcript", "transcript/", "transcript/a/b", "transcript/..", "../x", "/genesis",
		"vsa/.hidden", "vsa/a b", "other/x", "incoming/0", strings.Repeat("a", 300)} {
		if err := l.PutFile(p, nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// blocking is a disk that hangs while it stores, once told to.
type blocking struct {
	unsynced
	hang chan struct{} // nil: it does not
	hung chan struct{}
}

func (b *blocking) Store(files []stored) error {
	if b.hang != nil {
		b.hung <- struct{}{}
		<-b.hang
	}
	return b.unsynced.Store(files)
}

// Proofs are made while a batch waits for a slow disk, from what was sealed before.
func TestReadersDoNotWaitForTheDisk(t *testing.T) {
	disk := &blocking{hung: make(chan struct{})}
	l := must(openLog(t.TempDir(), disk))
	all := someEntries(0, 600)
	if err := l.AppendAt(0, all[:300]); err != nil {
		t.Fatal(err)
	}
	disk.hang = make(chan struct{})
	done := make(chan error)
	go func() { done <- l.AppendAt(300, all[300:]) }()
	<-disk.hung
	checkLog(t, l, all[:300])
	p, err := l.Inclusion(7, 300)
	if err != nil || VerifyInclusion(7, 300, LeafHash(all[7]), l.Root(), p) != nil {
		t.Error(err)
	}
	close(disk.hang)
	<-disk.hung // and the seal
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkLog(t, l, all)
}
