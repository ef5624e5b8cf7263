package diff

import (
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// programPair is two ELF files that differ, and what it takes to show that some of
// their tables differ in nothing but what follows from where they were built.
type programPair struct {
	s       *session
	a, b    *program
	differs map[string]*Difference // sections of both
	roots   roots
	moved   moves
	goTable *goTable // nil unless it was read, and is the same
	left    int64    // bytes that may still be read
	shown   map[string]shown
}

// program is one of two ELF files.
type program struct {
	file     *elf.File
	sections map[string]*member
}

// shown is what reading a section on both sides showed: that it is the same but for
// what note says, or that it is not, where note is empty.
type shown struct {
	note  string
	paths bool // some of what was read are paths that differ
}

// showFollowers reads those tables of two programs of which the meaning can be told
// from the bytes. A section that is not in what it returns could not be read.
func (s *session) showFollowers(d *Difference, x, y *archive) (map[string]shown, error) {
	if x.program == nil || y.program == nil || d.Omitted > 0 || !d.known() || x.program.ByteOrder != y.program.ByteOrder || x.program.Class != y.program.Class {
		return nil, nil
	}
	p := &programPair{s: s, differs: make(map[string]*Difference), left: maxTablesBytes, shown: make(map[string]shown)}
	p.a, p.b = newProgram(x), newProgram(y)
	for _, m := range d.Members {
		p.differs[m.Name] = m
	}
	p.showAddresses((*findings)(&d.Findings))
	p.equalSections()
	for _, show := range []func() error{p.showGoTable, p.showGoModule, p.showSymbols, p.showSectionNames, p.showDebug, p.showStrings} {
		if err := show(); err != nil {
			return nil, err
		}
	}
	return p.shown, nil
}

func newProgram(of *archive) *program {
	out := &program{file: of.program, sections: make(map[string]*member)}
	for i := range of.members {
		m := &of.members[i]
		if out.sections[m.name] != nil {
			m = &member{} // which of them is meant nobody knows
		}
		out.sections[m.name] = m
	}
	return out
}

// equalSections notes those that are loaded and equal, wherever they are.
func (p *programPair) equalSections() {
	for _, x := range p.a.file.Sections {
		if x.Flags&elf.SHF_ALLOC == 0 || p.differs[x.Name] != nil || p.has(x.Name) != nil {
			continue
		}
		if y := p.b.file.Section(x.Name); y != nil && y.Size == x.Size {
			p.moved = append(p.moved, move{x.Addr, y.Addr, x.Size})
		}
	}
}

// judge notes what came of reading sections that differ. errUnread leaves them as they
// were; what else is no answer ends the comparison.
func (p *programPair) judge(err error, note string, names ...string) error {
	switch {
	case err == nil:
	case errors.Is(err, errOther):
		note = ""
	case errors.Is(err, errUnread):
		return nil
	default:
		return err
	}
	for _, name := range names {
		if p.differs[name] != nil {
			p.shown[name] = shown{note, len(p.roots) > 0}
		}
	}
	return nil
}

// has says whether both sides have one section of that name, with the same header.
func (p *programPair) has(name string) error {
	x, y := p.a.sections[name], p.b.sections[name]
	switch {
	case x == nil && y == nil, x != nil && x.open == nil && x.name == "":
		return errUnread
	case x == nil || y == nil, y.name == "":
		return errOther
	}
	var fs, late findings
	if x.fields != nil && y.fields != nil {
		p.s.compareFields(&fs, &late, name, x.fields(), y.fields())
	}
	if slices.ContainsFunc(fs, func(f Finding) bool { return f.Cause != Compression }) {
		return errOther
	}
	return nil
}

// read is both sides' content of a section; one slice where it is equal.
func (p *programPair) read(name string, limit int64) (out [2][]byte, err error) {
	if err := p.has(name); err != nil {
		return out, err
	}
	for i, m := range []*member{p.a.sections[name], p.b.sections[name]} {
		if i == 1 && p.differs[name] == nil {
			out[1] = out[0]
			break
		}
		if out[i], err = p.content(m, min(limit, p.left)); err != nil {
			if p.s.ctx.Err() != nil {
				return out, p.s.ctx.Err()
			}
			if i == 1 {
				return out, fmt.Errorf("%w: %w", errOther, err)
			}
			return out, fmt.Errorf("%w: %w", errUnread, err)
		}
		p.left -= int64(len(out[i]))
	}
	return out, nil
}

func (p *programPair) content(m *member, limit int64) ([]byte, error) {
	if m.open == nil {
		return nil, errUnread
	}
	b, err := p.s.content(m)
	if err != nil {
		return nil, err
	}
	defer closeBlob(b)
	return p.s.readAll(b, limit)
}

func (p *programPair) both(pair [2][]byte) *both {
	return &both{x: pair[0], y: pair[1], order: p.a.file.ByteOrder}
}

// showGoTable reads a Go program's table of functions.
func (p *programPair) showGoTable() error {
	const name = ".gopclntab"
	if p.differs[name] == nil {
		return nil
	}
	pair, err := p.read(name, maxTableBytes)
	var table *goTable
	if err == nil {
		table, err = p.roots.compareGoTable(p.both(pair), p.a.file.Section(name).Addr, p.b.file.Section(name).Addr)
	}
	if err == nil {
		p.goTable, p.moved = table, append(p.moved, table.moved...)
	}
	return p.judge(err, "the same functions and lines, but for where the files are", name)
}

// showGoModule reads the runtime's record of where that table is.
func (p *programPair) showGoModule() error {
	const name = ".go.module"
	if p.differs[name] == nil || p.goTable == nil {
		return nil
	}
	pair, err := p.read(name, maxTableBytes)
	if err == nil {
		err = p.goTable.compareGoModule(p.both(pair), p.wordBytes(), p.moved)
	}
	return p.judge(err, "the same, but for where the names of files end and the rest of .gopclntab begins", name)
}

func (p *programPair) wordBytes() int {
	if p.a.file.Class == elf.ELFCLASS64 {
		return 8
	}
	return 4
}

// showSymbols reads the table of symbols that no program loads.
func (p *programPair) showSymbols() error {
	if p.differs[".symtab"] == nil && p.differs[".strtab"] == nil {
		return nil
	}
	symbols, err := p.read(".symtab", maxTableBytes)
	if err != nil {
		return p.judge(err, "", ".symtab", ".strtab")
	}
	names, err := p.read(".strtab", maxTableBytes)
	if err == nil {
		err = p.compareSymbols(p.both(symbols), p.both(names))
	}
	if err == nil {
		err = p.roots.sameStrings(names[0], names[1])
	}
	return p.judge(err, "the same symbols, at the same places of what they are in", ".symtab", ".strtab")
}

// showSectionNames reads the table of the sections' names.
func (p *programPair) showSectionNames() error {
	const name = ".shstrtab"
	if p.differs[name] == nil {
		return nil
	}
	pair, err := p.read(name, maxTableBytes)
	if err == nil {
		err = p.roots.sameStrings(pair[0], pair[1])
	}
	return p.judge(err, "the same names", name)
}

// showStrings reads the tables of strings of a file that is still to be linked: code
// finds them by their place, which has to be in the same order.
func (p *programPair) showStrings() error {
	for _, x := range p.a.file.Sections {
		if x.Flags&elf.SHF_STRINGS == 0 || x.Flags&elf.SHF_ALLOC == 0 || x.Entsize > 1 || p.differs[x.Name] == nil {
			continue
		}
		pair, err := p.read(x.Name, maxTableBytes)
		if err == nil {
			err = p.roots.sameInOrder(pair[0], pair[1])
		}
		if err := p.judge(err, "the same strings in the same order, but for paths", x.Name); err != nil {
			return err
		}
	}
	return nil
}

// isDebug tells whether a section is a part of the debugging information.
func isDebug(name string) bool {
	for _, prefix := range []string{".rela", ".rel"} {
		if of, ok := strings.CutPrefix(name, prefix); ok && strings.HasPrefix(of, ".debug_") {
			return true
		}
	}
	return strings.HasPrefix(name, ".debug_") || strings.HasPrefix(name, ".zdebug_") || name == ".gdb_index"
}

// debugTables are those whose strings and references are read one by one. The other
// ones have to be equal; of them, plainDebug refer to no string and no line table.
var (
	debugTables = []string{".debug_info", ".debug_line", ".debug_str_offsets", ".debug_str", ".debug_line_str"}
	plainDebug  = []string{".debug_abbrev", ".debug_aranges", ".debug_ranges", ".debug_rnglists", ".debug_loc", ".debug_loclists",
		".debug_addr", ".debug_frame", ".debug_pubnames", ".debug_pubtypes", ".debug_gnu_pubnames", ".debug_gnu_pubtypes", ".debug_gdb_scripts"}
)

// showDebug reads the debugging information as one: it is the same, or nothing of it is
// shown to be.
func (p *programPair) showDebug() error {
	var differ []string
	for name := range p.differs {
		if isDebug(name) {
			differ = append(differ, name)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return p.judge(p.compareDebug(differ), "the same debugging information, but for paths and where it has its strings", differ...)
}

func (p *programPair) compareDebug(differ []string) error {
	d := &debugPair{s: p.s, order: p.a.file.ByteOrder, roots: &p.roots, moved: p.moved, of: make(map[string][2][]byte)}
	if err := p.readable(differ); err != nil {
		return err
	}
	for _, name := range append([]string{".debug_abbrev"}, debugTables...) {
		if p.a.sections[name] == nil && p.b.sections[name] == nil {
			continue
		}
		limit := int64(maxTableBytes)
		if name == ".debug_abbrev" {
			limit = maxAbbreviationsBytes
		}
		pair, err := p.read(name, limit)
		if err != nil {
			return err
		}
		d.of[name] = pair
	}
	if p.a.file.Type == elf.ET_REL {
		var err error
		if d.relocated, err = p.relocations(); err != nil {
			return err
		}
	}
	if err := d.compare(); err != nil {
		return err
	}
	return p.compareDebugStrings(d)
}

// readable tells whether all that differs is of a kind that is read here.
func (p *programPair) readable(differ []string) error {
	if p.a.sections[".debug_info"] == nil {
		return errUnread
	}
	unlinked := p.a.file.Type == elf.ET_REL
	for _, x := range p.a.file.Sections {
		if strings.HasPrefix(x.Name, ".zdebug_") || unlinked && x.Type == elf.SHT_REL && isDebug(x.Name) {
			return errUnread
		}
	}
	for _, name := range differ {
		if err := p.has(name); err != nil {
			return err
		}
		if !slices.Contains(debugTables, name) && !(unlinked && strings.HasPrefix(name, ".rela.")) {
			return errOther
		}
	}
	return nil
}

// compareDebugStrings compares the tables of strings as a whole: some may be what
// nothing refers to.
func (p *programPair) compareDebugStrings(d *debugPair) error {
	moved := !slices.Equal(d.units[0], d.units[1])
	for _, name := range []string{".debug_str", ".debug_line_str"} {
		pair := d.of[name]
		if sameSlice(pair[0], pair[1]) {
			continue
		}
		if err := p.roots.sameStrings(pair[0], pair[1]); err != nil {
			return err
		}
		moved = true
	}
	for name := range p.a.sections {
		if moved && isDebug(name) && !strings.HasPrefix(name, ".rel") && !slices.Contains(debugTables, name) && !slices.Contains(plainDebug, name) {
			return errOther
		}
	}
	return nil
}
