package source

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"unicode/utf8"
)

// ErrTree says that a commit has no input root: its tree holds what an input tree
// cannot, or is no tree that Git would write.
var ErrTree = errors.New("the commit's tree cannot be an input root")

// The types of Git objects.
const (
	typeCommit = "commit"
	typeTree   = "tree"
	typeBlob   = "blob"
)

// hasher computes a Git object's id: SHA-1 or SHA-256, by the length of the ids,
// over type, size and content.
func hasher(idBytes int, kind string, size int64) hash.Hash {
	h := sha256.New()
	if idBytes == sha1.Size {
		h = sha1.New()
	}
	fmt.Fprintf(h, "%s %d\x00", kind, size)
	return h
}

// treeOf reads which tree a commit is of: its first line.
func treeOf(commit []byte, idBytes int) (id string, err error) {
	line, _, ok := bytes.Cut(commit, []byte{'\n'})
	text, isTree := strings.CutPrefix(string(line), "tree ")
	if raw, err := hex.DecodeString(text); !ok || !isTree || err != nil || len(raw) != idBytes || hex.EncodeToString(raw) != text {
		return "", errors.New("the commit names no tree in its first line")
	}
	return text, nil
}

// kind is what a tree's entry is.
type kind uint8

const (
	kindFile kind = iota
	kindExecutable
	kindSymlink
	kindTree
)

// The modes that Git writes, and one that it wrote long ago.
var kinds = map[string]kind{"100644": kindFile, "100664": kindFile, "100755": kindExecutable, "120000": kindSymlink, "40000": kindTree}

const modeSubmodule = "160000"

// entry is one name in a Git tree.
type entry struct {
	kind kind
	name string
	id   string // hex
}

// parseTree reads a tree object: "mode name\0id" again and again, in Git's order.
func parseTree(raw []byte, idBytes int) ([]entry, error) {
	var out []entry
	seen := make(map[string]bool)
	for len(raw) > 0 {
		mode, rest, ok := bytes.Cut(raw, []byte{' '})
		name, rest, okName := bytes.Cut(rest, []byte{0})
		if !ok || !okName || len(rest) < idBytes {
			return nil, fmt.Errorf("%w: a tree object ends in the middle of an entry", ErrTree)
		}
		e := entry{name: string(name), id: hex.EncodeToString(rest[:idBytes])}
		if string(mode) == modeSubmodule {
			return nil, fmt.Errorf("%w: %q is a submodule, whose content another repository has", ErrTree, e.name)
		}
		if e.kind, ok = kinds[string(mode)]; !ok {
			return nil, fmt.Errorf("%w: %q has the unknown mode %q", ErrTree, e.name, mode)
		}
		if err := checkName(e.name); err != nil {
			return nil, err
		}
		if seen[e.name] {
			return nil, fmt.Errorf("%w: %q is in one directory twice", ErrTree, e.name)
		}
		seen[e.name] = true
		out, raw = append(out, e), rest[idBytes:]
	}
	return out, nil
}

// checkName refuses what is no name in an input tree, and .git, which a checkout
// has for itself.
func checkName(name string) error {
	switch {
	case name == "", name == ".", name == "..", len(name) > 255, strings.ContainsRune(name, '/'), !utf8.ValidString(name):
		return fmt.Errorf("%w: %q is no file name in UTF-8", ErrTree, name)
	case strings.EqualFold(name, ".git"):
		return fmt.Errorf("%w: %q is Git's own", ErrTree, name)
	}
	return nil
}

// checkTarget refuses what is no target in an input tree. That a link leads out
// of the tree is for whoever makes it to refuse.
func checkTarget(target string) error {
	if target == "" || strings.HasPrefix(target, "/") || strings.ContainsRune(target, 0) || !utf8.ValidString(target) {
		return fmt.Errorf("%w: it is a symbolic link to %q, and only relative targets in UTF-8 have a place there", ErrTree, target)
	}
	return nil
}
