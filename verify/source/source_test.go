package source

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gavel/cas"
	"gavel/cas/tree"
)

// cas/tree's encoder, by the protobuf library from REAPI's own definition, is the
// oracle: the farm's roots are its work.
func TestEncodingIsREAPI(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z0-9._ü€-]{1,12}`).Filter(func(s string) bool { return checkName(s) == nil }), 0, 12, rapid.ID).Draw(t, "names")
		var nodes []node
		var want tree.Directory
		for _, name := range names {
			component, err := tree.NewComponent(name)
			if err != nil {
				t.Fatal(err)
			}
			content := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "content")
			n := node{kind: kind(rapid.IntRange(0, 3).Draw(t, "kind")), name: name, digest: digestOf(content), target: "to/" + name}
			nodes = append(nodes, n)
			switch n.kind {
			case kindFile, kindExecutable:
				want.Files = append(want.Files, tree.FileNode{Name: component, Digest: cas.Of(content), Executable: n.kind == kindExecutable})
			case kindSymlink:
				want.Symlinks = append(want.Symlinks, tree.SymlinkNode{Name: component, Target: n.target})
			case kindTree:
				want.Directories = append(want.Directories, tree.DirectoryNode{Name: component, Digest: cas.Of(content)})
			}
		}
		wanted, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(nodes); string(got) != string(wanted) {
			t.Fatalf("got %x, want %x", got, wanted)
		}
	})
}

// treeObject is "mode name\0id" for each, with ids of n bytes.
func treeObject(n int, entries ...string) []byte {
	var out []byte
	for i, e := range entries {
		out = append(append(append(out, e...), 0), make([]byte, n)...)
		out[len(out)-1] = byte(i)
	}
	return out
}

func TestParseTree(t *testing.T) {
	for _, n := range []int{20, 32} {
		got, err := parseTree(treeObject(n, "100644 a", "100755 b", "120000 c", "40000 d", "100664 ü"), n)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []entry{{kind: kindFile, name: "a"}, {kind: kindExecutable, name: "b"}, {kind: kindSymlink, name: "c"}, {kind: kindTree, name: "d"}, {kind: kindFile, name: "ü"}} {
			if got[i].kind != want.kind || got[i].name != want.name || !strings.HasSuffix(got[i].id, hex.EncodeToString([]byte{byte(i)})) || len(got[i].id) != 2*n {
				t.Errorf("entry %d is %+v, want %+v", i, got[i], want)
			}
		}
	}
	for what, raw := range map[string][]byte{
		"cut":       treeObject(20, "100644 a")[:20],
		"no name":   []byte("100644 "),
		"submodule": treeObject(20, "160000 a"), "mode": treeObject(20, "100600 a"), "zero mode": treeObject(20, "040000 a"), "no mode": treeObject(20, " a"),
		"empty name": treeObject(20, "100644 "), "dot": treeObject(20, "40000 ."), "dots": treeObject(20, "40000 .."), "slash": treeObject(20, "100644 a/b"),
		"git": treeObject(20, "40000 .git"), "Git": treeObject(20, "40000 .GIT"), "latin": treeObject(20, "100644 \xfc"), "long": treeObject(20, "100644 "+strings.Repeat("a", 256)),
		"twice": treeObject(20, "100644 a", "40000 a"),
	} {
		if list, err := parseTree(raw, 20); !errors.Is(err, ErrTree) {
			t.Errorf("%s: %v, %v", what, list, err)
		}
	}
}

func TestCommitNamesItsTree(t *testing.T) {
	id := strings.Repeat("0a", 20)
	if got, err := treeOf([]byte("tree "+id+"\nparent x\n"), 20); err != nil || got != id {
		t.Errorf("%q, %v", got, err)
	}
	for _, raw := range []string{"", "tree " + id, "tree " + strings.ToUpper(id) + "\n", "parent " + id + "\n", "tree " + id + id + "\n", "tree  " + id + "\n"} {
		if got, err := treeOf([]byte(raw), 20); err == nil {
			t.Errorf("%q names %s", raw, got)
		}
	}
}

// Who names no repository is told which path it was and what is wanted there.
func TestNoRepository(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(t.TempDir(), "missing")} {
		_, err := Check(t.Context(), dir, strings.Repeat("0a", 20), [32]byte{}, 0)
		if !errors.Is(err, ErrRepository) || !strings.Contains(err.Error(), dir+" is no directory; a local clone is wanted") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// Git's own ids, as `git hash-object` prints them.
func TestObjectIDs(t *testing.T) {
	for _, c := range []struct {
		n             int
		kind, content string
		id            string
	}{
		{20, typeBlob, "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
		{20, typeTree, "", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"},
		{32, typeBlob, "", "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"},
		{32, typeTree, "", "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"},
	} {
		h := hasher(c.n, c.kind, int64(len(c.content)))
		h.Write([]byte(c.content))
		if got := hex.EncodeToString(h.Sum(nil)); got != c.id {
			t.Errorf("%s of %d bytes: %s, want %s", c.kind, c.n, got, c.id)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	f.Add(treeObject(20, "100644 a", "40000 d"), false)
	f.Add(treeObject(32, "100755 a", "120000 l"), true)
	f.Fuzz(func(t *testing.T, raw []byte, long bool) {
		n := 20
		if long {
			n = 32
		}
		list, err := parseTree(raw, n)
		if err != nil {
			return
		}
		for _, e := range list {
			if checkName(e.name) != nil || len(e.id) != 2*n {
				t.Fatalf("%+v", e)
			}
		}
	})
}

func FuzzTreeOf(f *testing.F) {
	f.Add([]byte("tree " + strings.Repeat("0a", 20) + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if id, err := treeOf(raw, 20); err == nil && len(id) != 40 {
			t.Fatal(id)
		}
	})
}
