package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gavel/cas"
)

// rawBlobs hands out whatever it holds under whatever digest, as a hostile
// server would; verification is its caller's.
type rawBlobs map[cas.Digest][]byte

func (m rawBlobs) Fetch(_ context.Context, ds []cas.Digest, sink func(cas.Digest, io.Reader) error) error {
	for _, d := range cas.Unique(ds) {
		b, ok := m[d]
		if !ok {
			return cas.NotFound(d)
		}
		if err := sink(d, bytes.NewReader(b)); err != nil {
			return err
		}
	}
	return nil
}

func (m rawBlobs) put(t testing.TB, d *repb.Directory) *repb.Digest {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	m[cas.Of(raw)] = raw
	return cas.Of(raw).Proto()
}

var blob = cas.Of([]byte("content")).Proto()

func fileNode(names ...string) (fs []*repb.FileNode) {
	for _, n := range names {
		fs = append(fs, &repb.FileNode{Name: n, Digest: blob})
	}
	return fs
}

func files(names ...string) *repb.Directory { return &repb.Directory{Files: fileNode(names...)} }

func link(name, target string) *repb.Directory {
	return &repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: name, Target: target}}}
}

func dirs(d *repb.Digest, names ...string) *repb.Directory {
	m := &repb.Directory{}
	for _, n := range names {
		m.Directories = append(m.Directories, &repb.DirectoryNode{Name: n, Digest: d})
	}
	return m
}

// chain nests leaf n directories deep.
func chain(t testing.TB, m rawBlobs, n int, name string, leaf *repb.Directory) *repb.Directory {
	for range n {
		leaf = dirs(m.put(t, leaf), name)
	}
	return leaf
}

func withUnknown(m proto.Message) {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
}

// hostileTree is a tree that must be refused, with words of the error.
type hostileTree struct {
	name, wantErr string
	limits        Limits
	root          func(t testing.TB, m rawBlobs) *repb.Directory
}

