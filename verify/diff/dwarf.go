package diff

import (
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"sort"
)

// The codes of DWARF (version 5, sections 7.5 and 7.22) that say how long a value is and
// what it refers to. debug/dwarf knows them too, but not where a value lies, and it
// leaves out bytes that mean something.
const (
	formAddr      = 0x01
	formBlock2    = 0x03
	formBlock4    = 0x04
	formData2     = 0x05
	formData4     = 0x06
	formData8     = 0x07
	formString    = 0x08
	formBlock     = 0x09
	formBlock1    = 0x0a
	formStrp      = 0x0e
	formRefAddr   = 0x10
	formIndirect  = 0x16
	formSecOffset = 0x17
	formExprloc   = 0x18
	formPresent   = 0x19
	formLineStrp  = 0x1f
	formImplicit  = 0x21
	formGNURefAlt = 0x1f20
	formGNUStrAlt = 0x1f21

	unitType      = 2
	unitSkeleton  = 4
	unitSplit     = 5
	unitSplitType = 6
	operandIsAddr = 0x03
)

// formBytes are the lengths of forms that have one; -1 is a LEB128, and offsetBytes an
// offset of 4 or 8 bytes, as the unit says.
var formBytes = map[uint64]int{
	formData2: 2, formData4: 4, formData8: 8, 0x0b: 1, 0x0c: 1, 0x0d: -1, 0x0f: -1,
	0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x15: -1, formSecOffset: offsetBytes, 0x1a: -1, 0x1b: -1, 0x1c: 4, 0x1d: offsetBytes, 0x1e: 16,
	0x20: 8, 0x22: -1, 0x23: -1, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2a: 2, 0x2b: 3, 0x2c: 4,
	0x1f01: -1, 0x1f02: -1, formGNURefAlt: offsetBytes, formGNUStrAlt: offsetBytes,
}

const offsetBytes = -2

// debugPair is the debugging information of two programs, read in step: every byte of
// it is equal but for where strings, line tables and what moved in memory lie, and these
// are the same.
type debugPair struct {
	s     *session
	order binary.ByteOrder
	roots *roots
	moved moves
	// of are the sections by name, each side's content; equal ones have one slice.
	of map[string][2][]byte
	// relocated is what relocations say, by section and place in it: in a file that is
	// still to be linked, fields refer to others by them.
	relocated map[string]map[int]relocation
	// units are where each side's line tables begin.
	units [2][]uint64
	left  int // bytes of strings that may still be compared
	// tables are the bytes of .debug_abbrev that may still be read: one table is read
	// once, and hostile ones overlap.
	tables int
}

// relocation is what a relocation has each side's field refer to.
type relocation struct{ a, b uint64 }

// compare says by its error whether both sides' information is the same.
func (d *debugPair) compare() error {
	for _, pair := range d.of {
		d.left += max(len(pair[0]), len(pair[1])) * maxStringsPerByte
	}
	d.tables = 2 * len(d.of[".debug_abbrev"][0])
	if err := d.lines(); err != nil {
		return fmt.Errorf("line tables: %w", err)
	}
	if err := d.info(); err != nil {
		return fmt.Errorf("entries: %w", err)
	}
	if err := d.stringOffsets(); err != nil {
		return fmt.Errorf("offsets of strings: %w", err)
	}
	return nil
}

func (d *debugPair) open(section string) *both {
	pair := d.of[section]
	return &both{x: pair[0], y: pair[1], order: d.order}
}

// length passes a unit's length and says how long offsets are in it.
func length(b *both) (n, m uint64, offset int) {
	if n, m = b.apart(4); n != 0xffffffff || m != 0xffffffff {
		return n, m, 4
	}
	n, m = b.apart(8)
	return n, m, 8
}

