package source

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// digest names a blob as REAPI does.
type digest struct {
	sum  [32]byte
	size int64
}

// node is one entry of a directory, with what a REAPI Directory says of it.
type node struct {
	kind   kind
	name   string
	digest digest // of a file, or of a directory's encoding
	target string // of a symlink
}

// The fields of REAPI's messages (remote_execution.proto, v2).
const (
	fieldFiles       = 1 // Directory
	fieldDirectories = 2
	fieldSymlinks    = 3
	fieldName        = 1 // FileNode, DirectoryNode, SymlinkNode
	fieldDigest      = 2 // FileNode, DirectoryNode
	fieldTarget      = 2 // SymlinkNode
	fieldExecutable  = 4 // FileNode
	fieldHash        = 1 // Digest
	fieldSize        = 2
)

// encode is a Directory in its canonical form: each list sorted by name, fields in
// order of their numbers, defaults left out.
func encode(nodes []node) []byte {
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.name, b.name) })
	var out []byte
	for _, list := range []struct {
		field protowire.Number
		holds func(kind) bool
	}{
		{fieldFiles, func(k kind) bool { return k == kindFile || k == kindExecutable }},
		{fieldDirectories, func(k kind) bool { return k == kindTree }},
		{fieldSymlinks, func(k kind) bool { return k == kindSymlink }},
	} {
		for i := range nodes {
			if list.holds(nodes[i].kind) {
				out = message(out, list.field, nodes[i].encode())
			}
		}
	}
	return out
}

func (n *node) encode() []byte {
	out := message(nil, fieldName, []byte(n.name))
	if n.kind == kindSymlink {
		return message(out, fieldTarget, []byte(n.target))
	}
	out = message(out, fieldDigest, n.digest.encode())
	if n.kind == kindExecutable {
		out = protowire.AppendVarint(protowire.AppendTag(out, fieldExecutable, protowire.VarintType), 1)
	}
	return out
}

func (d digest) encode() []byte {
	out := message(nil, fieldHash, []byte(hex.EncodeToString(d.sum[:])))
	if d.size != 0 {
		out = protowire.AppendVarint(protowire.AppendTag(out, fieldSize, protowire.VarintType), uint64(d.size))
	}
	return out
}

// message appends a field of bytes.
func message(to []byte, field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), content)
}

func digestOf(raw []byte) digest { return digest{sha256.Sum256(raw), int64(len(raw))} }
