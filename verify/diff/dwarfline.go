package diff

import (
	"bytes"
	"debug/dwarf"
)

// lines reads .debug_line: the same directories and files but for where they were
// built, and the same program that makes the rows of the table.
func (d *debugPair) lines() error {
	b := d.open(".debug_line")
	for !b.done() {
		d.units[0], d.units[1] = append(d.units[0], uint64(b.i)), append(d.units[1], uint64(b.j))
		n, m, offset := length(b)
		unit := b.part(n, m)
		d.lineUnit(unit, offset)
		if unit.err != nil {
			return unit.err
		}
		if err := d.s.ctx.Err(); err != nil {
			return err
		}
	}
	return b.err
}

// lineUnit reads one table from behind its length.
func (d *debugPair) lineUnit(b *both, offset int) {
	version := b.number(2)
	if version < 2 || version > 5 {
		b.fail(true)
	}
	if version == 5 {
		b.raw(2) // lengths of addresses and of segments
	}
	n, m := b.apart(offset)
	head := b.part(n, m)
	head.raw(4) // the shortest instruction, and how special codes are counted
	if version >= 4 {
		head.raw(1)
	}
	codes := head.number(1)
	if codes == 0 {
		head.fail(true)
		codes = 1
	}
	head.raw(codes - 1)
	if version == 5 {
		d.entryTable(head, offset, true)
		d.entryTable(head, offset, false)
	} else {
		d.oldTables(head)
	}
	if head.rest(); head.err != nil {
		b.err = head.err
		return
	}
	if !bytes.Equal(b.x[b.i:], b.y[b.j:]) {
		b.fail(false)
	}
}

// oldTables reads the directories and files of DWARF 2 to 4.
func (d *debugPair) oldTables(b *both) {
	for b.err == nil {
		p, q := b.text()
		if !d.same(p, q, true) {
			b.fail(false)
		}
		if p == "" {
			break
		}
	}
	for b.err == nil {
		p, q := b.text()
		if !d.same(p, q, false) {
			b.fail(false)
		}
		if p == "" {
			break
		}
		b.leb() // directory
		b.leb() // time
		b.leb() // length
	}
}

// entryTable reads the directories or the files of DWARF 5.
func (d *debugPair) entryTable(b *both, offset int, directories bool) {
	formats := make([]attribute, b.number(1))
	for i := range formats {
		formats[i] = attribute{b.leb(), b.leb()}
	}
	count := b.leb()
	if len(formats) == 0 && count > 0 {
		b.fail(true)
	}
	for i := uint64(0); i < count && b.err == nil; i++ {
		for _, a := range formats {
			d.lineValue(b, a, offset, directories)
		}
	}
}

// lineValue passes one value of a directory or a file. Every form here has bytes.
func (d *debugPair) lineValue(b *both, a attribute, offset int, directories bool) {
	kind := attribute{form: a.form}
	if directories {
		kind.of = uint64(dwarf.AttrCompDir)
	}
	switch a.form {
	case formString:
		if p, q := b.text(); !d.same(p, q, directories) {
			b.fail(false)
		}
	case formStrp, formLineStrp:
		d.stringAt(b, kind, d.reference(b, ".debug_line", offset))
	case formBlock:
		b.raw(b.leb())
	default:
		if n, ok := formBytes[a.form]; !ok || n == offsetBytes {
			b.fail(true)
		}
		d.plain(b, kind, value{offset: offset})
	}
}
