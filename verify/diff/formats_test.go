package diff_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"gavel/verify/diff"
)

// explained is a pair of files, and what must be said of them.
type explained struct {
	name  string
	a, b  []byte
	chain string // of members below the file, joined by " > "
	cause diff.Cause
	says  []string // in the finding
}

func explain(t *testing.T, a, b []byte) *diff.Report {
	t.Helper()
	d, err := diff.Files(context.Background(), "f", "f", blob(a), blob(b), diff.Options{Around: []time.Time{jan9}})
	if err != nil {
		t.Fatal(err)
	}
	r := &diff.Report{A: "a", B: "b"}
	if d != nil {
		r.Differences = append(r.Differences, d)
	}
	return r
}

// has tells whether the report leads by the chain to a finding of the cause that
// says all of it.
func has(r *diff.Report, chain string, cause diff.Cause, says ...string) bool {
	for _, l := range r.Leaves() {
		if l.Finding == nil || l.Finding.Cause != cause {
			continue
		}
		var names []string
		for _, d := range l.Chain[1:] {
			names = append(names, d.Name)
		}
		text := l.Finding.String()
		if strings.Join(names, " > ") == chain && !slices.ContainsFunc(says, func(s string) bool { return !strings.Contains(text, s) }) {
			return true
		}
	}
	return false
}

func (c *explained) check(t *testing.T) {
	t.Helper()
	r := explain(t, c.a, c.b)
	if !has(r, c.chain, c.cause, c.says...) {
		var out strings.Builder
		if err := r.Text(&out); err != nil {
			t.Fatal(err)
		}
		t.Errorf("want %s at %q saying %q, got\n%s", c.cause, c.chain, c.says, out.String())
	}
}

