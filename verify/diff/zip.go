package diff

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// readZip lists a zip's members from its central directory, with what the local
// headers say besides.
func readZip(s *session, b Blob) (*archive, error) {
	metered := &meter{Blob: b, s: s, left: maxDirectoryBytes}
	r, err := zip.NewReader(metered, b.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // nothing is written, names are only shown
		return nil, err
	}
	metered.left = -1
	if err := s.take(len(r.File)); err != nil {
		return nil, err
	}
	out := &archive{kind: "zip member", fields: []field{{name: "comment of the zip", value: clip(r.Comment)}}}
	for _, f := range r.File {
		m := member{name: clip(f.Name), fields: func() []field { return append(zipFields(f), localFields(s, b, f)...) }}
		if !f.FileInfo().IsDir() {
			m.packed = zipPacked(b, f)
			m.open = func() (Blob, error) { return zipContent(s, f) }
		}
		out.members = append(out.members, m)
	}
	between, err := betweenMembers(s, b, r)
	if err != nil {
		return nil, err
	}
	out.members = append(out.members, member{name: "bytes between the members", made: true, open: func() (Blob, error) { return between, nil }})
	return out, nil
}

// zipPacked is a member's compressed bytes, nil where its header is wrong.
func zipPacked(b Blob, f *zip.File) Blob {
	at, err := f.DataOffset()
	if err != nil || at < 0 || at > b.Size() {
		return nil
	}
	return io.NewSectionReader(b, at, int64(min(f.CompressedSize64, uint64(b.Size()-at))))
}

func zipContent(s *session, f *zip.File) (Blob, error) {
	if f.Flags&1 != 0 {
		return nil, fmt.Errorf("%w: it is encrypted", errBound)
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return nil, fmt.Errorf("%w: compression method %d", errBound, f.Method)
	}
	if err != nil {
		return nil, err
	}
	content, err := s.spool(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return content, nil
}

func zipFields(f *zip.File) []field {
	mode := fmt.Sprintf("%04o", uint32(f.Mode().Perm()))
	kind := f.Mode().Type()
	return append([]field{
		{name: "type in the zip's directory", value: kind.String(), cause: Unknown},
		{name: "time in the zip's directory", value: dosTime(f), cause: Timestamp, seconds: true},
		{name: "mode in the zip's directory", value: mode, cause: Permission, mode: true},
		{name: "external attributes", value: fmt.Sprintf("%08x", f.ExternalAttrs&^(uint32(fs.ModePerm)<<16)), cause: Permission, derived: true},
		{name: "comment", value: clip(f.Comment)},
		{name: "compression method", value: decimal(int64(f.Method)), cause: Compression},
		{name: "version made by", value: fmt.Sprintf("%04x", f.CreatorVersion), cause: Toolchain, derived: true},
		{name: "version needed", value: decimal(int64(f.ReaderVersion)), cause: Toolchain, derived: true},
		{name: "flags", value: fmt.Sprintf("%04x", f.Flags), cause: Compression, derived: true},
	}, extraFields("the zip's directory", []byte(f.Extra))...)
}

// dosTime is the time as MS-DOS has it: local, of two seconds.
func dosTime(f *zip.File) string {
	// The stored value is wanted, not the library's guess at its zone.
	d, t := f.ModifiedDate, f.ModifiedTime
	return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d", 1980+int(d>>9), d>>5&15, d&31, t>>11, t>>5&63, t&31*2)
}

// localHeader is the header before a member's data, and where it begins. The
// directory's reader does not tell, but the data's place and the name's length do.
func localHeader(s *session, b Blob, f *zip.File) (h []byte, at int64) {
	const maxExtra = 1024
	data, err := f.DataOffset()
	if err != nil || len(f.Name) > maxNameBytes {
		return nil, 0
	}
	name := len(f.Name)
	start := max(0, data-int64(localBytes+name+maxExtra))
	raw, err := s.slice(b, start, data-start)
	if err != nil {
		return nil, 0
	}
	for extra := 0; extra <= maxExtra && len(raw) >= localBytes+name+extra; extra++ {
		h := raw[len(raw)-localBytes-name-extra:]
		if string(h[:4]) == "PK\x03\x04" && int(binary.LittleEndian.Uint16(h[26:])) == name && int(binary.LittleEndian.Uint16(h[28:])) == extra {
			return h, data - int64(len(h))
		}
	}
	return nil, 0
}

const localBytes = 30 // of a local header without name and extra fields

// localFields reads what only the local header has: Info-ZIP keeps access times there.
func localFields(s *session, b Blob, f *zip.File) []field {
	h, _ := localHeader(s, b, f)
	if h == nil {
		return nil
	}
	return append(extraFields("the local header", h[localBytes+len(f.Name):]),
		field{name: "time in the local header", value: fmt.Sprintf("%x", h[10:14]), cause: Timestamp, derived: true})
}

// betweenMembers is what lies before, between and after the members, up to the
// directory: a program that unpacks itself, or what somebody hid.
func betweenMembers(s *session, b Blob, r *zip.Reader) (*hidden, error) {
	var parts []gap
	for _, f := range r.File {
		data, err := f.DataOffset()
		if err != nil {
			continue
		}
		h, _ := localHeader(s, b, f)
		size := int64(min(f.CompressedSize64, uint64(b.Size())))
		parts = append(parts, gap{data - int64(len(h)), data + size + descriptorBytes(s, b, f, data+size)})
	}
	end := b.Size() - endBytes - int64(len(r.Comment))
	e, err := s.slice(b, end, endBytes)
	if err != nil {
		return nil, err
	}
	// An archive with sizes of 64 bits has further records here; its directory is not told apart.
	directory := int64(0)
	if len(e) == endBytes && string(e[:4]) == "PK\x05\x06" && binary.LittleEndian.Uint32(e[12:]) != 1<<32-1 {
		directory = max(0, end-int64(binary.LittleEndian.Uint32(e[12:])))
	}
	return gapsBlob(s, b, gapsBetween(b.Size(), append(parts, gap{directory, b.Size()})))
}

const endBytes = 22 // of the record that ends a zip, without its comment

// descriptorBytes is what follows the data of a member whose sizes were not known
// before it.
func descriptorBytes(s *session, b Blob, f *zip.File, at int64) int64 {
	if f.Flags&8 == 0 {
		return 0
	}
	size := int64(12)
	if f.UncompressedSize64 > 1<<32-1 || f.CompressedSize64 > 1<<32-1 {
		size = 20
	}
	if sign, err := s.slice(b, at, 4); err == nil && string(sign) == "PK\x07\x08" {
		size += 4
	}
	return size
}

// extraFields reads what Info-ZIP's appnote (extrafld.txt) defines.
func extraFields(where string, extra []byte) (out []field) {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			n = len(extra)
		}
		out = append(out, extraField(where, id, extra[:n])...)
		extra = extra[n:]
	}
	return out
}

