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

// hidden is what lies in gaps and is not zero, one after the other, with its places.
type hidden struct {
	*bytes.Reader
	bytes []byte
	runs  []hiddenRun
	file  int64 // the file's size
	// padded is up to where it lies between other things, and not behind them all.
	padded int64
}

// hiddenRun is n bytes from a place of the file on.
type hiddenRun struct{ at, n int64 }

// each calls do with every byte and its place in the file.
func (h *hidden) each(do func(at int64, c byte)) {
	next := 0
	for _, r := range h.runs {
		for i := range r.n {
			do(r.at+i, h.bytes[next])
			next++
		}
	}
}

// gapsBlob is what lies in gaps and is not zero, as far as maxGapBytes. How much
// padding there is follows from the members.
func gapsBlob(s *session, b Blob, gaps []gap) (*hidden, error) {
	out := &hidden{file: b.Size()}
	for _, g := range gaps {
		g.from, g.to = max(g.from, 0), min(g.to, b.Size())
		for at := g.from; at < g.to && len(out.bytes) < maxGapBytes; at += readBytes {
			raw, err := s.slice(b, at, min(g.to-at, readBytes))
			if err != nil {
				return nil, err
			}
			if !allZero(raw) {
				out.add(at, raw)
			}
		}
	}
	out.Reader = bytes.NewReader(out.bytes)
	return out, nil
}

// add notes what of raw, which begins at that place of the file, is not zero.
func (h *hidden) add(at int64, raw []byte) {
	for i, c := range raw {
		if c == 0 {
			continue
		}
		h.bytes = append(h.bytes, c)
		if n := len(h.runs); n > 0 && h.runs[n-1].at+h.runs[n-1].n == at+int64(i) {
			h.runs[n-1].n++
			continue
		}
		h.runs = append(h.runs, hiddenRun{at + int64(i), 1})
	}
}

// compareHidden says where in the file the gaps of two files differ, nil if others
// should look into it: where both sides hide more than one byte that differs.
func compareHidden(m *member, kind string, x, y *hidden) *Difference {
	var places []hiddenByte
	switch {
	case len(x.bytes) == 0 || len(y.bytes) == 0:
		places = oneSideHides(x, y)
	case x.file == y.file && max(len(x.bytes), len(y.bytes)) <= maxHiddenBytes:
		if places = bothHide(x, y); len(places) != 1 {
			return nil
		}
	default:
		return nil
	}
	first, last := places[0].at, places[len(places)-1].at
	f := Finding{Cause: Unknown, Where: fmt.Sprintf("byte %d of the file", first), Note: counted(len(places), "byte changed", "bytes changed")}
	for _, p := range places[:min(len(places), 16)] {
		f.A += fmt.Sprintf("%02x", p.x)
		f.B += fmt.Sprintf("%02x", p.y)
	}
	switch {
	case len(x.bytes) == 0:
		f.A, f.Note = "", f.Note+", on the second side only"
	case len(y.bytes) == 0:
		f.B, f.Note = "", f.Note+", on the first side only"
	}
	if m.means != "" {
		f.Cause, f.Note = m.means, f.Note+"; "+m.note
	} else if first < max(x.padded, y.padded) {
		f.Cause, f.Note = Forged, f.Note+"; it is padding, which a linker writes as zeros"
	}
	return &Difference{Name: m.name, Kind: kind, SizeA: -1, SizeB: -1, Format: "bytes", Findings: []Finding{f},
		Range: &Range{Offset: first, LengthA: last - first + 1, LengthB: last - first + 1, Differing: int64(len(places))}}
}

// hiddenByte is what both sides have at a place of the file.
type hiddenByte struct {
	at   int64
	x, y byte
}

func oneSideHides(x, y *hidden) (out []hiddenByte) {
	x.each(func(at int64, c byte) { out = append(out, hiddenByte{at, c, 0}) })
	y.each(func(at int64, c byte) { out = append(out, hiddenByte{at, 0, c}) })
	return out
}

func bothHide(x, y *hidden) (out []hiddenByte) {
	of := make(map[int64]byte, len(x.bytes))
	x.each(func(at int64, c byte) { of[at] = c })
	y.each(func(at int64, c byte) {
		if of[at] != c {
			out = append(out, hiddenByte{at, of[at], c})
		}
		delete(of, at)
	})
	for at, c := range of {
		out = append(out, hiddenByte{at, c, 0})
	}
	slices.SortFunc(out, func(p, q hiddenByte) int { return cmp.Compare(p.at, q.at) })
	return out
}
