package diff

import (
	"debug/elf"
	"fmt"
)

// placeOf says where an address is by the loaded section it is in: where sections
// move, what is in them has another address and the same place.
func placeOf(f *elf.File, address uint64) string {
	if x := sectionAt(f, address); x != nil {
		return fmt.Sprintf("0x%x in %s", address-x.Addr, clip(x.Name))
	}
	return fmt.Sprintf("0x%x", address)
}

// sectionAt is the loaded section that an address is in, nil if it is in none or there
// are too many to look for each segment.
func sectionAt(f *elf.File, address uint64) *elf.Section {
	if len(f.Sections)*len(f.Progs) > maxPlaces {
		return nil
	}
	for _, x := range f.Sections {
		if x.Flags&elf.SHF_ALLOC != 0 && address >= x.Addr && address-x.Addr < x.Size {
			return x
		}
	}
	return nil
}

// segmentPlace says what of a program the loader maps, and how: from where in which
// section to where before the end of which.
func segmentPlace(f *elf.File, p *elf.Prog) string {
	from, to := placeOf(f, p.Vaddr), fmt.Sprintf("0x%x", p.Vaddr+p.Memsz)
	if x := sectionAt(f, p.Vaddr+p.Memsz-1); x != nil && p.Memsz > 0 {
		to = fmt.Sprintf("0x%x before the end of %s", x.Addr+x.Size-p.Vaddr-p.Memsz, clip(x.Name))
	}
	file := fmt.Sprintf("byte %d", p.Off)
	if x := sectionAt(f, p.Vaddr); x != nil {
		file = fmt.Sprintf("%d bytes from where that is", int64(p.Off-x.Offset-(p.Vaddr-x.Addr)))
	}
	zeros := "" // what is behind the bytes in the file
	if p.Memsz != p.Filesz {
		zeros = fmt.Sprintf(", of which %d bytes are zeros", int64(p.Memsz-p.Filesz))
	}
	return fmt.Sprintf("%v, %s to %s%s, file from %s, loaded %d bytes aside, aligned %d", p.Flags, from, to, zeros, file, int64(p.Paddr-p.Vaddr), p.Align)
}

// linked names a section that a header refers to by its index, so that one more before
// it is no difference.
func linked(f *elf.File, index uint32, section bool) string {
	if section && index > 0 && uint64(index) < uint64(len(f.Sections)) {
		return clip(f.Sections[index].Name)
	}
	return decimal(int64(index))
}

// restOfHeader is the ELF header without what other fields and the lists say.
func restOfHeader(s *session, b Blob, f *elf.File) ([]byte, error) {
	h, err := s.slice(b, 0, 64)
	if err != nil {
		return nil, err
	}
	blank := []gap{{16, 20}, {24, 32}, {40, 48}, {56, 58}, {60, 64}} // type, machine, entry, sections; how many
	if f.Class == elf.ELFCLASS32 {
		h, blank = h[:min(len(h), 52)], []gap{{16, 20}, {24, 28}, {32, 36}, {44, 46}, {48, 52}}
	}
	for _, g := range blank {
		for i := g.from; i < g.to && i < int64(len(h)); i++ {
			h[i] = 0
		}
	}
	return h, nil
}

// showAddresses notes the loaded sections that have another address where none has
// another size that would move it.
func (p *programPair) showAddresses(fs *findings) {
	var apart findings
	for _, x := range p.a.file.Sections {
		if x.Flags&elf.SHF_ALLOC == 0 || p.has(x.Name) != nil {
			continue
		}
		y := p.b.file.Section(x.Name)
		if y == nil || y.Size != x.Size {
			return
		}
		if x.Addr != y.Addr {
			apart.add(Finding{Cause: Unknown, Where: "address of " + Quote(clip(x.Name)), A: fmt.Sprintf("0x%x", x.Addr), B: fmt.Sprintf("0x%x", y.Addr)})
		}
	}
	addAll(fs, apart)
}
