package diff_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"gavel/verify/diff"
)

// program is one whose path has a place in its data, and offsets of it in its tables.
func program(path string, code, table byte) []byte {
	return elfOf(section{".text", 1, append(bytes.Repeat([]byte{0x90}, 63), code)}, section{".rodata", 1, []byte(path + "\x00")},
		section{".dynamic", 6, []byte{1, 2, 3, table}}, section{".symtab", 1, []byte{1, 2, 3, table}}, section{".rela.debug_info", 4, []byte{4, 5, table, 7}})
}

// moveSection gives the first section another address.
func moveSection(b []byte, address uint64) []byte {
	table := binary.LittleEndian.Uint64(b[40:])
	binary.LittleEndian.PutUint64(b[table+64+16:], address)
	return b
}

// Code that was altered under the cover of a path of another length dropped out of
// the summary, as code that moves has other addresses: what has no cause of its own is
// unknown, whatever it may follow from.
func TestCodeIsNeverHiddenAmongWhatFollows(t *testing.T) {
	for name, c := range map[string]struct {
		a, b   []byte
		causes []diff.Cause
		say    string
	}{
		"altered code beside a longer path": {program("/build/a/x.c", 1, 1), program("/build/longer/x.c", 2, 1), []diff.Cause{diff.Unknown, diff.BuildPath}, "build path, and what is unknown"},
		"a table of the loader beside it":   {program("/build/a/x.c", 1, 1), program("/build/b/x.c", 1, 2), []diff.Cause{diff.BuildPath, diff.Unknown}, "which does not show that all of it does"},
		"tables that nobody loads": {elfOf(section{".debug_str", 1, []byte("/build/a/x.c")}, section{".symtab", 2, []byte{1, 2}}, section{".rela.debug_info", 4, []byte{4, 5}}),
			elfOf(section{".debug_str", 1, []byte("/build/b/x.c")}, section{".symtab", 2, []byte{1, 3}}, section{".rela.debug_info", 4, []byte{4, 6}}), []diff.Cause{diff.BuildPath}, "may follow from the differences beside it\n"},
		"relocations of code": {elfOf(section{".debug_str", 1, []byte("/build/a/x.c")}, section{".rela.text", 4, []byte{1, 2}}),
			elfOf(section{".debug_str", 1, []byte("/build/b/x.c")}, section{".rela.text", 4, []byte{1, 3}}), []diff.Cause{diff.BuildPath, diff.Unknown}, ""},
		"a string beside the path":  {elfOf(section{".rodata", 1, []byte("/build/a/x.c\x00allow\x00")}), elfOf(section{".rodata", 1, []byte("/build/longer/x.c\x00refuse\x00")}), []diff.Cause{diff.BuildPath, diff.Unknown}, "it differs in more than that"},
		"another entry beside it":   {program("/build/a/x.c", 1, 1), forge(program("/build/b/x.c", 1, 1), 24), []diff.Cause{diff.Unknown, diff.BuildPath}, "entry of the ELF file"},
		"an address beside it":      {program("/build/a/x.c", 1, 1), moveSection(program("/build/b/x.c", 1, 1), 16), []diff.Cause{diff.Unknown, diff.BuildPath}, "address of .text"},
		"two bytes without a cause": {program("/build/a/x.c", 1, 1), program("/build/a/x.c", 2, 2), []diff.Cause{diff.Unknown}, "no cause is known"},
	} {
		r, err := compareDirs(t, plant(t, map[string]string{"f": string(c.a)}), plant(t, map[string]string{"f": string(c.b)}))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		done(r.Text(&text))
		if !slices.Equal(r.Causes, c.causes) || !strings.Contains(text.String(), c.say) {
			t.Errorf("%s: want %v, %q; got %v\n%s", name, c.causes, c.say, r.Causes, text.String())
		}
	}
}

// A byte is forged for nothing but its being alone; in a table, of a text, of digits
// or of a time it is not.
func TestOneByte(t *testing.T) {
	word := func(seconds int64) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte("MAGI\x00\x00\x00\x00"), uint32(seconds)), make([]byte, 40)...)
	}
	for name, c := range map[string]struct {
		a, b  []byte
		cause diff.Cause
	}{
		"code":                  {elfOf(section{".text", 1, []byte{0x90, 2, 3, 0xc3}}), elfOf(section{".text", 1, []byte{0x90, 2, 7, 0xc3}}), diff.Forged},
		"bytes":                 {[]byte("\x00\x01\x02"), []byte("\x00\x01\x03"), diff.Forged},
		"compressed":            {gzipOf([]byte("\x00\x01\x02"), 6, nil), gzipOf([]byte("\x00\x01\x03"), 6, nil), diff.Forged},
		"a digit of a date":     {elfOf(section{".text", 1, []byte("\xc3\xb8\xb8Jan 2")}), elfOf(section{".text", 1, []byte("\xc3\xb8\xb8Jan 3")}), diff.Unknown},
		"a digit in wide":       {[]byte("J\x00a\x00n\x002\x00"), []byte("J\x00a\x00n\x003\x00"), diff.Unknown},
		"a time of this year":   {word(jan2.Unix() - 200*24*3600), word(jan2.Unix() - 200*24*3600 + 1), diff.Unknown},
		"a text":                {[]byte("nthread=a"), []byte("nthread=b"), diff.Unknown},
		"a table of the linker": {elfOf(section{".init_array", 14, []byte{0x30, 0}}), elfOf(section{".init_array", 14, []byte{0x50, 0}}), diff.Unknown},
		"another beside it":     {tarOf(item{name: "x", content: "\x00\x01"}, item{name: "y", content: "\x00\x01"}), tarOf(item{name: "x", content: "\x00\x02"}, item{name: "y", content: "\x00\x02"}), diff.Unknown},
	} {
		l := explain(t, c.a, c.b).Leaves()
		if f := l[0].Finding; f == nil || f.Cause != c.cause {
			t.Errorf("%s: want %s, got %+v", name, c.cause, f)
		}
	}
}
