package diff_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"gavel/verify/diff"
)

// debugged is a file with debugging information (DWARF 5) that was compiled in a
// directory, as its sections by name; strings have the order given.
type debugged map[string][]byte

var le = binary.LittleEndian

// place is the offset of a string in a table.
func place(table []byte, s string) []byte {
	at := bytes.Index(append([]byte{0}, table...), []byte("\x00"+s+"\x00"))
	if at < 0 {
		panic("no string " + s)
	}
	return le.AppendUint32(nil, uint32(at))
}

// sized puts the length of a unit before it.
func sized(parts ...[]byte) []byte {
	unit := bytes.Join(parts, nil)
	return append(le.AppendUint32(nil, uint32(len(unit))), unit...)
}

func debuggedIn(dir string, names ...string) debugged {
	str := []byte(strings.Join(append(names, "GNU C17"), "\x00") + "\x00")
	lineStr := []byte(dir + "\x00main.c\x00" + dir + "/lib/list.h\x00")
	d := debugged{".debug_str": str, ".debug_line_str": lineStr}
	d[".debug_abbrev"] = []byte{
		1, 0x11, 1, 0x25, 0x0e, 0x03, 0x1f, 0x1b, 0x1f, 0x10, 0x17, 0, 0, // a unit: producer, name, directory, line table
		2, 0x2e, 0, 0x03, 0x0e, 0x3f, 0x19, 0x40, 0x18, 0, 0, // a function: name, external, frame
		0,
	}
	function := func(name string) []byte {
		return bytes.Join([][]byte{{2}, place(str, name), {1, 0x9c}}, nil)
	}
	d[".debug_info"] = sized([]byte{5, 0, 1, 8}, make([]byte, 4), []byte{1}, place(str, "GNU C17"), place(lineStr, "main.c"), place(lineStr, dir), make([]byte, 4),
		function("allow"), function("refuse"), []byte{0})
	head := bytes.Join([][]byte{{1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1},
		{1, 1, 0x1f, 1}, place(lineStr, dir), // directories
		{2, 1, 0x1f, 2, 0x0b, 2}, place(lineStr, "main.c"), {0}, place(lineStr, dir+"/lib/list.h"), {0}}, nil)
	d[".debug_line"] = sized([]byte{5, 0, 8, 0}, le.AppendUint32(nil, uint32(len(head))), head, []byte{0, 9, 2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0x14, 2, 4, 0, 1, 1})
	d[".debug_aranges"] = []byte("ranges")
	return d
}

// with is d with another content of a section.
func (d debugged) with(section string, change func([]byte) []byte) debugged {
	out := make(debugged)
	for name, content := range d {
		out[name] = content
	}
	out[section] = change(bytes.Clone(out[section]))
	return out
}

func (d debugged) file() []byte {
	var sections []section
	for name, content := range d {
		kind := uint32(1)
		switch {
		case name == ".symtab":
			kind = 2
		case strings.HasPrefix(name, ".rela"):
			kind = 4
		}
		sections = append(sections, section{name, kind, content})
	}
	slices.SortFunc(sections, func(a, b section) int { return strings.Compare(a.name, b.name) })
	return elfOf(sections...)
}

func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		out := bytes.Replace(b, []byte(old), []byte(new), 1)
		if bytes.Equal(out, b) {
			panic("no " + old)
		}
		return out
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at] ^= 1
		return b
	}
}

// Two builds in directories whose paths are not equally long were explained as "build
// path, and what is unknown", as every offset of a string is another one then.
func TestDebuggingInformationBesideALongerPath(t *testing.T) {
	a, b := debuggedIn("/build/x", "allow", "refuse"), debuggedIn("/build/longer/x", "allow", "refuse")
	for name, c := range map[string]struct {
		b     debugged
		known bool
	}{
		"nothing more":                       {b, true},
		"strings in another order":           {debuggedIn("/build/longer/x", "refuse", "allow"), true},
		"directories of other names":         {debuggedIn("/build/longer", "allow", "refuse"), true},
		"two strings change places":          {b.with(".debug_str", replace("allow\x00refuse\x00", "refuse\x00allow\x00")), false},
		"another string":                     {b.with(".debug_str", replace("refuse", "refute")), false},
		"another producer":                   {b.with(".debug_str", replace("C17", "C11")), false},
		"another file":                       {b.with(".debug_line_str", replace("main.c", "mean.c")), false},
		"another file below it":              {b.with(".debug_line_str", replace("list.h", "lisp.h")), false},
		"a file elsewhere":                   {b.with(".debug_line_str", replace("/build/longer/x/lib/", "/build/lodger/x/lib/")), false},
		"a string that nothing refers to":    {b.with(".debug_str", func(raw []byte) []byte { return append(raw, "more\x00"...) }), false},
		"an entry's tag":                     {b.with(".debug_abbrev", flip(14)), false},
		"an entry's code":                    {b.with(".debug_info", replace("\x01\x9c\x02", "\x01\x9c\x00")), false},
		"an entry's value":                   {b.with(".debug_info", replace("\x01\x9c", "\x01\x9d")), false},
		"a line's number":                    {b.with(".debug_line", replace("\x14\x02\x04", "\x15\x02\x04")), false},
		"a line table's end":                 {b.with(".debug_line", func(raw []byte) []byte { return raw[:len(raw)-1] }), false},
		"ranges":                             {b.with(".debug_aranges", flip(0)), false},
		"information on one side only":       {b.with(".debug_names", func([]byte) []byte { return []byte("names") }), false},
		"a line table at another place":      {b.with(".debug_info", flip(25)), false},
		"information that cannot be read":    {b.with(".debug_info", func(raw []byte) []byte { return raw[:len(raw)-5] }), false},
		"a unit of another, unknown version": {b.with(".debug_info", flip(5)), false},
	} {
		differOnlyInPath(t, name, string(a.file()), string(c.b.file()), c.known)
	}
}

