package tree

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gavel/cas"
)

// maxErrorBytes is more than any refusal says: a stranger's names are cut.
const maxErrorBytes = 16 << 10

// badNames are no names of anything.
var badNames = []struct{ what, name, wantErr string }{
	{"empty", "", "1 of the directory: a name is empty"},
	{"dot", ".", `"." is not a name`},
	{"dot dot", "..", `".." is not a name`},
	{"slash", "/", `name "/" holds a slash`},
	{"two slashes", "//", `name "//" holds a slash`},
	{"absolute", "/etc/cron.d/x", `name "/etc/cron.d/x" holds a slash`},
	{"climbing", "../x", `name "../x" holds a slash`},
	{"climbing far", strings.Repeat("../", 20) + "etc/passwd", "holds a slash"},
	{"climbing behind a name", "a/../../x", "holds a slash"},
	{"dot slash", "./x", "holds a slash"},
	{"nested", "a/b", `name "a/b" holds a slash`},
	{"trailing slash", "a/", `name "a/" holds a slash`},
	{"trailing slash dot", "a/.", "holds a slash"},
	{"NUL", "\x00", `holds a slash or a NUL`},
	{"NUL behind a name", "passwd\x00.txt", "NUL"},
	{"dots and NUL", "..\x00", "NUL"},
	{"256 bytes", strings.Repeat("x", 256), "256 bytes"},
	{"256 bytes of runes", strings.Repeat("é", 128), "256 bytes"},
	{"64 KiB", strings.Repeat("y", 64<<10), "65536 bytes"},
}

// kinds make a directory of one node of each kind by that name, and one more so
// that kinds differ even in an empty name.
var kinds = []struct {
	kind string
	make func(name string) *repb.Directory
}{
	{"file", func(name string) *repb.Directory { return files(name) }},
	{"directory", func(name string) *repb.Directory { return dirs(cas.Empty.Proto(), name) }},
	{"symlink", func(name string) *repb.Directory { return link(name, "target") }},
}

// badTargets lead out of a tree, or nowhere, from so many directories below its root.
var badTargets = []struct {
	depth           int
	target, wantErr string
}{
	{0, "", "empty"},
	{0, "//", "absolute"}, {0, "///etc/passwd", "absolute"}, {0, "/.", "absolute"}, {0, "/proc/self/root", "absolute"}, {0, "/build/x", "absolute"},
	{0, "../", "out of the tree"}, {0, "..//x", "out of the tree"}, {0, "./..", "out of the tree"}, {0, ".//..//x", "out of the tree"}, {0, "../.", "out of the tree"},
	{0, "../..", "out of the tree"}, {0, strings.Repeat("../", 100) + "x", "out of the tree"}, {0, "../self", "out of the tree"},
	{1, "../..", "out of the tree"}, {1, "../../x", "out of the tree"}, {1, ".././../x", "out of the tree"}, {1, "..//../", "out of the tree"},
	{2, "../../..", "out of the tree"}, {5, strings.Repeat("../", 6) + "x", "out of the tree"},
	{0, "a/..", "behind a name"}, {0, "a/../b", "behind a name"}, {0, "a/../..", "behind a name"}, {0, "a//..", "behind a name"}, {0, "a/./..", "behind a name"},
	{3, "../a/../../../..", "behind a name"}, {3, "../a/..", "behind a name"}, {0, ".../..", "behind a name"}, {0, "..a/..", "behind a name"}, {0, " /..", "behind a name"},
	{0, "a\x00", "NUL"}, {0, "\x00/etc/passwd", "NUL"}, {0, "..\x00", "NUL"},
	{0, strings.Repeat("a", 256), "name of 256 bytes"}, {0, "a/" + strings.Repeat("b", 300) + "/c", "name of 300 bytes"},
	{0, strings.Repeat("a/", 2048), "4095"}, {0, strings.Repeat("./", 3000) + "a", "4095"}, {0, strings.Repeat("x/", 1<<20), "4095"},
}

