package tree

import (
	"context"
	"fmt"
	"io"
	"sync"

	"gavel/cas"
)

// Totals size a tree as it is expanded.
type Totals struct {
	Entries int64 // files, directories and symlinks below the root
	Bytes   int64 // of all files
}

// Tree is a checked directory tree: see the package comment for what that means.
type Tree struct {
	Root   cas.Digest
	Totals Totals
	dirs   map[cas.Digest]*Directory
	order  []cas.Digest // keys of dirs, by breadth from the root
}

// Load fetches all directories of the tree under root, a level at a time, and
// checks them against each other and l. It fetches no file.
func Load(ctx context.Context, from cas.Fetcher, root cas.Digest, l Limits) (*Tree, error) {
	t := &Tree{Root: root, dirs: map[cas.Digest]*Directory{}}
	l = l.orDefault()
	if err := t.fetch(ctx, from, l); err != nil {
		return nil, fmt.Errorf("loading tree %s: %w", root, err)
	}
	if err := t.check(l); err != nil {
		return nil, fmt.Errorf("tree %s refused: %w", root, err)
	}
	return t, nil
}

func (t *Tree) fetch(ctx context.Context, from cas.Fetcher, l Limits) error {
	if !fits(t.Root) {
		return fmt.Errorf("root directory: %w: its listing has %d bytes, at most %d", cas.ErrTooLarge, t.Root.Size, MaxDirectoryBytes)
	}
	var listBytes int64
	level := []cas.Digest{t.Root}
	for depth := 0; len(level) > 0; depth++ {
		if depth > MaxDepth {
			return fmt.Errorf("%w: directories are nested deeper than %d", cas.ErrTooLarge, MaxDepth)
		}
		for _, d := range level {
			listBytes += d.Size
		}
		if n := int64(len(t.order) + len(level)); n > l.Directories || listBytes > l.ListBytes {
			return fmt.Errorf("%w: more than %d directories or %d bytes of listings", cas.ErrTooLarge, l.Directories, l.ListBytes)
		}
		if err := t.fetchLevel(ctx, from, level); err != nil {
			return err
		}
		var next []cas.Digest
		seen := map[cas.Digest]struct{}{}
		for _, d := range level {
			for _, child := range t.dirs[d].Directories {
				_, known := t.dirs[child.Digest]
				if _, queued := seen[child.Digest]; !known && !queued {
					seen[child.Digest] = struct{}{}
					next = append(next, child.Digest)
				}
			}
		}
		t.order = append(t.order, level...)
		level = next
	}
	return nil
}

func (t *Tree) fetchLevel(ctx context.Context, from cas.Fetcher, level []cas.Digest) error {
	var mu sync.Mutex
	return from.Fetch(ctx, level, func(d cas.Digest, r io.Reader) error {
		raw := make([]byte, d.Size)
		if _, err := io.ReadFull(r, raw); err != nil {
			return err
		}
		dir, err := ParseDirectory(raw)
		if err != nil {
			return fmt.Errorf("directory %s: %w", d, err)
		}
		mu.Lock()
		defer mu.Unlock()
		t.dirs[d] = dir
		return nil
	})
}

// Directories lists the distinct directories, root first. The caller must not change it.
func (t *Tree) Directories() []cas.Digest { return t.order }

// Directory returns one of Directories.
func (t *Tree) Directory(d cas.Digest) *Directory { return t.dirs[d] }

// Files lists the distinct files, in a fixed order.
func (t *Tree) Files() []cas.Digest {
	var files []cas.Digest
	for _, d := range t.order {
		for _, f := range t.dirs[d].Files {
			files = append(files, f.Digest)
		}
	}
	return cas.Unique(files)
}

// Walk calls visit for every entry below the root as expanded, a directory
// before its content.
func (t *Tree) Walk(visit func(Entry) error) error { return t.walk("", t.Root, visit) }

func (t *Tree) walk(prefix string, at cas.Digest, visit func(Entry) error) error {
	d := t.dirs[at]
	for _, f := range d.Files {
		if err := visit(Entry{Path: prefix + f.Name.name, Type: File, Executable: f.Executable, Digest: f.Digest}); err != nil {
			return err
		}
	}
	for _, s := range d.Symlinks {
		if err := visit(Entry{Path: prefix + s.Name.name, Type: Symlink, Target: s.Target}); err != nil {
			return err
		}
	}
	for _, c := range d.Directories {
		path := prefix + c.Name.name
		if err := visit(Entry{Path: path, Type: Dir}); err != nil {
			return err
		}
		if err := t.walk(path+"/", c.Digest, visit); err != nil {
			return err
		}
	}
	return nil
}
