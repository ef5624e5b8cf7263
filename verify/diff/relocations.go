package diff

import (
	"debug/elf"
	"slices"
	"strings"
)

// relocations reads those of the debugging information of two files that are still to
// be linked: they are equal but for the place of strings, which is compared where
// something refers to it.
func (p *programPair) relocations() (map[string]map[int]relocation, error) {
	if p.differs[".symtab"] != nil {
		switch seen, ok := p.shown[".symtab"]; {
		case !ok:
			return nil, errUnread
		case seen.note == "":
			return nil, errOther
		}
	}
	out := make(map[string]map[int]relocation)
	for _, x := range p.a.file.Sections {
		of, ok := strings.CutPrefix(x.Name, ".rela")
		if !ok || !isDebug(x.Name) || x.Type != elf.SHT_RELA {
			continue
		}
		if p.a.file.Class != elf.ELFCLASS64 {
			return nil, errUnread
		}
		pair, err := p.read(x.Name, maxTableBytes)
		if err != nil {
			return nil, err
		}
		symbols, err := p.read(".symtab", maxTableBytes)
		if err != nil {
			return nil, err
		}
		if out[of], err = p.readRelocations(p.both(pair), symbols[0], slices.Contains(debugTables, of)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readRelocations reads one table of Elf64_Rela. Only a section that is read field by
// field may refer to other places than the other side.
func (p *programPair) readRelocations(b *both, symbols []byte, fields bool) (map[int]relocation, error) {
	const symbolBytes = 24
	out := make(map[int]relocation)
	for !b.done() {
		at, info := b.number(8), b.number(8)
		x, y := b.apart(8)
		if b.err != nil {
			break
		}
		symbol := info >> 32 // as all but MIPS have it
		if symbol >= uint64(len(symbols)/symbolBytes) {
			b.fail(true)
			break
		}
		raw := symbols[symbol*symbolBytes:]
		section := b.decode(raw[6:8])
		strings := section < uint64(len(p.a.file.Sections)) && slices.Contains([]string{".debug_str", ".debug_line_str"}, p.a.file.Sections[section].Name)
		if x != y && !(strings && fields) {
			b.fail(false)
		}
		if at < maxTableBytes {
			value := b.decode(raw[8:16])
			out[int(at)] = relocation{value + x, value + y}
		}
	}
	return out, b.err
}
