package audit

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// leaf is one entry of the log, read; what is no leaf of ours has an error.
type leaf struct {
	index uint64
	raw   []byte // nil where it could not be read, which the walk reports
	of    *evidence.Leaf
	err   error
}

// segment is a stretch of leaves that ends with an epoch's, or with the log.
type segment struct {
	leaves []leaf
	last   uint64 // the epoch that ends it; 0 where the log ends first
}

// end is the index of the segment's last leaf.
func (s *segment) end() uint64 { return s.leaves[len(s.leaves)-1].index }

// of is the index of an epoch's leaf, or of the last one if it has none.
func (s *segment) of(number uint64) uint64 {
	for i := range s.leaves {
		if x := s.leaves[i].of; x != nil && x.Epoch != nil && x.Epoch.Number == number {
			return s.leaves[i].index
		}
	}
	return s.end()
}

// leafReader reads a log segment by segment.
type leafReader struct {
	walk      *tlog.Walk
	bundle    []leaf          // read and not given out yet
	positions []tlog.Position // where the last bundles began; none where a walk cannot resume
	resumed   uint64          // leaves below it were given out by an earlier audit
}

func (r *leafReader) fill(ctx context.Context) error {
	if p, ok := r.walk.Position(); ok {
		r.positions = append(r.positions, p)
	} else {
		r.positions = nil
	}
	first, entries, err := r.walk.Next(ctx)
	if err != nil {
		return err
	}
	for i, raw := range entries {
		x := leaf{index: first + uint64(i), raw: raw}
		if x.index < r.resumed {
			continue
		}
		if raw != nil {
			x.of, x.err = evidence.Read(raw)
		}
		r.bundle = append(r.bundle, x)
	}
	return nil
}

// positionOf is where the bundle of a leaf begins, if a walk can resume there, and
// forgets those before it.
func (r *leafReader) positionOf(index uint64) (p tlog.Position, ok bool) {
	for len(r.positions) > 1 && r.positions[1].Size <= index {
		r.positions = r.positions[1:]
	}
	if len(r.positions) == 0 || r.positions[0].Size > index {
		return tlog.Position{}, false
	}
	return r.positions[0], true
}

// next is the segment after the epoch with a number; io.EOF after the last. It ends
// where every epoch from there on has its leaf, so that leaves which are missing,
// repeated or out of order lie in one with those around them.
func (r *leafReader) next(ctx context.Context, after uint64) (*segment, error) {
	s := &segment{}
	seen := map[uint64]bool{}
	for {
		for i := range r.bundle {
			x := r.bundle[i]
			s.leaves = append(s.leaves, x)
			if x.of == nil || x.of.Epoch == nil || x.of.Epoch.Number <= after {
				continue
			}
			seen[x.of.Epoch.Number] = true
			last, complete := reach(seen, after)
			if complete || len(seen) > maxAhead {
				s.last = last
				r.bundle = r.bundle[i+1:]
				return s, nil
			}
		}
		r.bundle = nil
		if len(s.leaves) > maxSegmentLeaves {
			return nil, fmt.Errorf("%w: %d leaves without an epoch's", ErrUnusable, len(s.leaves))
		}
		err := r.fill(ctx)
		if errors.Is(err, io.EOF) && len(s.leaves) > 0 {
			s.last, _ = reach(seen, after)
			return s, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// maxAhead is how many epochs a leaf may be out of order, or stay missing, before
// the rest is compared without it.
const maxAhead = 3

// reach is the last of the epochs that so many leaves can be of, where a few may be
// missing, and whether all up to it have theirs.
func reach(seen map[uint64]bool, after uint64) (last uint64, complete bool) {
	complete = true
	for n := after + uint64(len(seen)) + maxAhead; n > after; n-- {
		if seen[n] && last == 0 {
			last = n
		}
		complete = complete && (last == 0 || seen[n])
	}
	return last, complete && last > 0
}
