package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gavel/cas"
)

var (
	content = []byte("content")
	whole   = cas.Of(content)
)

func fileAt(path string) Entry         { return Entry{Path: path, Type: File, Digest: whole} }
func linkAt(path, target string) Entry { return Entry{Path: path, Type: Symlink, Target: target} }
func dirAt(path string) Entry          { return Entry{Path: path, Type: Dir} }

// hostileLists are trees listed flat that must be refused before anything is fetched or written.
var hostileLists = []struct {
	name, wantErr string
	limits        Limits
	entries       []Entry
}{
	{"empty path", `path ""`, Limits{}, []Entry{fileAt("")}},
	{"absolute", `"/etc/passwd"`, Limits{}, []Entry{fileAt("/etc/passwd")}},
	{"climbing", `"../x"`, Limits{}, []Entry{fileAt("../x")}},
	{"climbing inside", `"a/../../x"`, Limits{}, []Entry{fileAt("a/../../x")}},
	{"dot", `"."`, Limits{}, []Entry{fileAt(".")}},
	{"dot inside", `"a/./b"`, Limits{}, []Entry{fileAt("a/./b")}},
	{"two slashes", `"a//b"`, Limits{}, []Entry{fileAt("a//b")}},
	{"trailing slash", `"a/"`, Limits{}, []Entry{dirAt("a/")}},
	{"NUL", "NUL", Limits{}, []Entry{fileAt("a\x00b")}},
	{"not UTF-8", "UTF-8", Limits{}, []Entry{fileAt("\xff\xfe")}},
	{"long name", "256 bytes", Limits{}, []Entry{fileAt(strings.Repeat("n", 256))}},
	{"long path", "more than 3840", Limits{}, []Entry{fileAt(strings.Repeat("dddddddd/", 427) + "f")}},
	{"deep", "nested deeper", Limits{}, []Entry{fileAt(strings.Repeat("d/", MaxDepth) + "f")}},
	{"out of order", `"a" is out of order`, Limits{}, []Entry{fileAt("b"), fileAt("a")}},
	{"twice", `"a" is out of order or listed twice`, Limits{}, []Entry{fileAt("a"), fileAt("a")}},
	{"file and directory", `"a"`, Limits{}, []Entry{dirAt("a"), fileAt("a")}},
	{"below a file", `"a/b" lies below "a"`, Limits{}, []Entry{fileAt("a"), fileAt("a/b")}},
	{"below a symlink", `"a/b" lies below "a"`, Limits{}, []Entry{linkAt("a", "b"), fileAt("a/b")}},
	{"far below a symlink", `"a/b/c/d" lies below "a"`, Limits{}, []Entry{linkAt("a", "x"), fileAt("a/b/c/d")}},
	{"below a symlink, behind its neighbours", `lies below "a"`, Limits{}, []Entry{linkAt("a", "x"), fileAt("a!"), fileAt("a-b"), fileAt("a/b")}},
	{"directory below a symlink", `lies below "a"`, Limits{}, []Entry{linkAt("a", "x"), dirAt("a/b")}},
	{"link below a link", `lies below "a"`, Limits{}, []Entry{linkAt("a", "x"), linkAt("a/b", "y")}},
	{"absolute target", "absolute", Limits{}, []Entry{linkAt("a", "/etc")}},
	{"climbing target", `"a"`, Limits{}, []Entry{linkAt("a", "..")}},
	{"climbing target below", `"d/a"`, Limits{}, []Entry{linkAt("d/a", "../..")}},
	{"target behind a name", "behind a name", Limits{}, []Entry{linkAt("a", "b/..")}},
	{"empty target", "empty", Limits{}, []Entry{linkAt("a", "")}},
	{"NUL in target", "NUL", Limits{}, []Entry{linkAt("a", "b\x00")}},
	{"chain of links", "behind a name", Limits{}, []Entry{linkAt("d/up", ".."), linkAt("x", "d/up/../etc")}},
	{"no type", "unknown type 0", Limits{}, []Entry{{Path: "a", Digest: whole}}},
	{"type of tomorrow", "unknown type 4", Limits{}, []Entry{{Path: "a", Type: 4}}},
	{"type 255", "unknown type 255", Limits{}, []Entry{{Path: "a", Type: 255}}},
	{"directory with a digest", "no file but has", Limits{}, []Entry{{Path: "a", Type: Dir, Digest: whole}}},
	{"executable directory", "no file but has", Limits{}, []Entry{{Path: "a", Type: Dir, Executable: true}}},
	{"executable link", "no file but has", Limits{}, []Entry{{Path: "a", Type: Symlink, Target: "b", Executable: true}}},
	{"file with a target", "no symlink but has", Limits{}, []Entry{{Path: "a", Type: File, Digest: whole, Target: "b"}}},
	{"directory with a target", "no symlink but has", Limits{}, []Entry{{Path: "a", Type: Dir, Target: "b"}}},
	{"no digest", `file "a"`, Limits{}, []Entry{{Path: "a", Type: File}}},
	{"upper-case digest", "lower-case", Limits{}, []Entry{{Path: "a", Type: File, Digest: cas.Digest{Hash: strings.ToUpper(whole.Hash), Size: 7}}}},
	{"negative size", "negative", Limits{}, []Entry{{Path: "a", Type: File, Digest: cas.Digest{Hash: whole.Hash, Size: -1}}}},
	{"too many", "at most 2", Limits{Entries: 2}, []Entry{fileAt("a"), fileAt("b"), fileAt("c")}},
	{"too large", "more than 20 bytes", Limits{Bytes: 20}, []Entry{fileAt("a"), fileAt("b"), fileAt("c")}},
	{"sizes that overflow", "too large", Limits{}, []Entry{
		{Path: "a", Type: File, Digest: cas.Digest{Hash: whole.Hash, Size: 1<<63 - 1}}, {Path: "b", Type: File, Digest: cas.Digest{Hash: whole.Hash, Size: 1<<63 - 1}}}},
	{"one hash, two sizes", "two sizes", Limits{}, []Entry{fileAt("a"), {Path: "b", Type: File, Digest: cas.Digest{Hash: whole.Hash, Size: 8}}}},
}

