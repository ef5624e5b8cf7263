package diff

import (
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"regexp"
	"strings"
)

const sectionKind = "ELF section"

// readELF lists an ELF file's sections; where there are none, its segments. A Go
// program's record of how it was built comes first, as it names what a person chose.
func readELF(s *session, b Blob) (*archive, error) {
	metered := &meter{Blob: b, s: s, left: maxDirectoryBytes}
	f, err := elf.NewFile(metered)
	if err != nil {
		return nil, err
	}
	metered.left = -1
	if err := s.take(len(f.Sections) + len(f.Progs)); err != nil {
		return nil, err
	}
	rest, err := restOfHeader(s, b, f)
	if err != nil {
		return nil, err
	}
	out := &archive{kind: sectionKind, fields: []field{
		{name: "type of the ELF file", value: f.Type.String(), cause: Unknown},
		{name: "machine of the ELF file", value: f.Machine.String(), cause: Toolchain},
		{name: "class of the ELF file", value: f.Class.String(), cause: Toolchain},
		{name: "entry of the ELF file", value: placeOf(f, f.Entry), cause: Unknown},
		{name: "rest of the ELF header", value: fmt.Sprintf("%x", rest), cause: Unknown},
	}}
	if m := goRecord(s, b); m != nil {
		out.members = append(out.members, *m)
	}
	sections := 0
	for _, x := range f.Sections {
		if x.Type == elf.SHT_NULL {
			continue
		}
		sections++
		out.members = append(out.members, sectionMember(s, b, f, x))
	}
	for i, p := range f.Progs {
		name := fmt.Sprintf("segment %d, %v", i, p.Type)
		m := member{name: name, fields: func() []field {
			return []field{
				{name: "place of " + name, value: segmentPlace(f, p), cause: Unknown},
				{name: "layout of " + name, value: fmt.Sprintf("at 0x%x, %d of %d bytes", p.Vaddr, p.Filesz, p.Memsz), cause: Unknown, derived: true},
			}
		}}
		if sections == 0 && p.Filesz > 0 {
			content := part(b, p.Off, p.Filesz)
			m.open = func() (Blob, error) { return content, nil }
		}
		out.members = append(out.members, m)
	}
	if sections == 0 {
		return out, nil
	}
	out.program = f
	between, err := betweenSections(s, b, f)
	if err != nil {
		return nil, err
	}
	out.members = append(out.members, member{name: "bytes between the sections", made: true, open: func() (Blob, error) { return between, nil }})
	return out, nil
}

// betweenSections is what lies in no section, header or table: zeros, unless
// somebody put something there.
func betweenSections(s *session, b Blob, f *elf.File) (*hidden, error) {
	h, err := s.slice(b, 0, 64)
	if err != nil {
		return nil, err
	}
	u16 := func(at int) int64 { return int64(f.ByteOrder.Uint16(h[at:])) }
	var parts []gap
	if f.Class == elf.ELFCLASS64 && len(h) == 64 {
		programs, sections := int64(f.ByteOrder.Uint64(h[32:])), int64(f.ByteOrder.Uint64(h[40:]))
		parts = []gap{{0, 64}, {programs, programs + u16(54)*u16(56)}, {sections, sections + u16(58)*int64(len(f.Sections))}}
	} else if len(h) >= 52 {
		programs, sections := int64(f.ByteOrder.Uint32(h[28:])), int64(f.ByteOrder.Uint32(h[32:]))
		parts = []gap{{0, 52}, {programs, programs + u16(42)*u16(44)}, {sections, sections + u16(46)*int64(len(f.Sections))}}
	}
	for _, x := range f.Sections {
		if x.Type != elf.SHT_NOBITS && x.Type != elf.SHT_NULL {
			size := uint64(b.Size())
			from := min(x.Offset, size)
			parts = append(parts, gap{int64(from), int64(from + min(x.FileSize, size-from))})
		}
	}
	gaps := gapsBetween(b.Size(), parts)
	out, err := gapsBlob(s, b, gaps)
	if err == nil && len(gaps) > 0 {
		if out.padded = b.Size(); gaps[len(gaps)-1].to == b.Size() {
			out.padded = gaps[len(gaps)-1].from
		}
	}
	return out, err
}

// part is a piece of a file whose place and length a stranger's header names.
func part(b Blob, at, n uint64) Blob {
	size := uint64(b.Size())
	at = min(at, size)
	return io.NewSectionReader(b, int64(at), int64(min(n, size-at)))
}