// badDigests name no blob.
var badDigests = []struct {
	what    string
	digest  *repb.Digest
	wantErr string
}{
	{"none", nil, "digest is missing"},
	{"empty", &repb.Digest{}, "0 characters"},
	{"empty hash", &repb.Digest{SizeBytes: 7}, "0 characters"},
	{"MD5", &repb.Digest{Hash: blob.Hash[:32], SizeBytes: 7}, "32 characters"},
	{"SHA-1", &repb.Digest{Hash: blob.Hash[:40], SizeBytes: 7}, "40 characters"},
	{"SHA-384", &repb.Digest{Hash: blob.Hash + blob.Hash[:32], SizeBytes: 7}, "96 characters"},
	{"SHA-512", &repb.Digest{Hash: blob.Hash + blob.Hash, SizeBytes: 7}, "128 characters"},
	{"one digit short", &repb.Digest{Hash: blob.Hash[:63], SizeBytes: 7}, "63 characters"},
	{"upper case", &repb.Digest{Hash: strings.ToUpper(blob.Hash), SizeBytes: 7}, "lower-case"},
	{"one upper-case digit", &repb.Digest{Hash: "A" + blob.Hash[1:], SizeBytes: 7}, "lower-case"},
	{"no hex digit", &repb.Digest{Hash: "g" + blob.Hash[1:], SizeBytes: 7}, "lower-case"},
	{"with its function", &repb.Digest{Hash: "sha256:" + blob.Hash, SizeBytes: 7}, "71 characters"},
	{"with spaces", &repb.Digest{Hash: " " + blob.Hash[2:] + " ", SizeBytes: 7}, "lower-case"},
	{"a path of 64 bytes", &repb.Digest{Hash: "../" + strings.Repeat("a", 61), SizeBytes: 7}, "lower-case"},
	{"of 64 NULs", &repb.Digest{Hash: strings.Repeat("\x00", 64), SizeBytes: 7}, "lower-case"},
	{"size -1", &repb.Digest{Hash: blob.Hash, SizeBytes: -1}, "negative"},
	{"smallest size", &repb.Digest{Hash: blob.Hash, SizeBytes: -1 << 63}, "negative"},
	{"size 0", &repb.Digest{Hash: blob.Hash}, "belong together"},
	{"content for the empty hash", &repb.Digest{Hash: cas.Empty.Hash, SizeBytes: 9}, "belong together"},
}

// badBytes are no Directory, as bytes.
var badBytes = []struct {
	what, wantErr string
	raw           []byte
}{
	{"a text", "not a REAPI directory", []byte("#!/bin/sh\necho hello\n")},
	{"a tag without value", "not a REAPI directory", []byte{0x0a}},
	{"a length beyond the end", "not a REAPI directory", []byte{0x0a, 0x7f, 0x0a}},
	{"a length that overflows", "not a REAPI directory", append([]byte{0x0a}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)},
	{"a varint without end", "not a REAPI directory", append([]byte{0x08}, slices.Repeat([]byte{0xff}, 20)...)},
	{"field number 0", "not a REAPI directory", []byte{0x02, 0x00}},
	{"a group without end", "not a REAPI directory", []byte{0x0b}},
	{"wire type 7", "not a REAPI directory", []byte{0x0f}},
	{"files as a number", "does not honour", []byte{0x08, 0x01}},
	{"a group", "does not honour", protowire.AppendTag(protowire.AppendTag(nil, 77, protowire.StartGroupType), 77, protowire.EndGroupType)},
	{"a field of tomorrow", "does not honour", protowire.AppendBytes(protowire.AppendTag(nil, 500, protowire.BytesType), []byte("x"))},
	{"a name that is not UTF-8", "not a REAPI directory", protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType),
		protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{'a', 0xc0, 0xaf}))},
	{"an overlong slash", "not a REAPI directory", protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType),
		protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xc0, 0xaf}))},
	{"a surrogate", "not a REAPI directory", protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType),
		protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xed, 0xa0, 0x80}))},
	{"a target that is not UTF-8", "not a REAPI directory", protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType),
		append(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("a")), protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte{0xff})...))},
	{"an empty file node", "a name is empty", []byte{0x0a, 0x00}},
	{"an empty directory node", "a name is empty", []byte{0x12, 0x00}},
	{"an empty symlink node", "a name is empty", []byte{0x1a, 0x00}},
	{"a gzip", "not a REAPI directory", []byte{0x1f, 0x8b, 0x08, 0x00, 0x00}},
}

