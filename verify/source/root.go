package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrOtherRoot says that a build's input root is not the commit's tree.
var ErrOtherRoot = errors.New("the input root is not the commit's tree")

// Root is the input root that a commit makes: the digest of a REAPI Directory.
type Root struct {
	SHA256      [32]byte
	SizeBytes   int64
	Files       int64 // in the tree, symbolic links too
	TotalBytes  int64 // of all files
	Directories int64 // without the root
}

// Tree makes the input root of a commit, by its whole id in hex, from a local
// repository: the directory of a checkout, of its .git, or of a bare clone. It
// takes about as long as reading and hashing every file. Errors wrap ErrRepository
// or ErrTree.
func Tree(ctx context.Context, dir, commit string) (*Root, error) {
	raw, err := hex.DecodeString(commit)
	if err != nil || hex.EncodeToString(raw) != commit || len(raw) != 20 && len(raw) != 32 {
		return nil, fmt.Errorf("%w: %q is no commit's whole id of 40 or 64 lower-case hex digits", ErrRepository, commit)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is no directory; a local clone is wanted there (a checkout, its .git, or a bare one) that has commit %s", ErrRepository, dir, commit)
	}
	o, err := openObjects(ctx, dir, len(raw))
	if err != nil {
		return nil, err
	}
	root, err := (&maker{objects: o, done: make(map[string]made)}).root(commit)
	_ = o.Close() // every answer was checked: how git ends says nothing more
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, fmt.Errorf("reading commit %s of %s: %w", commit, dir, err)
	}
	return root, nil
}

// Check makes the input root of a commit and holds it to the one that a provenance
// states. Errors wrap ErrOtherRoot, ErrRepository or ErrTree.
func Check(ctx context.Context, dir, commit string, sum [32]byte, sizeBytes int64) (*Root, error) {
	root, err := Tree(ctx, dir, commit)
	if err != nil {
		return nil, err
	}
	if root.SHA256 != sum || root.SizeBytes != sizeBytes {
		return nil, fmt.Errorf("%w: commit %s makes the root %x (%d bytes), the build's is %x (%d bytes)", ErrOtherRoot, commit, root.SHA256, root.SizeBytes, sum, sizeBytes)
	}
	return root, nil
}

// made is a subtree that was made, with what it counts for.
type made struct {
	digest  digest
	counted Root
}

// maker makes each distinct subtree and file once.
type maker struct {
	objects *objects
	done    map[string]made // by type and id: one id could be asked for as both
}

func (m *maker) root(commit string) (*Root, error) {
	raw, err := m.objects.small(commit, typeCommit, maxCommitBytes)
	if err != nil {
		return nil, err
	}
	tree, err := treeOf(raw, m.objects.idBytes)
	if err != nil {
		return nil, err
	}
	top, err := m.tree(tree, "", 0)
	if err != nil {
		return nil, err
	}
	root := top.counted
	root.SHA256, root.SizeBytes = top.digest.sum, top.digest.size
	return &root, nil
}

func (m *maker) tree(id, path string, depth int) (made, error) {
	if depth > maxDepth {
		return made{}, fmt.Errorf("%w: %q… is nested deeper than %d", ErrTree, path[:min(len(path), 64)], maxDepth)
	}
	if was, ok := m.done[typeTree+id]; ok {
		return was, nil
	}
	raw, err := m.objects.small(id, typeTree, maxTreeBytes)
	if err != nil {
		return made{}, err
	}
	entries, err := parseTree(raw, m.objects.idBytes)
	if err != nil {
		return made{}, fmt.Errorf("directory %q: %w", path, err)
	}
	var out made
	nodes := make([]node, 0, len(entries))
	for _, e := range entries {
		n, counted, err := m.node(e, path+e.name, depth)
		if err != nil {
			return made{}, err
		}
		nodes = append(nodes, n)
		out.counted.Files += counted.Files
		out.counted.Directories += counted.Directories
		out.counted.TotalBytes += counted.TotalBytes
		if c := &out.counted; c.Files+c.Directories > maxEntries || c.TotalBytes > maxBytes {
			return made{}, fmt.Errorf("%w: it expands to more than %d entries or %d bytes", ErrTree, maxEntries, int64(maxBytes))
		}
	}
	out.digest = digestOf(encode(nodes))
	m.done[typeTree+id] = out
	return out, nil
}

// node is one entry, and what it counts for.
func (m *maker) node(e entry, path string, depth int) (node, Root, error) {
	n := node{kind: e.kind, name: e.name}
	switch e.kind {
	case kindTree:
		below, err := m.tree(e.id, path+"/", depth+1)
		below.counted.Directories++
		n.digest = below.digest
		return n, below.counted, err
	case kindSymlink:
		target, err := m.objects.small(e.id, typeBlob, maxTargetBytes)
		if err == nil {
			err = checkTarget(string(target))
		}
		n.target = string(target)
		return n, Root{Files: 1}, at(path, err)
	}
	was, ok := m.done[typeBlob+e.id]
	if !ok {
		h := sha256.New()
		size, err := m.objects.read(e.id, typeBlob, maxBytes, io.Writer(h))
		if err != nil {
			return n, Root{}, at(path, err)
		}
		was.digest = digest{[32]byte(h.Sum(nil)), size}
		m.done[typeBlob+e.id] = was
	}
	n.digest = was.digest
	return n, Root{Files: 1, TotalBytes: was.digest.size}, nil
}

func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%q: %w", path, err)
}
