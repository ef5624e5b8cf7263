package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// meter refuses reads once left is used up, so that a directory that pretends to be
// short is not kept in memory; below zero it lets all pass.
type meter struct {
	Blob
	s    *session
	left int64
}

func (m *meter) ReadAt(p []byte, off int64) (int, error) {
	if err := m.s.ctx.Err(); err != nil {
		return 0, err
	}
	if m.left >= 0 {
		if m.left -= int64(len(p)); m.left < 0 {
			m.left = 0
			return 0, fmt.Errorf("%w: its directory has more than %d bytes", errBound, maxDirectoryBytes)
		}
	}
	return m.Blob.ReadAt(p, off)
}

// gap is a part of a file, from a byte up to another, that no member holds.
type gap struct{ from, to int64 }

// gapsBetween is what the parts of a file of that size leave.
func gapsBetween(size int64, parts []gap) (out []gap) {
	slices.SortFunc(parts, func(a, b gap) int { return cmp.Compare(a.from, b.from) })
	at := int64(0)
	for _, p := range parts {
		if p.from > at {
			out = append(out, gap{at, min(p.from, size)})
		}
		at = max(at, p.to)
		if at >= size {
			return out
		}
	}
	return append(out, gap{at, size})
}

// gapsBlob is what lies in gaps and is not zero, one after the other, as far as
// maxGapBytes. How much padding there is follows from the members.
func gapsBlob(s *session, b Blob, gaps []gap) (Blob, error) {
	var out bytes.Buffer
	for _, g := range gaps {
		g.from, g.to = max(g.from, 0), min(g.to, b.Size())
		for at := g.from; at < g.to && out.Len() < maxGapBytes; at += readBytes {
			raw, err := s.slice(b, at, min(g.to-at, readBytes))
			if err != nil {
				return nil, err
			}
			if !allZero(raw) {
				out.Write(bytes.ReplaceAll(raw, []byte{0}, nil))
			}
		}
	}
	return bytes.NewReader(out.Bytes()), nil
}
