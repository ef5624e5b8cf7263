package diff_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

var (
	jan2 = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)
	jan9 = time.Date(2026, 1, 9, 3, 4, 6, 0, time.UTC)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func done(err error) {
	if err != nil {
		panic(err)
	}
}

// item is one member of an archive to be made.
type item struct {
	name, content string
	change        func(*tar.Header)
}

func tarOf(items ...item) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, x := range items {
		h := &tar.Header{Name: x.name, Mode: 0o644, Size: int64(len(x.content)), ModTime: jan2, Typeflag: tar.TypeReg}
		if x.change != nil {
			x.change(h)
		}
		done(w.WriteHeader(h))
		must(w.Write([]byte(x.content)[:h.Size]))
	}
	done(w.Close())
	return out.Bytes()
}

func zipOf(mtime time.Time, names ...string) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, n := range names {
		f := must(w.CreateHeader(&zip.FileHeader{Name: n, Method: zip.Deflate, Modified: mtime}))
		must(fmt.Fprintf(f, "content of %s, the same every time", n))
	}
	done(w.Close())
	return out.Bytes()
}

func zipFile(name string, content []byte, change func(*zip.FileHeader)) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: jan2}
	if change != nil {
		change(h)
	}
	must(must(w.CreateHeader(h)).Write(content))
	done(w.Close())
	return out.Bytes()
}

func gzipOf(content []byte, level int, change func(*gzip.Header)) []byte {
	var out bytes.Buffer
	w := must(gzip.NewWriterLevel(&out, level))
	if change != nil {
		change(&w.Header)
	}
	must(w.Write(content))
	done(w.Close())
	return out.Bytes()
}

func xzOf(content []byte) []byte {
	var out bytes.Buffer
	w := must(xz.NewWriter(&out))
	must(w.Write(content))
	done(w.Close())
	return out.Bytes()
}

func zstdOf(content []byte, level zstd.EncoderLevel) []byte {
	w := must(zstd.NewWriter(nil, zstd.WithEncoderLevel(level)))
	defer w.Close()
	return w.EncodeAll(content, nil)
}

func arOf(mtime time.Time, mode string, name string, content []byte) []byte {
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, mtime.Unix(), 0, 0, mode, len(content))
	out.Write(content)
	if len(content)%2 == 1 {
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// section is one of an ELF file to be made.
type section struct {
	name string
	kind uint32 // sh_type
	data []byte
}

// elfOf makes an ELF64 relocatable file that debug/elf reads.
func elfOf(sections ...section) []byte {
	const headerBytes, entryBytes = 64, 64
	names := []byte{0}
	body := make([]byte, headerBytes)
	table := make([]byte, entryBytes) // the null section
	add := func(name string, kind uint32, data []byte) {
		entry := make([]byte, entryBytes)
		binary.LittleEndian.PutUint32(entry[0:], uint32(len(names)))
		binary.LittleEndian.PutUint32(entry[4:], kind)
		if slices.Contains([]string{".text", ".rodata", ".dynamic"}, name) {
			entry[8] = 2 // SHF_ALLOC
		}
		binary.LittleEndian.PutUint64(entry[24:], uint64(len(body)))
		binary.LittleEndian.PutUint64(entry[32:], uint64(len(data)))
		binary.LittleEndian.PutUint64(entry[48:], 1)
		table = append(table, entry...)
		names = append(append(names, name...), 0)
		body = append(body, data...)
	}
	for _, s := range sections {
		add(s.name, s.kind, s.data)
	}
	const label = ".shstrtab"
	add(label, 3, append(bytes.Clone(names), label+"\x00"...))
	copy(body, "\x7fELF\x02\x01\x01")
	for at, v := range map[int]uint16{16: 1, 18: 62, 52: headerBytes, 58: entryBytes, 60: uint16(len(sections) + 2), 62: uint16(len(sections) + 1)} {
		binary.LittleEndian.PutUint16(body[at:], v)
	}
	binary.LittleEndian.PutUint32(body[20:], 1)
	binary.LittleEndian.PutUint64(body[40:], uint64(len(body)))
	return append(body, table...)
}

// elfGap puts a byte behind the table of sections.
func elfGap(b byte) []byte { return append(elfOf(section{".text", 1, []byte("code")}), b) }

// elfPadding puts a byte between two sections: the first gets it, and is said to be
// shorter by as much.
func elfPadding(b byte) []byte {
	out := elfOf(section{".text", 1, append([]byte("code"), b)}, section{".data", 1, []byte("data")})
	table := binary.LittleEndian.Uint64(out[40:])
	binary.LittleEndian.PutUint64(out[table+64+32:], 4)
	return out
}

func pycOf(mtime time.Time, code string) []byte {
	h := make([]byte, 16)
	binary.LittleEndian.PutUint16(h, 3495)
	h[2], h[3] = '\r', '\n'
	binary.LittleEndian.PutUint32(h[8:], uint32(mtime.Unix()))
	binary.LittleEndian.PutUint32(h[12:], 100)
	return append(h, code...)
}

func chunk(name, content string) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	out = append(append(out, name...), content...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

func pngOf(chunks ...[]byte) []byte {
	return append([]byte("\x89PNG\r\n\x1a\n"), bytes.Join(chunks, nil)...)
}

// What bzip2 makes of two lines that differ in their date; the standard library
// only reads that.
var (
	bzip2A = unhex("425a6839314159265359134eae7900000bd980001040027f1030240600200021a83464da9a642869a6001b721d942291c18b8197286a7d55f177245385090134eae790")
	bzip2B = unhex("425a6839314159265359ce59548900000bd980001040027f3030240600200021a9a6434c43214d3231313115a43aeb6b00d8c80427848a9f557c5dc914e1424339655224")
)

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

func forge(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 0x01
	return out
}

func blob(b []byte) *bytes.Reader { return bytes.NewReader(b) }