// info reads the entries of all units.
func (d *debugPair) info() error {
	b := d.open(".debug_info")
	tables := make(map[uint64]abbreviations)
	for !b.done() {
		n, m, offset := length(b)
		if n != m {
			b.fail(false)
		}
		unit := b.part(n, m)
		d.unit(unit, offset, tables)
		if unit.err != nil {
			return unit.err
		}
		if err := d.s.ctx.Err(); err != nil {
			return err
		}
	}
	return b.err
}

// unit reads one unit of entries from behind its length.
func (d *debugPair) unit(b *both, offset int, tables map[uint64]abbreviations) {
	version := b.number(2)
	var kind, address uint64
	if version >= 5 {
		kind, address = b.number(1), b.number(1)
	}
	at := d.reference(b, ".debug_info", offset)
	if version < 5 {
		address = b.number(1)
	}
	switch {
	case version < 2 || version > 5:
		b.fail(true)
	case kind == unitSkeleton, kind == unitSplit:
		b.raw(8)
	case kind == unitType, kind == unitSplitType:
		b.raw(8 + uint64(offset))
	}
	if at.a != at.b {
		b.fail(false)
	}
	if b.err != nil {
		return
	}
	entries, ok := tables[at.a]
	if !ok {
		var n int
		entries, n = readAbbreviations(d.of[".debug_abbrev"][0], at.a)
		tables[at.a] = entries
		if d.tables -= n; d.tables < 0 {
			b.fail(true)
		}
	}
	v := value{version: version, offset: offset, address: int(address)}
	for !b.done() {
		code := b.leb()
		if code == 0 || b.err != nil {
			continue // the end of a list of children
		}
		attributes, ok := entries[code]
		if !ok {
			b.fail(true)
		}
		for _, a := range attributes {
			d.value(b, a, v)
		}
	}
}

// reference passes an offset, or takes what a relocation says of it, beside which the
// bytes themselves mean nothing, and are equal.
func (d *debugPair) reference(b *both, section string, n int) relocation {
	if r, ok := d.relocated[section][b.i]; ok {
		b.raw(uint64(n))
		return r
	}
	p, q := b.apart(n)
	return relocation{p, q}
}

// value is what a unit says about the length of its values.
type value struct {
	version         uint64
	offset, address int // bytes
}

// value passes one attribute's value.
func (d *debugPair) value(b *both, a attribute, v value) {
	switch form := a.form; form {
	case formPresent, formImplicit:
	case formAddr:
		d.place(b, v.address)
	case formString:
		p, q := b.text()
		if len(p) != len(q) || !d.same(p, q, a.of == uint64(dwarf.AttrCompDir)) {
			b.fail(false)
		}
	case formStrp, formLineStrp:
		d.stringAt(b, a, d.reference(b, ".debug_info", v.offset))
	case formBlock1:
		d.block(b, b.number(1), v)
	case formBlock2:
		d.block(b, b.number(2), v)
	case formBlock4:
		d.block(b, b.number(4), v)
	case formBlock, formExprloc:
		d.block(b, b.leb(), v)
	case formRefAddr:
		if v.version == 2 {
			b.raw(uint64(v.address))
			return
		}
		b.raw(uint64(v.offset))
	case formIndirect:
		a.form = b.leb()
		if a.form == formIndirect || a.form == formImplicit {
			b.fail(true)
		}
		if b.err == nil {
			d.value(b, a, v)
		}
	default:
		d.plain(b, a, v)
	}
}

// plain passes a value of a known length that refers to no string.
func (d *debugPair) plain(b *both, a attribute, v value) {
	n, ok := formBytes[a.form]
	if n == offsetBytes {
		n = v.offset
	}
	switch {
	case !ok:
		b.fail(true)
	case n < 0:
		b.leb()
	case a.of == uint64(dwarf.AttrStmtList) && (n == 4 || n == 8):
		if at := d.reference(b, ".debug_info", n); !d.sameTable(at) {
			b.fail(false)
		}
	default:
		b.raw(uint64(n))
	}
}

