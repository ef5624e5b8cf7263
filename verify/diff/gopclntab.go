package diff

import "bytes"

// goTable is a Go program's table of functions and lines (runtime.pcHeader, Go 1.18 and
// later) on both sides, which are the same but for the names of files.
type goTable struct {
	// names is how many bytes the names of files have.
	names [2]uint64
	// moved are its parts that are equal.
	moved moves
}

// words of the header, from behind its first eight bytes.
const (
	goFunctions = iota
	goFiles
	goText
	goFuncNames
	goUnits
	goFileNames
	goPrograms
	goEntries
	goHeaderWords
)

// compareGoTable reads two tables that are loaded at an address each.
func (r *roots) compareGoTable(b *both, atA, atB uint64) (*goTable, error) {
	head := b.raw(8)
	if b.err != nil {
		return nil, b.err
	}
	word := int(head[7])
	if magic := b.decode(head[:4]); magic != 0xfffffff0 && magic != 0xfffffff1 || word != 4 && word != 8 {
		return nil, errUnread
	}
	var p, q [goHeaderWords]uint64
	for i := range p {
		if p[i], q[i] = b.apart(word); i <= goFileNames && p[i] != q[i] {
			b.fail(false)
		}
	}
	// Each part begins at its offset, and ends where the next one begins.
	parts := make(map[int]*both)
	for i := goFuncNames; i <= goEntries && b.err == nil; i++ {
		endA, endB := uint64(len(b.x)), uint64(len(b.y))
		if i < goEntries {
			endA, endB = p[i+1], q[i+1]
		}
		if i == goFuncNames {
			b.rawTo(p[i], q[i])
		}
		if p[i] != uint64(b.i) || q[i] != uint64(b.j) || endA < p[i] || endB < q[i] {
			b.fail(p[i] != uint64(b.i) || endA < p[i])
			break
		}
		parts[i] = b.part(endA-p[i], endB-q[i])
	}
	if b.err != nil {
		return nil, b.err
	}
	names := parts[goFileNames]
	if err := r.compareGoUnits(parts[goUnits], names); err != nil {
		return nil, err
	}
	out := &goTable{names: [2]uint64{p[goPrograms] - p[goFileNames], q[goPrograms] - q[goFileNames]}}
	x, y := bytes.TrimRight(names.x[names.i:], "\x00"), bytes.TrimRight(names.y[names.j:], "\x00")
	if err := r.sameInOrder(x, y); err != nil {
		return nil, err
	}
	for _, i := range []int{goFuncNames, goPrograms, goEntries} {
		part := parts[i]
		out.moved = append(out.moved, move{atA + p[i], atB + q[i], uint64(min(len(part.x)-part.i, len(part.y)-part.j))})
		if part.rest(); part.err != nil {
			return nil, part.err
		}
	}
	return out, nil
}

// rawTo passes what is before an offset of each side.
func (b *both) rawTo(p, q uint64) {
	if p != q || p < uint64(b.i) {
		b.fail(p < uint64(b.i))
		return
	}
	b.raw(p - uint64(b.i))
}

// compareGoUnits reads the offsets of each unit's files.
func (r *roots) compareGoUnits(b, names *both) error {
	const none = 0xffffffff
	x, y := names.x[names.i:], names.y[names.j:]
	last, left := [2]uint64{none, none}, (len(x)+len(b.x))*maxStringsPerByte
	for !b.done() && len(b.x)-b.i >= 4 {
		p, q := b.apart(4)
		if p == q && p == none || [2]uint64{p, q} == last {
			continue
		}
		if p >= uint64(len(x)) || q >= uint64(len(y)) {
			b.fail(p >= uint64(len(x)))
			break
		}
		text := &both{x: x, y: y, i: int(p), j: int(q)}
		nameA, nameB := text.text()
		if left -= len(nameA); text.err != nil {
			b.err = text.err
		} else if left < 0 {
			b.fail(true)
		} else if !r.same(nameA, nameB, false) {
			b.fail(false)
		}
		last = [2]uint64{p, q}
	}
	b.rest()
	return b.err
}

// compareGoModule reads the runtime's record of a program (runtime.moduledata): words
// that differ are the places of what moved, and the length of the files' names.
func (t *goTable) compareGoModule(b *both, word int, moved moves) error {
	for !b.done() && len(b.x)-b.i >= word {
		p, q := b.apart(word)
		if [2]uint64{p, q} != t.names && !moved.place(p, q) {
			b.fail(false)
		}
	}
	b.rest()
	return b.err
}