// nothing is a Fetcher that must not be asked.
type nothing struct{ t testing.TB }

func (n nothing) Fetch(context.Context, []cas.Digest, func(cas.Digest, io.Reader) error) error {
	n.t.Error("a hostile list is fetched")
	return errors.New("not to be asked")
}

func TestHostileLists(t *testing.T) {
	for _, h := range hostileLists {
		t.Run(strings.ReplaceAll(h.name, " ", "-"), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			err := Download(t.Context(), nothing{t}, h.entries, dir, Options{Limits: h.limits})
			if err == nil || !strings.Contains(err.Error(), h.wantErr) {
				t.Errorf("error %v, want one about %q", err, h.wantErr)
			}
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory was made: %v", err)
			}
		})
	}
}

// lying hands out other bytes than were asked for, through the verifying reader
// that a Fetcher promises.
type lying map[cas.Digest][]byte

func (l lying) Fetch(ctx context.Context, ds []cas.Digest, sink func(cas.Digest, io.Reader) error) error {
	return rawBlobs(l).Fetch(ctx, ds, func(d cas.Digest, r io.Reader) error { return sink(d, cas.Verify(d, r)) })
}

// lies are what a store can say instead of the seven bytes asked for.
var lies = map[string][]byte{
	"nothing": {}, "short": content[:6], "long": append(bytes.Clone(content), 'x'), "other bytes": []byte("CONTENT"),
	"one bit off": []byte("contenu"), "twice": append(bytes.Clone(content), content...), "huge": make([]byte, 1<<20),
	"a directory": {0x0a, 0x03, 0x0a, 0x01, 'a'}, "the same and NUL": append(bytes.Clone(content), 0),
}

