package tree

import (
	"errors"
	"fmt"
	"math"

	"gavel/cas"
)

// measure is what one distinct directory amounts to, wherever it appears. All
// checks of a tree are computed from its children's measures, once for each
// distinct directory, so that a bomb of shared subtrees costs no more than its
// listings.
type measure struct {
	done    bool
	totals  Totals
	height  int // directories below it, nested
	path    int // bytes of the longest path below it
	climbs  int // how far above this directory a link below it reaches
	climber string
}

type checker struct {
	tree     *Tree
	limits   Limits
	measures map[cas.Digest]*measure
	sizes    map[string]int64
}

func (t *Tree) check(l Limits) error {
	c := &checker{tree: t, limits: l, measures: make(map[cas.Digest]*measure, len(t.dirs)), sizes: map[string]int64{}}
	m, err := c.directory(t.Root, "", 0)
	if err != nil {
		return err
	}
	switch {
	case m.climbs > 0:
		return fmt.Errorf("symlink %q: its target leads out of the tree", m.climber)
	case m.path > MaxPathBytes:
		return fmt.Errorf("%w: a path of %d bytes, at most %d", cas.ErrTooLarge, m.path, MaxPathBytes)
	case m.totals.Entries > l.Entries:
		return fmt.Errorf("%w: more than %d entries when expanded", cas.ErrTooLarge, l.Entries)
	case m.totals.Bytes > l.Bytes:
		return fmt.Errorf("%w: more than %d bytes when expanded", cas.ErrTooLarge, l.Bytes)
	}
	t.Totals = m.totals
	return nil
}

func (c *checker) directory(at cas.Digest, path string, depth int) (*measure, error) {
	if m, seen := c.measures[at]; seen {
		if !m.done {
			// No digest can be part of what it is computed from; whoever handed this
			// out did not verify.
			return nil, fmt.Errorf("directory %q contains itself", path)
		}
		if depth+m.height > MaxDepth {
			return nil, tooDeep(path)
		}
		return m, nil
	}
	if depth > MaxDepth {
		return nil, tooDeep(path)
	}
	m := &measure{}
	c.measures[at] = m
	d := c.tree.dirs[at]
	err := errors.Join(c.oneSize(at), c.files(d, m), c.symlinks(d, m))
	if err != nil {
		return nil, fmt.Errorf("in directory %q: %w", path, err)
	}
	for _, n := range d.Directories {
		below, err := c.directory(n.Digest, path+n.Name.name+"/", depth+1)
		if err != nil {
			return nil, err
		}
		m.add(n.Name, below)
	}
	m.done = true
	return m, nil
}

func tooDeep(path string) error {
	return fmt.Errorf("%w: directories are nested deeper than %d at %q…", cas.ErrTooLarge, MaxDepth, path[:min(len(path), 64)])
}

func (m *measure) add(name Component, below *measure) {
	m.totals.Entries = addCapped(m.totals.Entries, addCapped(1, below.totals.Entries))
	m.totals.Bytes = addCapped(m.totals.Bytes, below.totals.Bytes)
	m.height = max(m.height, below.height+1)
	m.path = max(m.path, len(name.name)+1+below.path)
	if below.climbs-1 > m.climbs {
		m.climbs, m.climber = below.climbs-1, name.name+"/"+below.climber
	}
}

func (c *checker) files(d *Directory, m *measure) error {
	for _, f := range d.Files {
		if err := c.oneSize(f.Digest); err != nil {
			return fmt.Errorf("file %q: %w", f.Name, err)
		}
		m.totals.Entries = addCapped(m.totals.Entries, 1)
		m.totals.Bytes = addCapped(m.totals.Bytes, f.Digest.Size)
		m.path = max(m.path, len(f.Name.name))
	}
	return nil
}

func (c *checker) symlinks(d *Directory, m *measure) error {
	for _, s := range d.Symlinks {
		ups, err := climb(s.Target)
		if err != nil {
			return fmt.Errorf("symlink %q: %w", s.Name, err)
		}
		if ups > m.climbs {
			m.climbs, m.climber = ups, s.Name.name
		}
		m.totals.Entries = addCapped(m.totals.Entries, 1)
		m.path = max(m.path, len(s.Name.name))
	}
	return nil
}

// oneSize refuses a hash that the tree gives two sizes: one of them is a lie.
func (c *checker) oneSize(d cas.Digest) error {
	if size, seen := c.sizes[d.Hash]; seen && size != d.Size {
		return fmt.Errorf("hash %s is given two sizes, %d and %d", d.Hash, size, d.Size)
	}
	c.sizes[d.Hash] = d.Size
	return nil
}

// addCapped adds two non-negative counts and stays at the largest.
func addCapped(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