// FuzzProgramTables fuzzes the readers of the tables of two programs that differ in
// the directory they were built in: one table is whatever the fuzzer makes of it.
func FuzzProgramTables(f *testing.F) {
	a, b := debuggedIn("/build/x", "allow", "refuse"), debuggedIn("/build/longer/x", "allow", "refuse")
	for _, d := range []debugged{a, b} {
		d[".symtab"] = append(make([]byte, 24), 1, 0, 0, 0, 0x12, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0)
		d[".strtab"] = []byte("\x00main\x00")
		d[".rela.debug_info"] = append(make([]byte, 12), 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0)
		d[".debug_str_offsets"] = sized([]byte{5, 0, 0, 0}, place(d[".debug_str"], "refuse"))
		d[".go.module"] = make([]byte, 32)
	}
	a[".gopclntab"], b[".gopclntab"] = goTableIn("/build/x"), goTableIn("/build/longer/x")
	var names []string
	for name := range a {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		f.Add(uint8(i), a[name], b[name])
	}
	f.Fuzz(func(t *testing.T, section uint8, x, y []byte) {
		name := names[int(section)%len(names)]
		p := a.with(name, func([]byte) []byte { return x }).file()
		q := b.with(name, func([]byte) []byte { return y }).file()
		d, err := diff.Files(context.Background(), "f", "f", blob(p), blob(q), diff.Options{MaxDecompressedBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if d == nil {
			t.Fatal("two directories, and no difference")
		}
		sound(t, d)
	})
}

// goTableIn is a Go program's table of functions with one file.
func goTableIn(dir string) []byte {
	names, units, programs, entries := []byte("main.main\x00"), []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, []byte{0, 2, 4, 0}, []byte("entries of functions")
	files := []byte(dir + "/main.go\x00")
	head := []byte{0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8}
	at := uint64(8 + 8*8)
	for _, v := range []uint64{1, 1, 0} {
		head = le.AppendUint64(head, v)
	}
	for _, part := range [][]byte{names, units, files, programs, entries} {
		head = le.AppendUint64(head, at)
		at += uint64(len(part))
	}
	return bytes.Join([][]byte{head, names, units, files, programs, entries}, nil)
}

// A Go program's table of functions names every file by its path.
func TestAGoTableBesideALongerPath(t *testing.T) {
	a, b := goTableIn("/build/x"), goTableIn("/build/longer/x")
	module := func(table []byte) []byte { // the length of the files' names, and the entries' place
		from, to, entries := le.Uint64(table[48:]), le.Uint64(table[56:]), le.Uint64(table[64:])
		return le.AppendUint64(le.AppendUint64(make([]byte, 8), to-from), entries)
	}
	if len(a) == len(b) {
		t.Fatal("the tables are equally long")
	}
	for name, c := range map[string]struct {
		b, module []byte
		known     bool
	}{
		"nothing more":        {b, module(b), true},
		"another function":    {replace("main.main", "main.mean")(bytes.Clone(b)), module(b), false},
		"another file":        {replace("main.go", "mean.go")(bytes.Clone(b)), module(b), false},
		"another line":        {replace("\x00\x02\x04\x00", "\x00\x02\x05\x00")(bytes.Clone(b)), module(b), false},
		"another entry":       {replace("entries", "entrees")(bytes.Clone(b)), module(b), false},
		"no end":              {b[:len(b)-1], module(b), false},
		"a file's end":        {replace("\xff\xff\xff\xff/build", "\xff\xff\xff\xfe/build")(bytes.Clone(b)), module(b), false},
		"an offset":           {forge(b, 56), module(b), false},
		"another count":       {forge(b, 8), module(b), false},
		"a length of another": {b, forge(module(b), 8), false},
		"a place of another":  {b, forge(module(b), 16), false},
		"another word":        {b, forge(module(b), 0), false},
	} {
		file := func(table, module []byte) string {
			return string(elfOf(section{".gopclntab", 1, table}, section{".go.module", 1, module}))
		}
		differOnlyInPath(t, name, file(a, module(a)), file(c.b, c.module), c.known)
	}
}

// differOnlyInPath wants two programs said to differ in nothing but a path, or not.
func differOnlyInPath(t *testing.T, name, a, b string, want bool) {
	t.Helper()
	r, err := compareDirs(t, plant(t, map[string]string{"f": a}), plant(t, map[string]string{"f": b}))
	if err != nil {
		t.Fatal(err)
	}
	if want != slices.Equal(r.Causes, []diff.Cause{diff.BuildPath}) {
		var text strings.Builder
		done(r.Text(&text))
		t.Errorf("%s: want no more than the path: %t; got\n%s", name, want, text.String())
	}
}