// place passes an address of memory: the same one, or that of what moved.
func (d *debugPair) place(b *both, n int) {
	if p, q := b.apart(n); !d.moved.place(p, q) {
		b.fail(false)
	}
}

// block passes n bytes, which may be an expression that begins with an address.
func (d *debugPair) block(b *both, n uint64, v value) {
	if n == uint64(v.address)+1 && b.fits(n, n) && b.x[b.i] == operandIsAddr {
		b.raw(1)
		d.place(b, v.address)
		return
	}
	b.raw(n)
}

// stringAt compares what two offsets into a table of strings refer to.
func (d *debugPair) stringAt(b *both, a attribute, at relocation) {
	if b.err != nil {
		return
	}
	section := ".debug_str"
	if a.form == formLineStrp {
		section = ".debug_line_str"
	}
	pair := d.of[section]
	if at.a == at.b && sameSlice(pair[0], pair[1]) {
		return
	}
	if at.a >= uint64(len(pair[0])) || at.b >= uint64(len(pair[1])) {
		b.fail(at.a >= uint64(len(pair[0])))
		return
	}
	text := &both{x: pair[0], y: pair[1], i: int(at.a), j: int(at.b)}
	p, q := text.text()
	switch d.left -= len(p) + len(q); {
	case d.left < 0:
		b.fail(true)
	case text.err != nil:
		b.err = text.err
	case !d.same(p, q, a.of == uint64(dwarf.AttrCompDir)):
		b.fail(false)
	}
}

func (d *debugPair) same(p, q string, directory bool) bool { return d.roots.same(p, q, directory) }

// sameTable tells whether two offsets are those of the same line table.
func (d *debugPair) sameTable(at relocation) bool {
	i := sort.Search(len(d.units[0]), func(i int) bool { return d.units[0][i] >= at.a })
	return i < len(d.units[0]) && d.units[0][i] == at.a && d.units[1][i] == at.b
}

// sameSlice tells whether two slices are one, as of sections that are equal.
func sameSlice(x, y []byte) bool {
	return len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0])
}

// attribute is one of a kind of entries.
type attribute struct{ of, form uint64 }

// abbreviations are the kinds of entries by their code. Attributes without a byte in
// an entry are left out.
type abbreviations map[uint64][]attribute

// readAbbreviations reads a table of .debug_abbrev, which is equal on both sides, as
// far as it goes, and says how many bytes that is.
func readAbbreviations(raw []byte, at uint64) (out abbreviations, n int) {
	out = make(abbreviations)
	if at >= uint64(len(raw)) {
		return out, 0
	}
	b := &both{x: raw[at:], y: raw[at:]}
	for {
		code := b.leb()
		if b.err != nil || code == 0 {
			return out, b.i
		}
		b.leb()  // tag
		b.raw(1) // whether it has children
		attributes := []attribute{}
		for {
			a := attribute{b.leb(), b.leb()}
			if a.form == formImplicit {
				b.leb()
			}
			if b.err != nil || a == (attribute{}) {
				break
			}
			if a.form != formImplicit && a.form != formPresent {
				attributes = append(attributes, a)
			}
		}
		if b.err == nil {
			out[code] = attributes
		}
	}
}

// stringOffsets reads .debug_str_offsets (DWARF 5, section 7.26), by which entries
// find their strings.
func (d *debugPair) stringOffsets() error {
	b := d.open(".debug_str_offsets")
	for !b.done() {
		n, m, offset := length(b)
		if n != m {
			b.fail(false)
		}
		unit := b.part(n, m)
		if unit.number(2) != 5 {
			unit.fail(true)
		}
		unit.raw(2)
		for !unit.done() {
			d.stringAt(unit, attribute{form: formStrp}, d.reference(unit, ".debug_str_offsets", offset))
		}
		if unit.err != nil {
			return unit.err
		}
	}
	return b.err
}