// badPairs are two nodes that may not be in one directory.
var badPairs = []struct {
	what, wantErr string
	make          func() *repb.Directory
}{
	{"directory twice", `"a" appears twice`, func() *repb.Directory { return dirs(cas.Empty.Proto(), "a", "a") }},
	{"symlink twice", `"a" appears twice`, func() *repb.Directory {
		return &repb.Directory{Symlinks: append(link("a", "x").Symlinks, link("a", "y").Symlinks...)}
	}},
	{"twice, not side by side", "", func() *repb.Directory { return files("a", "b", "a") }},
	{"all three kinds of one name", `"a" appears twice`, func() *repb.Directory {
		return &repb.Directory{Files: fileNode("a"), Directories: dirs(cas.Empty.Proto(), "a").Directories, Symlinks: link("a", "b").Symlinks}
	}},
	{"upper case behind lower", `"B" is out of order`, func() *repb.Directory { return files("a", "B") }},
	{"sorted by length", `"aa" is out of order`, func() *repb.Directory { return files("b", "aa") }},
	{"sorted by number", `"f10" is out of order`, func() *repb.Directory { return files("f9", "f10") }},
	{"sorted as a dictionary has it", `"a" is out of order`, func() *repb.Directory { return files("á", "a") }},
	{"last two swapped", `"y" is out of order`, func() *repb.Directory { return files("a", "b", "z", "y") }},
	{"symlink then file beneath", `"a" appears twice`, func() *repb.Directory {
		return &repb.Directory{Directories: dirs(cas.Empty.Proto(), "a").Directories, Symlinks: link("a", "..").Symlinks}
	}},
}

// badProperties ask for what nothing here would honour.
var badProperties = map[string]*repb.NodeProperties{
	"modification time": {Mtime: &timestamppb.Timestamp{Seconds: 1}},
	"a property":        {Properties: []*repb.NodeProperty{{Name: "owner", Value: "root"}}},
}

// allHostile are the hostile trees of every table.
func allHostile() []hostileTree {
	all := slices.Clone(hostile)
	add := func(name, wantErr string, root func(m rawBlobs) *repb.Directory) {
		all = append(all, hostileTree{name, wantErr, Limits{}, func(_ testing.TB, m rawBlobs) *repb.Directory { return root(m) }})
	}
	inside := func(name, wantErr string, depth int, leaf func(m rawBlobs) *repb.Directory) {
		all = append(all, hostileTree{name, wantErr, Limits{}, func(t testing.TB, m rawBlobs) *repb.Directory { return chain(t, m, depth, "d", leaf(m)) }})
	}
	for _, n := range badNames {
		for _, k := range kinds {
			// Two down, where what it leads to would still be wrong.
			inside(k.kind+" named "+n.what, n.wantErr, 2, func(rawBlobs) *repb.Directory { return k.make(n.name) })
		}
	}
	for _, b := range badTargets {
		inside(fmt.Sprintf("target %.20q of %d bytes, %d down", b.target, len(b.target), b.depth), b.wantErr, b.depth, func(rawBlobs) *repb.Directory { return link("link", b.target) })
	}
	for _, b := range badDigests {
		add("file with digest "+b.what, b.wantErr, func(rawBlobs) *repb.Directory {
			return &repb.Directory{Files: []*repb.FileNode{{Name: "named", Digest: b.digest}}}
		})
		add("directory with digest "+b.what, b.wantErr, func(rawBlobs) *repb.Directory { return dirs(b.digest, "named") })
	}
	for _, b := range badBytes {
		add("directory is "+b.what, b.wantErr, func(m rawBlobs) *repb.Directory {
			m[cas.Of(b.raw)] = b.raw
			return dirs(cas.Of(b.raw).Proto(), "named")
		})
	}
	for _, b := range badPairs {
		add(b.what, b.wantErr, func(rawBlobs) *repb.Directory { return b.make() })
	}
	for name, p := range badProperties {
		add("file with "+name, `file "named"`, func(rawBlobs) *repb.Directory {
			return &repb.Directory{Files: []*repb.FileNode{{Name: "named", Digest: blob, NodeProperties: p}}}
		})
		add("directory with "+name, "does not honour", func(rawBlobs) *repb.Directory { return &repb.Directory{NodeProperties: p} })
	}
	return all
}

// A node that is refused is named, whatever is wrong with it.
func TestRefusalsNameTheEntry(t *testing.T) {
	for _, b := range badDigests {
		for _, d := range []*repb.Directory{{Files: []*repb.FileNode{{Name: "culprit", Digest: b.digest}}}, dirs(b.digest, "culprit")} {
			raw, err := proto.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseDirectory(raw); err == nil || !strings.Contains(err.Error(), `"culprit"`) {
				t.Errorf("digest %s: %v does not name the entry", b.what, err)
			}
		}
	}
	for _, b := range badTargets {
		m := rawBlobs{cas.Empty: nil}
		root, _ := cas.FromProto(m.put(t, chain(t, m, b.depth, "d", link("culprit", b.target))))
		if _, err := Load(t.Context(), m, root, Limits{}); err == nil || !strings.Contains(err.Error(), "culprit") {
			t.Errorf("target %.40q: %v does not name the entry", b.target, err)
		}
	}
}
