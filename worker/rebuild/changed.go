package rebuild

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"gavel/cas"
	"gavel/cas/layout"
	"gavel/cas/tree"
)

// source is the input tree as it is to be laid out.
type source struct {
	root cas.Digest
	from cas.Fetcher
}

// stated is the tree of the statement.
func (p *Plan) stated() source {
	return source{p.tree.Root, cas.InProcess{Store: p.inputs}}
}

// found is the tree with the files that lie in the places of the changed ones: it
// has another root. Files that are not there make it impossible.
func (p *Plan) found() (source, error) {
	var entries []tree.Entry
	err := p.tree.Walk(func(e tree.Entry) error {
		if f, bad := p.bad[e.Digest]; bad && e.Type == tree.File {
			if f.Absent() {
				return fmt.Errorf("%w: %s", ErrInputs, Changed{e.Path, f.Want, f.Got})
			}
			e.Digest = f.Got
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return source{}, err
	}
	slices.SortFunc(entries, func(a, b tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
	root, lists, err := tree.Directories(entries)
	if err != nil {
		return source{}, fmt.Errorf("listing the changed inputs: %w", err)
	}
	s := &patched{Dir: p.inputs, lists: lists, found: make(map[cas.Digest]layout.Finding)}
	for _, f := range p.bad {
		s.found[f.Got] = f
	}
	return source{root, cas.InProcess{Store: s}}, nil
}

// patched hands out what Check found, by the digests that it has.
type patched struct {
	*layout.Dir
	lists map[cas.Digest][]byte
	found map[cas.Digest]layout.Finding
}

// Open implements cas.Store.
func (s *patched) Open(ctx context.Context, d cas.Digest) (io.ReadCloser, error) {
	if raw, ok := s.lists[d]; ok {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	if f, ok := s.found[d]; ok {
		return s.OpenFound(f)
	}
	return s.Dir.Open(ctx, d)
}