func extraField(where string, id uint16, v []byte) (out []field) {
	seconds := func(name string, at int) {
		if len(v) >= at+4 {
			t := time.Unix(int64(int32(binary.LittleEndian.Uint32(v[at:]))), 0)
			out = append(out, field{name: name + " in " + where, value: showTime(t), cause: Timestamp, seconds: true})
		}
	}
	switch {
	case id == 0x5455 && len(v) > 0: // UT, extended timestamps: those of the flags, in order
		at := 1
		for i, name := range []string{"mtime", "atime", "ctime"} {
			if v[0]&(1<<i) != 0 {
				seconds(name, at)
				at += 4
			}
		}
	case id == 0x5855: // UX, of old Unix zips
		seconds("atime", 0)
		seconds("mtime", 4)
		if len(v) >= 12 {
			out = append(out, field{name: "uid and gid in " + where, value: fmt.Sprintf("%d:%d", binary.LittleEndian.Uint16(v[8:]), binary.LittleEndian.Uint16(v[10:])), cause: Owner})
		}
	case id == 0x7875: // ux, uid and gid of any length
		out = append(out, field{name: "uid and gid in " + where, value: unixOwner(v), cause: Owner})
	case id == 0x000a && len(v) >= 32: // NTFS: reserved, tag, size, then three times
		for i, name := range []string{"mtime", "atime", "ctime"} {
			ticks := binary.LittleEndian.Uint64(v[8+8*i:])
			t := time.Unix(int64(ticks/1e7)-11644473600, int64(ticks%1e7)*100) // since 1601
			out = append(out, field{name: "NTFS " + name + " in " + where, value: showTime(t), cause: Timestamp})
		}
	case id == 0x0001, id == 0xcafe: // zip64 sizes follow from the content; the jar's mark is empty
		out = append(out, field{name: fmt.Sprintf("extra field %04x in %s", id, where), value: fmt.Sprintf("%x", clip(string(v))), cause: Toolchain, derived: true})
	default:
		out = append(out, field{name: fmt.Sprintf("extra field %04x in %s", id, where), value: fmt.Sprintf("%x", clip(string(v))), cause: Unknown})
	}
	return out
}

// unixOwner reads a "ux" field: version, then each number with its length.
func unixOwner(v []byte) string {
	text := ""
	for at := 1; at < len(v); {
		n := int(v[at])
		at++
		if n > 8 || at+n > len(v) {
			break
		}
		var number uint64
		for i := n - 1; i >= 0; i-- {
			number = number<<8 | uint64(v[at+i])
		}
		if at += n; text != "" {
			text += ":"
		}
		text += fmt.Sprint(number)
	}
	if text == "" {
		return fmt.Sprintf("%x", v)
	}
	return text
}