func TestFormats(t *testing.T) {
	file := func(name, content string) item { return item{name: name, content: content} }
	changed := func(f func(*tar.Header)) []byte {
		return tarOf(file("a/first.txt", "one"), item{"a/b.txt", "two", f}, file("z", "three"))
	}
	base := changed(nil)
	late := changed(func(h *tar.Header) { h.ModTime = jan9 })
	elfA := elfOf(section{".text", 1, bytes.Repeat([]byte{0x90}, 64)}, section{".debug_str", 1, []byte("GNU C17\x00/build/one\x00main\x00")})
	elfB := elfOf(section{".text", 1, bytes.Repeat([]byte{0x90}, 64)}, section{".debug_str", 1, []byte("GNU C17\x00/home/somebody/two\x00main\x00")})
	for _, c := range []explained{
		{"tar mtime", base, late, "a/b.txt", diff.Timestamp, []string{"mtime in the tar header", "2026-01-02 03:04:06 UTC / 2026-01-09"}},
		{"tar uid", base, changed(func(h *tar.Header) { h.Uid = 1000 }), "a/b.txt", diff.Owner, []string{"uid", "0 / 1000"}},
		{"tar group", base, changed(func(h *tar.Header) { h.Gname = "staff" }), "a/b.txt", diff.Owner, []string{"group", "nothing / staff"}},
		{"tar umask", base, changed(func(h *tar.Header) { h.Mode = 0o664 }), "a/b.txt", diff.Permission, []string{"0644 / 0664", "umask"}},
		{"tar pax atime", changed(func(h *tar.Header) { h.Format, h.AccessTime = tar.FormatPAX, jan2 }),
			changed(func(h *tar.Header) { h.Format, h.AccessTime = tar.FormatPAX, jan9 }), "a/b.txt", diff.Timestamp, []string{"atime"}},
		{"tar gnu", changed(func(h *tar.Header) { h.Format, h.ModTime = tar.FormatGNU, jan9 }),
			changed(func(h *tar.Header) { h.Format = tar.FormatGNU }), "a/b.txt", diff.Timestamp, []string{"mtime"}},
		{"tar order", tarOf(file("b", "1"), file("a", "2")), tarOf(file("a", "2"), file("b", "1")), "", diff.Ordering, []string{"same names in another order"}},
		{"tar collation", tarOf(file("B", "1"), file("a", "2"), file("c", "3")), tarOf(file("a", "2"), file("B", "1"), file("c", "3")), "", diff.Locale, []string{"dictionary"}},
		{"tar member missing", tarOf(file("a", "1")), tarOf(file("a", "1"), file("b", "2")), "b", diff.Content, []string{"only the second side"}},
		{"tar padding", base, forge(base, 3*512+100), "padding", diff.Forged, []string{"byte 1636 of the file: nothing / 01", "1 byte changed", "zeros"}},
		{"tar forged in its end", base, forge(base, len(base)-1), "", diff.Forged, []string{"second side cannot be read after z"}},
		{"tar forged after its end", append(bytes.Clone(base), 0, 0), append(bytes.Clone(base), 0, 1), "padding", diff.Forged, nil},
		{"tar forged beside a time", base, forge(late, 3*512+100), "padding", diff.Forged, nil},
		{"tar forged in a header", base, forge(base, 2*512+500), "", diff.Forged, []string{"second side cannot be read after a/first.txt"}},
		{"ELF with something behind it", elfGap(0), elfGap(7), "bytes between the sections", diff.Unknown, []string{"byte 277 of the file: nothing / 07 (1 byte changed, on the second side only)"}},
		{"ELF with another byte behind it", elfGap(8), elfGap(7), "bytes between the sections", diff.Unknown, []string{"byte 277 of the file: 08 / 07 (1 byte changed)"}},
		{"ELF forged between sections", elfPadding(0), elfPadding(7), "bytes between the sections", diff.Forged, []string{"byte 68 of the file: nothing / 07", "1 byte changed", "padding"}},
		{"zip times", zipOf(jan2, "x", "y"), zipOf(jan9, "x", "y"), "y", diff.Timestamp, []string{"zip's directory", "2026-01-09 03:04:06"}},
		{"zip order", zipOf(jan2, "x", "y"), zipOf(jan2, "y", "x"), "", diff.Ordering, nil},
		{"zip umask", zipFile("x", []byte("c"), func(h *zip.FileHeader) { h.SetMode(0o644) }), zipFile("x", []byte("c"), func(h *zip.FileHeader) { h.SetMode(0o600) }), "x", diff.Permission, []string{"0644 / 0600", "umask that differs in 044"}},
		{"zip owner", zipFile("x", nil, func(h *zip.FileHeader) { h.Extra = []byte("ux\x0b\x00\x01\x04\x00\x00\x00\x00\x04\x00\x00\x00\x00") }),
			zipFile("x", nil, func(h *zip.FileHeader) { h.Extra = []byte("ux\x0b\x00\x01\x04\xe8\x03\x00\x00\x04\xe8\x03\x00\x00") }), "x", diff.Owner, []string{"0:0 / 1000:1000"}},
		{"zip level", zipFile("x", bytes.Repeat([]byte("ab"), 999), nil), zipFile("x", bytes.Repeat([]byte("ab"), 999), func(h *zip.FileHeader) { h.Method = zip.Store }), "x", diff.Compression, []string{"method"}},
		{"zip forged", zipFile("x", []byte("some content of a class"), nil), forge(zipFile("x", []byte("some content of a class"), nil), 45), "x", diff.Forged, []string{"second side"}},
		{"zip repacked by a byte", zipFile("x", []byte("some content of a class"), nil), forge(zipFile("x", []byte("some content of a class"), nil), 40), "", diff.Forged, []string{"one stored byte"}},
		{"xz forged", xzOf(base), forge(xzOf(base), len(xzOf(base))-40), "", diff.Forged, []string{"second side does not read as xz"}},
		{"zip with a program before it", append([]byte("#!/bin/sh one\n"), zipOf(jan2, "x")...), append([]byte("#!/bin/sh two\n"), zipOf(jan9, "x")...), "bytes between the members", diff.Unknown, []string{"#!/bin/sh one"}},
		{"gzip mtime", gzipOf([]byte("x"), 6, func(h *gzip.Header) { h.ModTime = jan2 }), gzipOf([]byte("x"), 6, func(h *gzip.Header) { h.ModTime = jan9 }), "", diff.Timestamp, []string{"mtime in the gzip header"}},
		{"gzip name", gzipOf([]byte("x"), 6, func(h *gzip.Header) { h.Name = "/build/a/x" }), gzipOf([]byte("x"), 6, func(h *gzip.Header) { h.Name = "/tmp/b/x" }), "", diff.BuildPath, []string{"name in the gzip header"}},
		{"gzip file name", gzipOf([]byte("x"), 6, func(h *gzip.Header) { h.Name = "za" }), gzipOf([]byte("x"), 6, func(h *gzip.Header) { h.Name = "zb" }), "", diff.Unknown, []string{"name in the gzip header: za / zb (what the file was called"}},
		{"gzip system", gzipOf([]byte("x"), 6, nil), gzipOf([]byte("x"), 6, func(h *gzip.Header) { h.OS = 3 }), "", diff.Toolchain, []string{"unknown / Unix"}},
		{"gzip level", gzipOf(elfA, 1, nil), gzipOf(elfA, 9, nil), "", diff.Compression, []string{"level"}},
		{"gzip of tar", gzipOf(base, 6, nil), gzipOf(late, 6, nil), "content > a/b.txt", diff.Timestamp, []string{"tar header"}},
		{"xz of tar", xzOf(base), xzOf(late), "content > a/b.txt", diff.Timestamp, []string{"tar header"}},
		{"zstd of tar", zstdOf(base, zstd.SpeedDefault), zstdOf(late, zstd.SpeedDefault), "content > a/b.txt", diff.Timestamp, []string{"tar header"}},
		{"gzip and xz", gzipOf(base, 6, nil), xzOf(base), "", diff.Compression, []string{"format: gzip / xz"}},
		{"zstd and xz of tar", zstdOf(base, zstd.SpeedDefault), xzOf(late), "content > a/b.txt", diff.Timestamp, []string{"tar header"}},
		{"zstd level", zstdOf(elfB, zstd.SpeedFastest), zstdOf(elfB, zstd.SpeedBestCompression), "", diff.Compression, []string{"decompresses to is equal"}},
		{"bzip2", bzip2A, bzip2B, "content", diff.Timestamp, []string{"2026-01-02 03:04:05 / "}},
		{"gzip forged", gzipOf(base, 6, nil), forge(gzipOf(base, 6, nil), 40), "", diff.Forged, []string{"second side does not read as gzip"}},
		{"ar mtime", arOf(jan2, "100644", "x.o/", nil), arOf(jan9, "100644", "x.o/", nil), "x.o", diff.Timestamp, []string{"ar header"}},
		{"ar mode", arOf(jan2, "100644", "x.o/", nil), arOf(jan2, "100664", "x.o/", nil), "x.o", diff.Permission, []string{"umask"}},
		{"deb", arOf(jan2, "100644", "data.tar.xz", xzOf(base)), arOf(jan2, "100644", "data.tar.xz", xzOf(late)), "data.tar.xz > content > a/b.txt", diff.Timestamp, nil},
		{"deb packed otherwise", arOf(jan2, "100644", "data.tar.xz", xzOf(base)), arOf(jan2, "100644", "data.tar.zst", zstdOf(base, zstd.SpeedDefault)), "data.tar.xz", diff.Compression, []string{"name: data.tar.xz / data.tar.zst"}},
		{"deb packed otherwise, with another time", arOf(jan2, "100644", "data.tar.xz", xzOf(base)), arOf(jan2, "100644", "data.tar.zst", zstdOf(late, zstd.SpeedDefault)), "data.tar.xz > content > a/b.txt", diff.Timestamp, nil},
		{"tar packed in name only", tarOf(file("x.gz", "one")), tarOf(file("x.xz", "one")), "x.gz", diff.Unknown, []string{"name: x.gz / x.xz"}},
		{"ar mode without a type", arOf(jan2, "644", "x.o/", nil), arOf(jan2, "100644", "x.o/", nil), "x.o", diff.Toolchain, []string{"000 / 010"}},
		{"ELF path", elfA, elfB, ".debug_str", diff.BuildPath, []string{"/build/one / /home/somebody/two"}},
		{"ELF in ar", arOf(jan2, "100644", "x.o/", elfA), arOf(jan2, "100644", "x.o/", elfB), "x.o > .debug_str", diff.BuildPath, nil},
		{"ELF build id", elfOf(section{".note.gnu.build-id", 7, bytes.Repeat([]byte{1}, 36)}), elfOf(section{".note.gnu.build-id", 7, bytes.Repeat([]byte{2}, 36)}), ".note.gnu.build-id", diff.BuildID, []string{"0101", "0202"}},
		{"ELF compiler", elfOf(section{".comment", 1, []byte("\x00GCC: (Debian 12.2.0-14) 12.2.0\x00")}), elfOf(section{".comment", 1, []byte("\x00GCC: (Debian 13.1.0-14) 13.1.0\x00")}), ".comment", diff.Toolchain, nil},
		{"ELF date", elfOf(section{".rodata", 1, []byte("\x01built \x00Jan  2 2026\x0003:04:05\x00")}), elfOf(section{".rodata", 1, []byte("\x01built \x00Jan  9 2026\x0003:04:07\x00")}), ".rodata", diff.Timestamp, []string{"Jan  2 2026 / "}},
		{"ELF forged", elfA, forge(elfA, 64+20), ".text", diff.Forged, []string{"byte 20", "0x90 / 0x91", "no known cause shows"}},
		{"pyc mtime", pycOf(jan2, "code"), pycOf(jan9, "code"), "", diff.Timestamp, []string{"mtime of the source", "2026-01-09"}},
		{"pyc path", pycOf(jan2, "\xe3\x00\x00\xda\x0c/build/one/x.py\x00\x01"), pycOf(jan2, "\xe3\x00\x00\xda\x0c/build/two/x.py\x00\x01"), "code", diff.BuildPath, nil},
		{"pyc set order", pycOf(jan2, ">\x03\x00\x00\x00\xda\x05alpha\xda\x04beta\xda\x05gamma\x01"), pycOf(jan2, ">\x03\x00\x00\x00\xda\x05gamma\xda\x04beta\xda\x05alpha\x01"), "code", diff.Ordering, []string{"same 3 strings"}},
		{"png time", pngOf(chunk("tIME", "\x07\xea\x01\x02\x03\x04\x05"), chunk("IEND", "")), pngOf(chunk("tIME", "\x07\xea\x01\x09\x03\x04\x05"), chunk("IEND", "")), "tIME", diff.Timestamp, []string{"2026-01-02 03:04:05 / 2026-01-09"}},
		{"png time missing", pngOf(chunk("IEND", "")), pngOf(chunk("tIME", "\x07\xea\x01\x09\x03\x04\x05"), chunk("IEND", "")), "tIME", diff.Timestamp, []string{"only the second side"}},
		{"tar link", changed(func(h *tar.Header) { h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, "x" }), changed(func(h *tar.Header) { h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, "/etc/passwd" }), "a/b.txt", diff.Unknown, []string{"x / /etc/passwd"}},
		{"tar link below", changed(func(h *tar.Header) { h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, "/build/a/good" }), changed(func(h *tar.Header) { h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, "/build/b/evil" }), "a/b.txt", diff.Unknown, []string{"/build/a/good / /build/b/evil"}},
		{"zip comment", zipFile("x", nil, nil), zipFile("x", nil, func(h *zip.FileHeader) { h.Comment = "of 2026-01-02" }), "x", diff.Unknown, []string{"nothing / of 2026-01-02"}},
		{"png text", pngOf(chunk("tEXt", "Software\x00made in /build/a"), chunk("IEND", "")), pngOf(chunk("tEXt", "Software\x00made in /home/b"), chunk("IEND", "")), "tEXt", diff.BuildPath, []string{"Software"}},
		{"unix time LE", append(pycOf(jan2, "")[8:12], 0xff, 0, 0, 1), append(pycOf(jan9, "")[8:12], 0xff, 0, 0, 1), "", diff.Timestamp, []string{"Unix time in 4 bytes"}},
		{"formats", zipOf(jan2), gzipOf(nil, 6, nil), "", diff.Unknown, nil},
	} {
		t.Run(c.name, c.check)
	}
}

