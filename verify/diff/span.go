package diff

import (
	"bytes"
	"fmt"
	"io"
)

// span is a run of bytes that differ, at the same offset of both sides.
type span struct{ offset, length int64 }

// spans is how two blobs differ bytewise.
type spans struct {
	Range
	list []span // up to maxRanges, of blobs that are equally long
	more int    // further ones
}

// differ compares two blobs byte by byte; nil says that they are equal. Memory is
// constant.
func (s *session) differ(a, b Blob) (*spans, error) {
	if a.Size() != b.Size() {
		return s.differUneven(a, b)
	}
	var out *spans
	err := s.blocks(a, b, a.Size(), func(offset int64, x, y []byte) bool {
		if bytes.Equal(x, y) {
			return true
		}
		for i := range x {
			if x[i] == y[i] {
				continue
			}
			if out == nil {
				out = &spans{Range: Range{Offset: offset + int64(i)}}
			}
			out.extend(offset + int64(i))
		}
		return true
	})
	return out, err
}

// extend adds one differing byte.
func (d *spans) extend(at int64) {
	d.Differing++
	d.LengthA = at - d.Offset + 1
	d.LengthB = d.LengthA
	if n := len(d.list); n > 0 && d.more == 0 {
		if last := &d.list[n-1]; at-(last.offset+last.length) < rangeGapBytes {
			last.length = at - last.offset + 1
			return
		}
	}
	if len(d.list) < maxRanges {
		d.list = append(d.list, span{at, 1})
		return
	}
	d.more++
}

// differUneven trims what both sides begin and end with.
func (s *session) differUneven(a, b Blob) (*spans, error) {
	short := min(a.Size(), b.Size())
	prefix := short
	err := s.blocks(a, b, short, func(offset int64, x, y []byte) bool {
		for i := range x {
			if x[i] != y[i] {
				prefix = offset + int64(i)
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	suffix, err := s.commonSuffix(a, b, short-prefix)
	if err != nil {
		return nil, err
	}
	r := Range{Offset: prefix, LengthA: a.Size() - prefix - suffix, LengthB: b.Size() - prefix - suffix}
	r.Differing = max(r.LengthA, r.LengthB)
	return &spans{Range: r}, nil
}

func (s *session) commonSuffix(a, b Blob, limit int64) (int64, error) {
	for n := int64(0); n < limit; {
		step := min(readBytes, limit-n)
		x, err := s.slice(a, a.Size()-n-step, step)
		if err != nil {
			return 0, err
		}
		y, err := s.slice(b, b.Size()-n-step, step)
		if err != nil {
			return 0, err
		}
		for i := len(x) - 1; i >= 0; i-- {
			if x[i] != y[i] {
				return n + int64(len(x)-1-i), nil
			}
		}
		n += step
	}
	return limit, nil
}

// blocks hands both sides' first n bytes to each, block by block, until it says no.
func (s *session) blocks(a, b Blob, n int64, each func(offset int64, x, y []byte) bool) error {
	left, right := make([]byte, min(n, readBytes)), make([]byte, min(n, readBytes))
	for offset := int64(0); offset < n; {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		step := min(int64(len(left)), n-offset)
		x, y := left[:step], right[:step]
		if _, err := io.ReadFull(io.NewSectionReader(a, offset, step), x); err != nil {
			return fmt.Errorf("reading the first side at byte %d: %w", offset, err)
		}
		if _, err := io.ReadFull(io.NewSectionReader(b, offset, step), y); err != nil {
			return fmt.Errorf("reading the second side at byte %d: %w", offset, err)
		}
		if !each(offset, x, y) {
			return nil
		}
		offset += step
	}
	return nil
}
