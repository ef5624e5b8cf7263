package audit

import (
	"bytes"
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"gavel/raftfsm"
	"gavel/raftfsm/wire"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// overlay is a log in memory in which one file is replaced.
type overlay struct {
	files   map[string][]byte
	path    string
	content []byte
}

func (o *overlay) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	content, ok := o.files[path]
	if path == o.path {
		content, ok = o.content, true
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !ok:
		return nil, fs.ErrNotExist
	case int64(len(content)) > limit:
		return nil, tlog.ErrTooLarge
	}
	return content, nil
}

// begun is the first epochs of a world, in memory: enough to replay, and quick.
var begun = sync.OnceValue(func() map[string][]byte {
	s := small().Copy()
	for i := range s.Items {
		if e := s.Items[i].Epoch; e != nil && e.Number == 2 {
			s.Items = s.Items[:i+1]
			break
		}
	}
	must(0, s.Derive())
	dir := must(os.MkdirTemp("", "audit-fuzz"))
	defer func() { _ = os.RemoveAll(dir) }()
	must(0, s.Write(dir))
	files := map[string][]byte{}
	for _, path := range must(ListDir(dir)) {
		if path == "incoming/" {
			continue // the appender's
		}
		files[path] = must(tlog.DirSource(dir).Read(context.Background(), path, 1<<30))
	}
	return files
})

// FuzzServedFile puts hostile bytes in the place of any file of a log: entries of an
// epoch, a checkpoint, a genesis, tiles, leaves, statements. An audit never panics,
// and never finds nothing but where the file is as it was.
func FuzzServedFile(f *testing.F) {
	files := begun()
	paths := wire.SortedKeys(files, strings.Compare)
	for i, path := range paths {
		if len(files[path]) < 4096 { // the engine mutates small ones faster
			f.Add(uint16(i), files[path])
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, content []byte) {
		path := paths[int(which)%len(paths)]
		src := &overlay{files, path, content}
		r, err := Run(t.Context(), src, Options{List: func() ([]string, error) { return paths, nil }})
		if err == nil && r.Clean() && string(content) != string(files[path]) {
			t.Fatalf("%s: a change was not found", path)
		}
		if err == nil && string(content) == string(files[path]) && !r.Clean() {
			t.Fatalf("%s: %s", path, r.Deviations[0].String())
		}
		if r != nil {
			_ = r.String()
		}
	})
}

// FuzzEpochEntries holds the decoder of epochs to its one form.
func FuzzEpochEntries(f *testing.F) {
	entries := evidence.EpochEntries(small().Entries[len(small().Entries)-3:])
	f.Add(wire.Encode(&entries))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var entries evidence.EpochEntries
		if err := wire.Decode(raw, &entries); err == nil && string(wire.Encode(&entries)) != string(raw) {
			t.Fatal("two encodings of the same entries")
		}
	})
}

// kept is a resume state in memory.
type kept struct{ raw []byte }

func (k *kept) Load() ([]byte, error)   { return k.raw, nil }
func (k *kept) Save(state []byte) error { k.raw = state; return nil }

// sealed ends a state with the digest that it must have.
func sealed(raw []byte) []byte {
	digest := resumeDigest(raw)
	return append(raw[:len(raw):len(raw)], digest[:]...)
}

// FuzzResumeState holds the decoder of resume states to its one form.
func FuzzResumeState(f *testing.F) {
	f.Add(wire.Encode(&resumeState{
		Note: []byte("note"), Leaves: 3, Position: tlog.Position{Size: 256, Hashes: [][][32]byte{nil, {{1}}}}, Keys: [][]byte{{1}},
		Waiting: []raftfsm.TranscriptOf{{Bytes: []byte{2}}}, Recent: [][32]byte{{3}}, Events: []event{{4, []byte{5}}},
		Files: map[string][32]byte{"a": {6}}, Book: *newBook(small().Genesis), Snapshot: []byte{7},
	}))
	f.Add([]byte{resumeVersion})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := readResume(sealed(raw)); err == nil && string(wire.Encode(r)) != string(raw) {
			t.Fatal("two encodings of the same state")
		}
		if _, err := readResume(raw); err == nil {
			t.Fatal("a state without its digest was taken")
		}
	})
}

// A hostile state whose digest is right never makes an audit panic, nor find fault
// with a good log.
func TestHostileResumeState(t *testing.T) {
	files := begun()
	k := &kept{}
	if r := must(Run(t.Context(), &overlay{files: files}, Options{Resume: k})); !r.Clean() || k.raw == nil {
		t.Fatalf("%+v", r)
	}
	good := k.raw[:len(k.raw)-32]
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		raw := bytes.Clone(good)
		for range 1 + rng.IntN(3) {
			at := rng.IntN(len(raw))
			if rng.IntN(2) == 0 { // the head is small, the snapshot large
				at = rng.IntN(2000)
			}
			raw[at] ^= 1 << rng.IntN(8)
		}
		r, err := Run(t.Context(), &overlay{files: files}, Options{Resume: &kept{sealed(raw)}})
		if err != nil || !r.Clean() {
			t.Errorf("%v %+v", err, r)
		}
	}
}

// FuzzReceipt reads receipts from strangers.
func FuzzReceipt(f *testing.F) {
	f.Add([]byte(`{"commandDigest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","index":"12","subject":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","coordinator":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","signature":"AAAA"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ReadReceipt("x", raw)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if r != nil {
			_ = r.signed([32]byte{})
		}
	})
}
