package tree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gavel/cas"
)

// Type is what lies at an entry's path.
type Type uint8

// The types of entries.
const (
	File    Type = 1
	Dir     Type = 2
	Symlink Type = 3
)

// Entry is one path of an expanded tree.
type Entry struct {
	Path       string // clean, slash-separated, relative to the tree's root
	Type       Type
	Executable bool       // of a File
	Target     string     // of a Symlink
	Digest     cas.Digest // of a File; the zero Digest of others
}

// CheckEntries says what keeps es from being a tree listed flat: sorted by path
// bytewise without repeats, each well-formed, none below a file or symlink, and
// each hash of one size.
// Directories need not be listed unless they are empty.
func CheckEntries(es []Entry, l Limits) error {
	l = l.orDefault()
	if int64(len(es)) > l.Entries {
		return fmt.Errorf("list of %d entries: %w: at most %d", len(es), cas.ErrTooLarge, l.Entries)
	}
	leaves := make(map[string]struct{}, len(es))
	sizes := map[string]int64{}
	var bytes int64
	for i, e := range es {
		if i > 0 && es[i-1].Path >= e.Path {
			return fmt.Errorf("entry %q is out of order or listed twice", e.Path)
		}
		if err := e.check(); err != nil {
			return err
		}
		if bytes = addCapped(bytes, e.Digest.Size); bytes > l.Bytes {
			return fmt.Errorf("list of entries: %w: more than %d bytes", cas.ErrTooLarge, l.Bytes)
		}
		if e.Type == File {
			if size, seen := sizes[e.Digest.Hash]; seen && size != e.Digest.Size {
				return fmt.Errorf("file %q: hash %s is given two sizes, %d and %d", e.Path, e.Digest.Hash, size, e.Digest.Size)
			}
			sizes[e.Digest.Hash] = e.Digest.Size
		}
		if e.Type != Dir {
			leaves[e.Path] = struct{}{}
		}
		// A path sorts behind its parents, so those have been seen.
		for at, c := range e.Path {
			if _, leaf := leaves[e.Path[:at]]; c == '/' && leaf {
				return fmt.Errorf("entry %q lies below %q, which is no directory", e.Path, e.Path[:at])
			}
		}
	}
	return nil
}

func (e Entry) check() error {
	depth, err := checkPath(e.Path)
	if err != nil {
		return err
	}
	var zero cas.Digest
	switch {
	case e.Type < File || e.Type > Symlink:
		return fmt.Errorf("entry %q has unknown type %d", e.Path, e.Type)
	case e.Type != File && (e.Executable || e.Digest != zero):
		return fmt.Errorf("entry %q is no file but has a file's fields", e.Path)
	case e.Type != Symlink && e.Target != "":
		return fmt.Errorf("entry %q is no symlink but has a target", e.Path)
	case e.Type == File:
		if err := e.Digest.Validate(); err != nil {
			return fmt.Errorf("file %q: %w", e.Path, err)
		}
	case e.Type == Symlink:
		if err := checkTarget(e.Target, depth-1); err != nil {
			return fmt.Errorf("symlink %q: %w", e.Path, err)
		}
	}
	return nil
}

// Directories returns the root and all encoded Directory messages of the tree
// that es lists; es must pass CheckEntries.
func Directories(es []Entry) (root cas.Digest, encoded map[cas.Digest][]byte, err error) {
	top := &node{}
	for _, e := range es {
		top.insert(strings.Split(e.Path, "/"), e)
	}
	encoded = map[cas.Digest][]byte{}
	root, err = top.encode(encoded)
	return root, encoded, err
}

// node is a directory that grows as entries are inserted.
type node struct {
	own  Directory
	subs map[string]*node
}

func (n *node) insert(names []string, e Entry) {
	name := Component{names[0]} // checked with its path
	switch {
	case len(names) > 1 || e.Type == Dir:
		if n.subs == nil {
			n.subs = map[string]*node{}
		}
		if n.subs[name.name] == nil {
			n.subs[name.name] = &node{}
		}
		if len(names) > 1 {
			n.subs[name.name].insert(names[1:], e)
		}
	case e.Type == File:
		n.own.Files = append(n.own.Files, FileNode{name, e.Digest, e.Executable})
	default:
		n.own.Symlinks = append(n.own.Symlinks, SymlinkNode{name, e.Target})
	}
}

func (n *node) encode(into map[cas.Digest][]byte) (cas.Digest, error) {
	for name, sub := range n.subs {
		d, err := sub.encode(into)
		if err != nil {
			return cas.Digest{}, fmt.Errorf("%s/: %w", name, err)
		}
		n.own.Directories = append(n.own.Directories, DirectoryNode{Component{name}, d})
	}
	raw, err := n.own.Encode() // sorts
	if err != nil {
		return cas.Digest{}, err
	}
	d := cas.Of(raw)
	into[d] = raw
	return d, nil
}

func sortEntries(es []Entry) {
	slices.SortFunc(es, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
}
