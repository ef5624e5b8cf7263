package diff_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gavel/verify/diff"
)

// contents draws files of every format, often nested, often damaged.
func contents(depth int) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		inner := func() []byte {
			if depth == 0 {
				return rapid.SliceOfN(rapid.ByteRange('a', 'c'), 0, 40).Draw(t, "bytes")
			}
			return contents(depth-1).Draw(t, "inner")
		}
		name := rapid.SampledFrom([]string{"a", "b", "../c", "\x1b[2J"}).Draw(t, "name")
		mtime := rapid.SampledFrom([]time.Time{jan2, jan9}).Draw(t, "mtime")
		var out []byte
		switch rapid.IntRange(0, 9).Draw(t, "format") {
		case 0:
			out = tarOf(item{name, string(inner()), func(h *tar.Header) { h.ModTime = mtime }}, item{name: "a", content: string(inner())})
		case 1:
			out = zipFile(name, inner(), nil)
		case 2:
			out = gzipOf(inner(), rapid.IntRange(1, 9).Draw(t, "level"), nil)
		case 3:
			out = arOf(mtime, "100644", "x/", inner())
		case 4:
			out = elfOf(section{".text", 1, inner()}, section{".note.gnu.build-id", 7, inner()})
		case 5:
			out = pycOf(mtime, string(inner()))
		case 6:
			out = pngOf(chunk("tEXt", string(inner())), chunk("IDAT", string(inner())))
		case 7:
			out = xzOf(inner())
		case 8:
			out = zstdOf(inner(), 1)
		default:
			out = inner()
		}
		if len(out) > 0 && rapid.IntRange(0, 3).Draw(t, "damage") == 0 {
			out = forge(out, rapid.IntRange(0, len(out)-1).Draw(t, "at"))
		}
		return out
	})
}

// sound checks what holds of every difference: it ends in a finding or a note, and
// a named cause has its evidence.
func sound(t interface{ Fatalf(string, ...any) }, d *diff.Difference) {
	if len(d.Findings) == 0 && len(d.Members) == 0 && len(d.Notes) == 0 {
		t.Fatalf("nothing is said of %+v", d)
	}
	// A decoder's panic is an answer for a user, and a finding for whoever maintains this.
	if text := fmt.Sprint(d.Notes, d.Findings); strings.Contains(text, "decoder failed") {
		t.Fatalf("%s", text)
	}
	for _, f := range d.Findings {
		if f.Cause != diff.Unknown && f.A == f.B && f.Note == "" {
			t.Fatalf("no evidence for %+v", f)
		}
	}
	for _, m := range d.Members {
		sound(t, m)
	}
}

func TestADifferenceExactlyWhereBytesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := contents(2).Draw(t, "a")
		b := a
		switch rapid.IntRange(0, 2).Draw(t, "other") {
		case 0:
			b = contents(2).Draw(t, "b")
		case 1:
			if len(a) > 0 {
				b = forge(a, rapid.IntRange(0, len(a)-1).Draw(t, "forged"))
			}
		}
		d, err := diff.Files(context.Background(), "f", "f", blob(a), blob(b), diff.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if (d == nil) != bytes.Equal(a, b) {
			t.Fatalf("equal %t, difference %+v", bytes.Equal(a, b), d)
		}
		if d == nil {
			return
		}
		sound(t, d)
		var text, page strings.Builder
		r := &diff.Report{Differences: []*diff.Difference{d}}
		if err := r.Text(&text); err != nil {
			t.Fatal(err)
		}
		if err := r.HTML(&page); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(text.String()+page.String()+r.Sentence(), "\x1b\x00") {
			t.Fatalf("a stranger's control characters are printed: %q", text.String())
		}
	})
}

// Where two sides are equally long, the range is what a naive loop finds.
func TestRangeAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.ByteRange(0, 2), 1, 60)
		a, b := bytesOf.Draw(t, "a"), bytesOf.Draw(t, "b")
		d, err := diff.Files(context.Background(), "f", "f", blob(a), blob(b), diff.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(a, b) {
			if d != nil {
				t.Fatalf("%+v of equal bytes", d)
			}
			return
		}
		first, differing := 0, 0
		for first < len(a) && first < len(b) && a[first] == b[first] {
			first++
		}
		if d.Range.Offset != int64(first) {
			t.Fatalf("offset %d, want %d", d.Range.Offset, first)
		}
		endA, endB := first+int(d.Range.LengthA), first+int(d.Range.LengthB)
		if !bytes.Equal(a[endA:], b[endB:]) {
			t.Fatalf("%+v: what follows differs too", d.Range)
		}
		if len(a) == len(b) {
			for i := range a {
				if a[i] != b[i] {
					differing++
				}
			}
			if d.Range.Differing != int64(differing) {
				t.Fatalf("%d differ, want %d", d.Range.Differing, differing)
			}
		}
	})
}

// fuzzPair fuzzes a decoder: whatever two files of its format hold, there is an
// answer, and it is right about their equality.
func fuzzPair(f *testing.F, seeds ...[]byte) {
	for _, a := range seeds {
		f.Add(a, seeds[0])
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d, err := diff.Files(context.Background(), "f", "f", blob(a), blob(b), diff.Options{MaxDecompressedBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if (d == nil) != bytes.Equal(a, b) {
			t.Fatalf("equal %t, difference %+v", bytes.Equal(a, b), d)
		}
		if d != nil {
			sound(t, d)
		}
	})
}

func FuzzTar(f *testing.F) {
	fuzzPair(f, tarOf(item{name: "a", content: "x"}), tarOf(item{name: "a", content: "x", change: func(h *tar.Header) { h.Format, h.ModTime = tar.FormatPAX, jan9 }}))
}

func FuzzZip(f *testing.F) { fuzzPair(f, zipOf(jan2, "x", "y"), zipOf(jan9, "y", "x"), zipOf(jan2)) }

func FuzzCompressed(f *testing.F) {
	fuzzPair(f, gzipOf([]byte("x"), 6, nil), gzipOf([]byte("y"), 6, nil), xzOf([]byte("x")), xzOf([]byte("y")), zstdOf([]byte("x"), 1), zstdOf([]byte("yy"), 1), bzip2A, bzip2B)
}

func FuzzAr(f *testing.F) {
	fuzzPair(f, arOf(jan2, "100644", "x/", []byte("a")), arOf(jan9, "100644", "#1/4", []byte("nameb")), arOf(jan9, "100644", "//", []byte("long/\n")))
}

func FuzzELF(f *testing.F) {
	fuzzPair(f, elfOf(section{".text", 1, []byte("abcd")}), elfOf(section{".note.go.buildid", 7, []byte("abcd")}), elfOf(section{".zdebug_str", 1, []byte("ZLIBxxxxxxxx")}))
}

func FuzzPyc(f *testing.F) { fuzzPair(f, pycOf(jan2, "code"), pycOf(jan9, "edoc")) }

func FuzzPNG(f *testing.F) {
	fuzzPair(f, pngOf(chunk("tIME", "\x07\xea\x01\x02\x03\x04\x05"), chunk("IEND", "")), pngOf(chunk("tEXt", "a\x00b")))
}

func FuzzText(f *testing.F) {
	fuzzPair(f, []byte("at 2026-01-02\nin /build/a\n"), []byte("in /build/b\nat 2026-01-09\n"), []byte("root@host {a, b}\n"))
}