// A store that lies about a file or a listing is found out, and what it sent lies nowhere.
func TestLyingStores(t *testing.T) {
	for name, lie := range lies {
		dir := t.TempDir()
		err := Download(t.Context(), lying{whole: lie}, []Entry{fileAt("a/b"), fileAt("c")}, dir, Options{})
		if !errors.Is(err, cas.ErrDigestMismatch) {
			t.Errorf("file, %s: %v", name, err)
		}
		if left := filesBelow(t, dir); len(left) > 0 {
			t.Errorf("file, %s: left %q", name, left)
		}
		// The same of a listing: the answer to its digest is the lie.
		if _, err := Load(t.Context(), lying{whole: lie}, whole, Limits{}); !errors.Is(err, cas.ErrDigestMismatch) {
			t.Errorf("listing, %s: %v", name, err)
		}
	}
	if err := Download(t.Context(), lying{}, []Entry{fileAt("a")}, t.TempDir(), Options{}); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("a missing file: %v", err)
	}
}

func filesBelow(t testing.TB, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A valid tree with one random change is either refused, with nothing outside
// touched, or comes out exactly as it says.
func TestMutatedTreesAreRefusedOrExact(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := rawBlobs{cas.Empty: nil, whole: content}
		leaf := encodeDirectory(t, m, &Directory{Files: []FileNode{{Component{"f"}, whole, true}}, Symlinks: []SymlinkNode{{Component{"l"}, "../top"}}})
		root := encodeDirectory(t, m, &Directory{
			Files:       []FileNode{{Component{"top"}, whole, false}},
			Directories: []DirectoryNode{{Component{"a"}, leaf}, {Component{"b"}, leaf}},
			Symlinks:    []SymlinkNode{{Component{"link"}, "a/f"}},
		})
		root = mutate(r, m, root, leaf)
		outer := t.TempDir()
		dir := filepath.Join(outer, "in", "tree")
		loaded, err := Load(t.Context(), lying(m), root, Limits{})
		if err != nil {
			return // refused, and nothing was asked to be written
		}
		var want []Entry
		if err := loaded.Walk(func(e Entry) error { want = append(want, e); return nil }); err != nil {
			r.Fatal(err)
		}
		sortEntries(want)
		err = Download(t.Context(), lying(m), want, dir, Options{})
		if outside, _ := filepath.Glob(filepath.Join(outer, "*")); len(outside) > 1 || len(outside) == 1 && filepath.Base(outside[0]) != "in" {
			r.Fatalf("written outside: %q", outside)
		}
		if err != nil {
			return // a blob that is not there
		}
		got, err := Scan(t.Context(), dir, Options{})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			r.Fatalf("it came out as\n%v, %v\nand says\n%v", got, err, want)
		}
	})
}

func encodeDirectory(t testing.TB, m rawBlobs, d *Directory) cas.Digest {
	t.Helper()
	raw, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m[cas.Of(raw)] = raw
	return cas.Of(raw)
}

// mutate changes some bytes of the root's listing or of a leaf's, whose new
// digest the root then names, so that no digest gives the change away.
func mutate(r *rapid.T, m rawBlobs, root, leaf cas.Digest) cas.Digest {
	change := func(raw []byte) []byte {
		raw = bytes.Clone(raw)
		for range rapid.IntRange(1, 3).Draw(r, "changes") {
			at := rapid.IntRange(0, len(raw)-1).Draw(r, "at")
			some := rapid.SampledFrom([]string{"/", ".", "..", "\x00", "../", "\xff", "a", "B", "\x0a", "\x12", "\x1a", "0", "\x7f"}).Draw(r, "bytes")
			switch rapid.IntRange(0, 2).Draw(r, "how") {
			case 0: // overwrite
				copy(raw[at:], some)
			case 1: // insert
				raw = append(raw[:at:at], append([]byte(some), raw[at:]...)...)
			default: // remove
				if len(raw) > 1 {
					raw = append(raw[:at:at], raw[at+1:]...)
				}
			}
		}
		m[cas.Of(raw)] = raw
		return raw
	}
	if rapid.Bool().Draw(r, "of the root") {
		return cas.Of(change(m[root]))
	}
	changed := cas.Of(change(m[leaf]))
	parent, err := ParseDirectory(m[root])
	if err != nil {
		r.Fatal(err)
	}
	for i := range parent.Directories {
		parent.Directories[i].Digest = changed
	}
	raw, err := parent.Encode()
	if err != nil {
		r.Fatal(err)
	}
	m[cas.Of(raw)] = raw
	return cas.Of(raw)
}