// hostile are those with a shape of their own; hostile_nodes_test.go has those
// that are one bad node each.
var hostile = []hostileTree{
	{"empty file name", "empty", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("") }},
	{"dot", "not a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files(".") }},
	{"dot dot", "not a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("..") }},
	{"climbing name", "slash", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("../../etc/passwd") }},
	{"absolute name", "slash", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("/etc/passwd") }},
	{"name with slash", "slash", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("a/b") }},
	{"name ends in slash", "slash", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("a/") }},
	{"NUL in name", "NUL", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("a\x00b") }},
	{"long name", "255", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files(strings.Repeat("n", 256)) }},
	{"directory dot dot", "not a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return dirs(cas.Empty.Proto(), "..") }},
	{"directory dot", "not a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return dirs(cas.Empty.Proto(), ".") }},
	{"directory with slash", "slash", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return dirs(cas.Empty.Proto(), "a/b") }},
	{"symlink dot dot", "not a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("..", "a") }},
	{"symlink without name", "empty", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("", "a") }},
	{"bad name deep below", "not a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return chain(t, m, 5, "d", files("..")) }},

	{"unsorted files", "out of order", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("b", "a") }},
	{"file twice", "twice", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return files("a", "a") }},
	{"file and directory", "twice", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := dirs(cas.Empty.Proto(), "a")
		d.Files = fileNode("a")
		return d
	}},
	{"file and symlink", "twice", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := link("a", "b")
		d.Files = fileNode("a")
		return d
	}},
	{"directory and symlink", "twice", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		// A naive unpacker makes the link and then writes through it.
		d := link("a", "b")
		d.Directories = dirs(cas.Empty.Proto(), "a").Directories
		return d
	}},
	{"unsorted directories", "out of order", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return dirs(cas.Empty.Proto(), "b", "a") }},
	{"unsorted symlinks", "out of order", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return &repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: "b", Target: "x"}, {Name: "a", Target: "x"}}}
	}},

	{"absolute symlink", "absolute", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "/etc/passwd") }},
	{"symlink to root", "absolute", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "/") }},
	{"empty target", "empty", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "") }},
	{"NUL in target", "NUL", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "b\x00c") }},
	{"long target", "4095", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", strings.Repeat("b/", 2048)) }},
	{"long name in target", "255", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", strings.Repeat("b", 256)) }},
	{"target above root", "out of the tree", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "../x") }},
	{"target is parent of root", "out of the tree", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "..") }},
	{"target above root behind dots", "out of the tree", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "././/../x") }},
	{"target above root from below", "out of the tree", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return chain(t, m, 3, "d", link("a", "../../../../x")) }},
	{"target climbs behind a name", "behind a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return link("a", "b/../../x") }},
	{"target climbs through another link", "behind a name", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		// d/up → .. is harmless, but d/up/.. is outside: lexically it is the root.
		d := dirs(m.put(t, link("up", "..")), "d")
		d.Symlinks = link("z", "d/up/..").Symlinks
		return d
	}},
	{"shared directory, high enough in one place only", "out of the tree", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		leaf := m.put(t, link("a", "../../x")) // fine at depth 2, not at 1
		d := dirs(m.put(t, dirs(leaf, "two")), "one")
		d.Directories = append(d.Directories, dirs(leaf, "two").Directories...)
		return d
	}},

	{"no file digest", "digest is missing", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return &repb.Directory{Files: []*repb.FileNode{{Name: "a"}}}
	}},
	{"no directory digest", "digest is missing", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return dirs(nil, "a") }},
	{"negative size", "negative", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return &repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: &repb.Digest{Hash: blob.Hash, SizeBytes: -7}}}}
	}},
	{"hash of another function", "40 characters", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return &repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: &repb.Digest{Hash: blob.Hash[:40], SizeBytes: 7}}}}
	}},
	{"hash is a path", "characters", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return &repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: &repb.Digest{Hash: "../../../etc/passwd", SizeBytes: 7}}}}
	}},
	{"one file, two sizes", "two sizes", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := files("a", "b")
		d.Files[1].Digest = &repb.Digest{Hash: blob.Hash, SizeBytes: 8}
		return d
	}},
	{"two sizes in different directories", "two sizes", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		lie := &repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: &repb.Digest{Hash: blob.Hash, SizeBytes: 1 << 40}}}}
		d := dirs(m.put(t, lie), "d")
		d.Files = fileNode("a")
		return d
	}},
	{"content for the empty hash", "belong together", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return &repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: &repb.Digest{Hash: cas.Empty.Hash, SizeBytes: 1}}}}
	}},
	{"missing directory", "not found", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return dirs(blob, "a") }},
	{"directory is no directory", "not a REAPI directory", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		raw := []byte("\xff\xff\xff no protobuf")
		m[cas.Of(raw)] = raw
		return dirs(cas.Of(raw).Proto(), "a")
	}},
	{"name is not UTF-8", "UTF-8", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		raw := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType),
			protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xff, 0xfe}))
		m[cas.Of(raw)] = raw
		return dirs(cas.Of(raw).Proto(), "a")
	}},
	{"listing larger than allowed", "too large", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return dirs(&repb.Digest{Hash: blob.Hash, SizeBytes: MaxDirectoryBytes + 1}, "a")
	}},

	{"modes asked for", "does not honour", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := files("a")
		d.Files[0].NodeProperties = &repb.NodeProperties{UnixMode: wrapperspb.UInt32(0o4755)}
		return d
	}},
	{"directory properties", "does not honour", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return &repb.Directory{NodeProperties: &repb.NodeProperties{}}
	}},
	{"symlink properties", "does not honour", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := link("a", "b")
		d.Symlinks[0].NodeProperties = &repb.NodeProperties{}
		return d
	}},
	{"unknown field", "does not honour", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := files("a")
		withUnknown(d)
		return d
	}},
	{"unknown field of a file", "does not honour", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := files("a")
		withUnknown(d.Files[0])
		return d
	}},
	{"unknown field of a directory", "does not honour", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := dirs(cas.Empty.Proto(), "a")
		withUnknown(d.Directories[0])
		return d
	}},

	{"too deep", "nested deeper", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return chain(t, m, MaxDepth+1, "d", files("a"))
	}},
	{"too deep by a shortcut", "nested deeper", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		// Found early at the root, where it is shallow enough.
		deep := chain(t, m, MaxDepth/2+10, "d", files("a"))
		shared := m.put(t, deep)
		long := chain(t, m, MaxDepth/2, "e", dirs(shared, "x"))
		d := dirs(shared, "a")
		d.Directories = append(d.Directories, dirs(m.put(t, long), "b").Directories...)
		return d
	}},
	{"too long a path", "path of", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return chain(t, m, 20, strings.Repeat("d", 200), files("a"))
	}},
	{"too wide", "entries", Limits{Entries: 999}, func(t testing.TB, m rawBlobs) *repb.Directory {
		names := make([]string, 1000)
		for i := range names {
			names[i] = fmt.Sprintf("f%04d", i)
		}
		return files(names...)
	}},
	{"bomb of shared subtrees", "entries when expanded", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		leaf := files("a")
		for range 40 { // 2^40 files in 41 messages
			leaf = dirs(m.put(t, leaf), "a", "b")
		}
		return leaf
	}},
	{"bomb that overflows", "entries when expanded", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		leaf := files("a")
		for range MaxDepth { // 2^128
			leaf = dirs(m.put(t, leaf), "a", "b")
		}
		return leaf
	}},
	{"bomb of empty directories", "entries when expanded", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := &repb.Directory{}
		for range 30 {
			d = dirs(m.put(t, d), "a", "b", "c")
		}
		return d
	}},
	{"bomb of bytes", "bytes when expanded", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		huge := files("a", "b", "c", "d", "e", "f", "g", "h", "i")
		for _, f := range huge.Files {
			f.Digest = &repb.Digest{Hash: blob.Hash, SizeBytes: 8 << 30}
		}
		return huge
	}},
	{"bomb of bytes that overflows", "bytes when expanded", Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory {
		huge := files("a", "b", "c")
		for _, f := range huge.Files {
			f.Digest = &repb.Digest{Hash: blob.Hash, SizeBytes: 1<<63 - 1}
		}
		return huge
	}},
	{"too many distinct directories", "listings", Limits{Directories: 10}, func(t testing.TB, m rawBlobs) *repb.Directory {
		d := &repb.Directory{}
		for i := range 10 {
			d.Directories = append(d.Directories, dirs(m.put(t, files(fmt.Sprint(i))), fmt.Sprint(i)).Directories...)
		}
		return d
	}},
	{"listings too large together", "listings", Limits{ListBytes: 500}, func(t testing.TB, m rawBlobs) *repb.Directory {
		return chain(t, m, 6, "d", files("a"))
	}},
}

