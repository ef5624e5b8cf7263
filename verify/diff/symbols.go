package diff

import "debug/elf"

// compareSymbols reads two tables of symbols: the same ones in the same order, each at
// the same place of its section or of what moved.
func (p *programPair) compareSymbols(b, names *both) error {
	long := p.a.file.Class == elf.ELFCLASS64
	left := max(len(names.x), len(names.y), len(b.x)) * maxStringsPerByte
	for !b.done() {
		var nameA, nameB, valueA, valueB, section uint64
		nameA, nameB = b.apart(4)
		if long {
			b.raw(2) // kind and visibility
			section = b.number(2)
			valueA, valueB = b.apart(8)
			b.raw(8) // size
		} else {
			valueA, valueB = b.apart(4)
			b.raw(6)
			section = b.number(2)
		}
		if b.err != nil {
			break
		}
		if nameA != nameB && sameSlice(names.x, names.y) {
			b.fail(false)
		}
		if nameA >= uint64(len(names.x)) || nameB >= uint64(len(names.y)) {
			b.fail(nameA >= uint64(len(names.x)))
			break
		}
		text := &both{x: names.x, y: names.y, i: int(nameA), j: int(nameB)}
		x, y := text.text()
		switch left -= len(x); {
		case text.err != nil:
			b.err = text.err
		case left < 0:
			b.fail(true)
		case !p.roots.same(x, y, false), !p.samePlace(section, valueA, valueB):
			b.fail(false)
		}
	}
	return b.err
}

// samePlace tells whether two symbols of the section with that index are at one place.
func (p *programPair) samePlace(section, a, b uint64) bool {
	if p.moved.same(a, b) {
		return true
	}
	if section > 0 && section < uint64(min(len(p.a.file.Sections), len(p.b.file.Sections))) {
		x, y := p.a.file.Sections[section], p.b.file.Sections[section]
		if x.Name == y.Name && (x.Addr != y.Addr || x.Size != y.Size) && a >= x.Addr && a-x.Addr <= x.Size {
			if a-x.Addr == x.Size && b-y.Addr == y.Size {
				return true // its end
			}
			if x.Addr != y.Addr {
				return b-y.Addr == a-x.Addr
			}
		}
	}
	return p.moved.place(a, b)
}