func TestWhatIsNotLookedInto(t *testing.T) {
	nested := func(innermost string) []byte {
		out := []byte(innermost)
		for range 12 {
			out = gzipOf(out, 6, nil)
		}
		return out
	}
	bomb := func(last byte) []byte { return gzipOf(append(make([]byte, 1<<20), last), 9, nil) }
	// A block whose header asks for a dictionary of 4 GiB: its LZMA2 filter's byte is 40.
	greedy := func(content string) []byte {
		out := xzOf([]byte(content))
		at := bytes.Index(out, []byte{0x21, 0x01})
		out[at+2] = 40
		size := int(out[12]+1) * 4
		binary.LittleEndian.PutUint32(out[12+size-4:], crc32.ChecksumIEEE(out[12:12+size-4]))
		return out
	}
	whole := tarOf(item{name: "a", content: strings.Repeat("x", 4096)}, item{name: "b", content: "2"})
	for name, c := range map[string]struct {
		a, b []byte
		want string
	}{
		"depth":      {nested("one"), nested("two"), "at depth 8"},
		"bomb":       {bomb(1), bomb(2), "limit reached"},
		"truncated":  {whole[:1024], append(bytes.Clone(whole[:1000]), make([]byte, 24)...), "first side: not looked inside after a, at byte"},
		"dictionary": {greedy("one"), greedy("two"), "asks for a dictionary of 4294967295 bytes"},
		"lines":      {[]byte(strings.Repeat("a\n", 3000)), []byte(strings.Repeat("b\n", 3000)), "only the first 2000"},
		"encrypted":  {zipFile("x", []byte("a"), func(h *zip.FileHeader) { h.Flags |= 1 }), zipFile("x", []byte("b"), func(h *zip.FileHeader) { h.Flags |= 1 }), "encrypted"},
		"method":     {bytes.ReplaceAll(zipFile("x", []byte("aaa"), nil), []byte{8, 0, 8, 0}, []byte{8, 0, 99, 0}), zipFile("x", []byte("bbb"), nil), "x"},
	} {
		d, err := diff.Files(context.Background(), "f", "f", blob(c.a), blob(c.b), diff.Options{MaxDecompressedBytes: 1 << 19})
		if err != nil || d == nil {
			t.Errorf("%s: %v, %v", name, d, err)
			continue
		}
		var out strings.Builder
		done((&diff.Report{Differences: []*diff.Difference{d}}).Text(&out))
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: want %q in\n%s", name, c.want, out.String())
		}
	}
}