func TestHostileTrees(t *testing.T) {
	seen := map[string]string{}
	for _, h := range allHostile() {
		t.Run(strings.ReplaceAll(h.name, " ", "-"), func(t *testing.T) {
			m := rawBlobs{cas.Empty: nil}
			root, err := cas.FromProto(m.put(t, h.root(t, m)))
			if err != nil {
				t.Fatal(err)
			}
			same := fmt.Sprint(root, h.limits)
			if other, dup := seen[same]; dup {
				t.Errorf("the same tree as %s", other)
			}
			seen[same] = h.name
			_, err = Load(t.Context(), m, root, h.limits)
			if err == nil || !strings.Contains(err.Error(), h.wantErr) {
				t.Errorf("error %v, want one about %q", err, h.wantErr)
			}
			if err != nil && len(err.Error()) > maxErrorBytes {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
	// Of lists, hostile_lists_test.go has more.
	if n := len(seen); n < 150 {
		t.Errorf("%d distinct hostile trees, want at least 150", n)
	} else {
		t.Logf("%d hostile trees", n)
	}
}

// A digest cannot contain itself; a server that does not verify can say so.
func TestCycleIsRefused(t *testing.T) {
	m := rawBlobs{}
	for length := 1; length <= 3; length++ {
		ids := make([]cas.Digest, length)
		for i := range ids {
			ids[i] = cas.Of(fmt.Appendf(nil, "%d of %d", i, length))
		}
		for i := range ids {
			raw, err := proto.Marshal(dirs(ids[(i+1)%length].Proto(), "again"))
			if err != nil {
				t.Fatal(err)
			}
			// A size that fits is part of the lie.
			ids[i].Size = int64(len(raw))
		}
		for i := range ids {
			raw, _ := proto.Marshal(dirs(ids[(i+1)%length].Proto(), "again"))
			m[ids[i]] = raw
		}
		if _, err := Load(t.Context(), m, ids[0], Limits{}); err == nil || !strings.Contains(err.Error(), "contains itself") {
			t.Errorf("cycle of %d: %v", length, err)
		}
	}
}

// What the table's neighbours look like when they are allowed.
func TestHarmlessTrees(t *testing.T) {
	for name, make := range map[string]func(m rawBlobs) *repb.Directory{
		"empty":                   func(m rawBlobs) *repb.Directory { return &repb.Directory{} },
		"odd names":               func(m rawBlobs) *repb.Directory { return files("\n", "-rf", "...", ".git", "\\", "ü") },
		"link to sibling":         func(m rawBlobs) *repb.Directory { return link("a", "b") },
		"link to itself":          func(m rawBlobs) *repb.Directory { return link("a", "a") },
		"link to the root":        func(m rawBlobs) *repb.Directory { return chain(t, m, 2, "d", link("a", "../..")) },
		"link up and down":        func(m rawBlobs) *repb.Directory { return chain(t, m, 2, "d", link("a", "../../x/y/")) },
		"deepest":                 func(m rawBlobs) *repb.Directory { return chain(t, m, MaxDepth, "d", files("a")) },
		"shared subtree":          func(m rawBlobs) *repb.Directory { return dirs(m.put(t, files("a")), "x", "y") },
		"same file at two places": func(m rawBlobs) *repb.Directory { return files("a", "b") },
	} {
		m := rawBlobs{cas.Empty: nil}
		root, _ := cas.FromProto(m.put(t, make(m)))
		loaded, err := Load(t.Context(), m, root, Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var entries, bytes int64
		if err := loaded.Walk(func(e Entry) error { entries++; bytes += e.Digest.Size; return nil }); err != nil {
			t.Error(err)
		}
		if loaded.Totals != (Totals{entries, bytes}) {
			t.Errorf("%s: totals %+v, walked %d entries, %d bytes", name, loaded.Totals, entries, bytes)
		}
	}
}

func FuzzParseDirectory(f *testing.F) {
	m := rawBlobs{}
	for _, h := range allHostile() {
		if strings.HasPrefix(h.name, "bomb") || strings.HasPrefix(h.name, "too") {
			continue
		}
		m.put(f, h.root(f, m))
	}
	for _, raw := range m {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := ParseDirectory(raw)
		if err != nil {
			return
		}
		canonical, err := d.Encode()
		if err != nil {
			t.Fatalf("parsed but not encoded: %v", err)
		}
		again, err := ParseDirectory(canonical)
		if err != nil {
			t.Fatalf("its own encoding refused: %v", err)
		}
		if twice, err := again.Encode(); err != nil || !bytes.Equal(twice, canonical) {
			t.Fatalf("encoding is not canonical: %x, then %x, %v", canonical, twice, err)
		}
		for _, n := range d.Files {
			if s := n.Name.String(); s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\x00") {
				t.Fatalf("name %q got through", s)
			}
		}
		for _, n := range d.Symlinks {
			if strings.HasPrefix(n.Target, "/") {
				t.Fatalf("target %q got through", n.Target)
			}
		}
		if !errors.Is(d.checkNames(), nil) {
			t.Fatal("names not in order")
		}
	})
}
