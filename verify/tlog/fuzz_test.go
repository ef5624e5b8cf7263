package tlog

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"math/bits"
	"slices"
	"testing"
)

// seeded is a signer whose key every run has, so that inputs found once stay good.
func seeded(t testing.TB, name string, seed byte) *signer {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return &signer{origin: name, pkix: pkixOf(t, private.Public()), do: func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil }}
}

// Whatever note comes: no panic, and one that opens was signed, over exactly its
// text, by the log and enough cosigners, each once.
func FuzzTrustOpen(f *testing.F) {
	log := seeded(f, "log.example", 1)
	cosigners := []*signer{seeded(f, "log.example/a", 2), seeded(f, "log.example/b", 3), seeded(f, "log.example/c", 4)}
	trust := Trust{Origin: log.origin, LogKey: log.pkix, Quorum: 2}
	for _, c := range cosigners {
		trust.Cosigners = append(trust.Cosigners, Cosigner{c.origin, c.pkix})
	}
	c := Checkpoint{log.origin, 300, naive(someEntries(0, 300))}
	signed := log.sign(f, c)
	a, b := cosigners[0].cosign(f, signed, 1), cosigners[1].cosign(f, signed, 1<<40)
	f.Add(signed)
	f.Add(add(f, signed, a))
	f.Add(add(f, signed, a, b))
	f.Add(slices.Concat(signed, a, a))
	f.Add(slices.Concat([]byte(c.text()+"\n"), a, b))
	f.Add([]byte(witnessExample))
	f.Add([]byte("a\n0\nAAAA\n\n— a AAAAAAAAAAAA\n"))
	f.Fuzz(func(t *testing.T, note []byte) {
		read, err := ReadUnverified(note)
		if err == nil {
			text, extensions, err := parseText(read.text())
			if err != nil || extensions != "" || text != read || !bytes.HasPrefix(note, []byte(read.text())) {
				t.Fatalf("%+v is not what the note says", read)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		o, err := trust.Open(note)
		if (o == nil) == (err == nil) || err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrSignature) {
			t.Fatalf("%+v, %v", o, err)
		}
		if o == nil {
			return
		}
		// Only this text was ever signed by these keys.
		if o.Checkpoint != c || len(slices.Compact(slices.Clone(o.Cosigners))) < 2 {
			t.Fatalf("%+v passed", o)
		}
		again, err := AddSignatures(note, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trust.Open(again); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzAddSignatures(f *testing.F) {
	log := seeded(f, "log.example", 1)
	signed := log.sign(f, Checkpoint{log.origin, 0, naive(nil)})
	f.Add(signed, log.cosign(f, signed, 1))
	f.Add(signed, []byte("— a AAAAAAAAAAAA\n"))
	f.Fuzz(func(t *testing.T, note, line []byte) {
		out, err := AddSignatures(note, line)
		if err != nil {
			return
		}
		before, after := must(readNote(note)), must(readNote(out))
		if before.Text != after.Text || len(after.UnverifiedSigs) < len(before.UnverifiedSigs) || len(after.UnverifiedSigs) > len(before.UnverifiedSigs)+1 {
			t.Fatalf("%q and %q make %q", note, line, out)
		}
		if twice := must(AddSignatures(out, line)); !bytes.Equal(twice, out) {
			t.Fatalf("twice makes %q, once %q", twice, out)
		}
	})
}

// A bundle that can be read is, written again, the same bytes.
func FuzzEntryBundle(f *testing.F) {
	f.Add([]byte{}, 1)
	f.Add([]byte{0, 0}, 1)
	f.Add([]byte{0, 1, 'a', 0, 0, 0, 2, 'b', 'c'}, 3)
	f.Add([]byte{255, 255, 'a'}, 1)
	f.Fuzz(func(t *testing.T, content []byte, width int) {
		if width < 1 || width > tileWidth {
			return
		}
		entries, err := splitBundle(content, width)
		if (entries == nil) == (err == nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		if err != nil {
			return
		}
		var again []byte
		for _, entry := range entries {
			again = appendEntry(again, entry)
		}
		if len(entries) != width || !bytes.Equal(again, content) {
			t.Fatalf("%d entries of %x make %x", len(entries), content, again)
		}
	})
}

func FuzzTilePath(f *testing.F) {
	for _, p := range []string{"tile/0/000", "tile/63/x001/x234/067.p/255", "tile/entries/x999/999", "tile/0/000.p/00", "tile//000", "tile/0/x1/2"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		one, err := parseTilePath(p)
		if err == nil && (one.path() != p || checkPath(p) != nil || one.width < 1 || one.width > tileWidth || isBeside(p)) {
			t.Fatalf("%q is %+v", p, one)
		}
		one.within(1 << 40)
		if isBeside(p) && !fs.ValidPath(p) {
			t.Fatalf("%q lies beside the log", p)
		}
	})
}

func FuzzAddCheckpoint(f *testing.F) {
	w := must(openWitness(f.TempDir(), Cosigner{"w.example", seeded(f, "", 9).pkix}, seeded(f, "", 9).do, fixedTime, unsynced{}))
	log := seeded(f, "log.example", 1)
	if err := w.Watch(log.origin, log.pkix); err != nil {
		f.Fatal(err)
	}
	good := Checkpoint{log.origin, 3, naive(someEntries(0, 3))}
	f.Add([]byte(witnessExample))
	f.Add(formatAddCheckpoint(0, nil, log.sign(f, good)))
	f.Add(formatAddCheckpoint(3, nil, log.sign(f, good)))
	f.Add(formatAddCheckpoint(3, [][32]byte{{}}, log.sign(f, Checkpoint{log.origin, 4, naive(someEntries(0, 4))})))
	f.Fuzz(func(t *testing.T, body []byte) {
		old, path, signed, err := parseAddCheckpoint(body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again := formatAddCheckpoint(old, path, signed); !bytes.Equal(again, body) {
			t.Fatalf("%q is read as %q", body, again)
		}
		line, err := w.Update(old, path, signed)
		if latest := must(w.Latest(log.origin)); latest.Size != 0 && latest != good || line != nil && latest != good {
			t.Fatalf("%q, %v: it remembers %+v", line, err, latest)
		}
	})
}

// A proof passes for the leaf and root that it was made for, and for no other,
// whatever is done to it.
func FuzzVerifyInclusion(f *testing.F) {
	all := someEntries(0, 600)
	l := must(openLog(f.TempDir(), unsynced{}))
	if _, err := l.Append(all); err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(3), uint64(7), uint64(3), uint64(7), []byte{}, uint16(0), byte(0))
	f.Add(uint64(599), uint64(600), uint64(88), uint64(600), []byte{1, 2, 3}, uint16(9), byte(1))
	f.Add(uint64(0), uint64(1), uint64(1<<63), uint64(1<<63+1), bytes.Repeat([]byte{7}, 32*70), uint16(9), byte(0))
	f.Fuzz(func(t *testing.T, index, size, claimed, claimedSize uint64, more []byte, at uint16, flip byte) {
		size = size%600 + 1
		index %= size
		root, leaf := must(l.RootAt(size)), LeafHash(all[index])
		path := must(l.Inclusion(index, size))
		if err := VerifyInclusion(index, size, leaf, root, path); err != nil {
			t.Fatal(err)
		}
		wrong := slices.Clone(path)
		if n := len(wrong) * hashBytes; n > 0 {
			wrong[int(at)%n/hashBytes][int(at)%hashBytes] ^= flip
		}
		for len(more) >= hashBytes {
			wrong, more = append(wrong, [32]byte(more)), more[hashBytes:]
		}
		same := slices.Equal(wrong, path)
		if err := VerifyInclusion(index, size, leaf, root, wrong); (err == nil) != same {
			t.Fatalf("entry %d of %d, proof unchanged %v: %v", index, size, same, err)
		}
		// The entries are distinct. (A size is vouched for by the checkpoint alone: some
		// share the shape of a path.)
		if err := VerifyInclusion(claimed, size, leaf, root, wrong); err == nil && claimed != index {
			t.Fatalf("entry %d of %d passes as %d", index, size, claimed)
		}
		_ = VerifyInclusion(index, claimedSize, leaf, root, wrong)
	})
}

func FuzzVerifyConsistency(f *testing.F) {
	all := someEntries(0, 600)
	l := must(openLog(f.TempDir(), unsynced{}))
	if _, err := l.Append(all); err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(3), uint64(7), uint64(3), []byte{}, uint16(0), byte(0))
	f.Add(uint64(256), uint64(600), uint64(1<<63), []byte{1}, uint16(9), byte(1))
	f.Add(uint64(0), uint64(600), uint64(5), bytes.Repeat([]byte{7}, 32*70), uint16(9), byte(0))
	f.Fuzz(func(t *testing.T, old, size, claimed uint64, more []byte, at uint16, flip byte) {
		size %= 601
		old %= size + 1
		root, oldRoot := must(l.RootAt(size)), must(l.RootAt(old))
		path := must(l.Consistency(old, size))
		if err := VerifyConsistency(old, size, oldRoot, root, path); err != nil {
			t.Fatal(err)
		}
		wrong := slices.Clone(path)
		if n := len(wrong) * hashBytes; n > 0 {
			wrong[int(at)%n/hashBytes][int(at)%hashBytes] ^= flip
		}
		for len(more) >= hashBytes {
			wrong, more = append(wrong, [32]byte(more)), more[hashBytes:]
		}
		same := slices.Equal(wrong, path)
		if err := VerifyConsistency(old, size, oldRoot, root, wrong); (err == nil) != same {
			t.Fatalf("%d and %d, proof unchanged %v: %v", old, size, same, err)
		}
		bad := oldRoot
		bad[at%hashBytes] ^= flip | 1
		if err := VerifyConsistency(old, size, bad, root, wrong); err == nil {
			t.Fatalf("%d and %d: another old root passes", old, size)
		}
		bad = root
		bad[at%hashBytes] ^= flip | 1
		// From nothing anything follows: that is what an empty tree means.
		if err := VerifyConsistency(old, size, oldRoot, bad, wrong); err == nil && old != 0 {
			t.Fatalf("%d and %d: another new root passes", old, size)
		}
		_ = VerifyConsistency(claimed, size, oldRoot, root, wrong)
		_ = VerifyConsistency(old, claimed, oldRoot, root, wrong)
	})
}

// tampered is a source of a good log with one file's content replaced.
type tampered struct {
	Source
	path    string
	content []byte
}

func (s tampered) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if path == s.path {
		if int64(len(s.content)) > limit {
			return nil, ErrTooLarge
		}
		return s.content, nil
	}
	return s.Source.Read(ctx, path, limit)
}

// Whatever one file of a log is replaced by: readers return the log's entries or
// an error, and a walk finds the file at fault unless it is unchanged.
func FuzzTamperedFile(f *testing.F) {
	const n = 600
	dir, all, c := published(f, n)
	paths := Paths(n)
	good := map[string][]byte{}
	for i, p := range paths {
		good[p] = must(DirSource(dir).Read(f.Context(), p, maxBundleBytes))
		f.Add(byte(i), good[p])
		f.Add(byte(i), good[p][:bits.Len(uint(len(good[p])))])
	}
	f.Fuzz(func(t *testing.T, which byte, content []byte) {
		from := tampered{DirSource(dir), paths[int(which)%len(paths)], content}
		same := bytes.Equal(content, good[from.path])
		r, err := NewReader(t.Context(), from, c)
		if err == nil {
			var entries [][]byte
			entries, err = collect(t.Context(), r, 0, n)
			if !equalEntries(entries, all[:len(entries)]) || err == nil && len(entries) != n {
				t.Fatalf("%s: other entries were read, %v", from.path, err)
			}
		}
		if same && err != nil || err != nil && !errors.As(err, new(*FileError)) {
			t.Fatalf("%s: %v", from.path, err)
		}
		_, faults := walk(t, NewWalk(from, n), c.Root)
		if same != (len(faults) == 0) || len(faults) > 0 && faults[0].Path != from.path {
			t.Fatalf("%s, unchanged %v: %v", from.path, same, faults)
		}
	})
}