func sectionMember(s *session, b Blob, f *elf.File, x *elf.Section) member {
	unloaded := x.Addr // where nothing is loaded to
	if x.Flags&elf.SHF_ALLOC != 0 {
		unloaded = 0
	}
	m := member{name: clip(x.Name), fields: func() []field {
		return []field{
			{name: "type", value: x.Type.String(), cause: Unknown},
			{name: "flags", value: (x.Flags &^ elf.SHF_COMPRESSED).String(), cause: Unknown},
			{name: "packing", value: packing(x.Flags), cause: Compression},
			{name: "rest of the header", value: fmt.Sprintf("at 0x%x, aligned %d, entries of %d bytes, refers to %s and %s", unloaded, x.Addralign, x.Entsize, linked(f, x.Link, true), linked(f, x.Info, x.Type == elf.SHT_REL || x.Type == elf.SHT_RELA)), cause: Unknown},
			{name: "layout", value: fmt.Sprintf("0x%x at %d", x.Addr, x.Offset), cause: Unknown, derived: true},
			{name: "size", value: decimal(int64(x.Size)), cause: Unknown, derived: true},
		}
	}}
	// Notes are loaded and nothing refers to their place; symbols and relocations of a
	// program are loaded too, and refer to the rest.
	if x.Flags&elf.SHF_ALLOC != 0 && x.Type != elf.SHT_NOTE {
		m.layout = fmt.Sprintf("0x%x+%d", x.Addr, x.Size)
	}
	if x.Type == elf.SHT_NOBITS {
		return m
	}
	m.means, m.note = sectionMeans(m.name)
	m.table = linkerTable.MatchString(m.name)
	if of, ok := strings.CutPrefix(m.name, ".rela."); ok && m.layout == "" && !strings.HasPrefix(of, "debug_") {
		m.layout = "of " + of // it changes what is loaded once it is linked
	}
	raw := part(b, x.Offset, x.FileSize)
	m.open = func() (Blob, error) { return raw, nil }
	if x.Flags&elf.SHF_COMPRESSED != 0 || strings.HasPrefix(x.Name, ".zdebug_") {
		m.packed = raw
		m.open = func() (Blob, error) {
			content, err := s.spool(x.Open())
			if err != nil {
				return nil, err
			}
			if x.Flags&elf.SHF_COMPRESSED != 0 && uint64(content.Size()) != x.Size {
				closeBlob(content)
				return nil, fmt.Errorf("it unpacks to %d bytes, where its header says %d", content.Size(), x.Size)
			}
			return content, nil
		}
	}
	return m
}

// packing says how a section is stored: a compiler leaves one as it is that would not
// get shorter.
func packing(f elf.SectionFlag) string {
	if f&elf.SHF_COMPRESSED != 0 {
		return "compressed"
	}
	return "plain"
}

// linkerTable names the sections that compilers and linkers fill with references to
// the others.
var linkerTable = regexp.MustCompile(`^\.(?:rela?(?:\..*)?|symtab.*|strtab|shstrtab|dynsym|dynstr|dynamic|(?:pre)?init_array.*|fini_array.*|gnu\.hash|hash|gnu\.version.*|got.*|eh_frame.*|z?debug_.*)$`)

// sectionMeans says what the content of some sections is.
func sectionMeans(name string) (Cause, string) {
	switch name {
	case ".note.gnu.build-id":
		return BuildID, "the linker's digest over what it linked"
	case ".note.go.buildid":
		return BuildID, "Go's digests over the inputs and the output"
	case ".gnu_debuglink", ".gnu_debugaltlink":
		return BuildID, "names the file of debugging information by its checksum"
	}
	return "", ""
}

// goRecord is what the go command wrote into a program about its build.
func goRecord(s *session, b Blob) *member {
	info, err := buildinfo.Read(&meter{Blob: b, s: s, left: 2 * maxDirectoryBytes})
	if err != nil {
		return nil
	}
	fields := []field{
		{name: "Go version", value: clip(info.GoVersion), cause: Toolchain},
		{name: "main package", value: clip(info.Path)},
		{name: "main module", value: clip(info.Main.Path + " " + info.Main.Version)},
	}
	for _, d := range info.Deps {
		version := d.Version + " " + d.Sum
		if d.Replace != nil {
			version += " => " + d.Replace.Path + " " + d.Replace.Version + " " + d.Replace.Sum
		}
		fields = append(fields, field{name: "module " + Quote(clip(d.Path)), value: clip(version)})
	}
	for _, x := range info.Settings {
		f := field{name: "setting " + Quote(clip(x.Key)), value: clip(x.Value), otherwise: Toolchain}
		if x.Key == "vcs.time" {
			f.cause = Timestamp
		} else if strings.HasPrefix(x.Key, "vcs") {
			f.otherwise = "" // another source, for which nobody's machine is the cause
		}
		fields = append(fields, f)
	}
	return &member{name: "Go build record", made: true, fields: func() []field { return fields }}
}
