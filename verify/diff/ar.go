package diff

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

var errAr = errors.New("not a well-formed ar archive")

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// readAr lists an ar archive's members: of a static library, with GNU's and BSD's
// long names, or of a Debian package.
func readAr(s *session, b Blob) (*archive, error) {
	out := &archive{kind: "ar member"}
	var long string // GNU's table of names
	for at := int64(len(arMagic)); at < b.Size(); {
		h, err := s.slice(b, at, arHeader)
		if err != nil {
			return nil, err
		}
		if len(h) < arHeader || string(h[58:]) != "`\n" {
			return endAr(out, at)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		at += arHeader
		if err != nil || size < 0 || size > b.Size()-at {
			return endAr(out, at-arHeader)
		}
		if err := s.take(1); err != nil {
			return nil, err
		}
		name, content := strings.TrimRight(string(h[:16]), " "), io.NewSectionReader(b, at, size)
		at += size + size&1
		switch {
		case name == "//":
			table, err := s.readAll(content, maxNameBytes*1024)
			if err != nil {
				return nil, err
			}
			long = string(table)
		case strings.HasPrefix(name, "#1/"):
			name, content, err = bsdName(s, name, content)
			if err != nil {
				return nil, err
			}
		default:
			name = gnuName(name, long)
		}
		m := member{name: clip(name), fields: func() []field { return arFields(h) }, open: func() (Blob, error) { return content, nil }}
		if name == "/" || name == "/SYM64/" || strings.HasPrefix(name, "__.SYMDEF") {
			m.name, m.table = name+" (index of symbols)", true
		}
		out.members = append(out.members, m)
	}
	return out, nil
}

// endAr is what is known where the headers end in something else.
func endAr(out *archive, at int64) (*archive, error) {
	if len(out.members) == 0 {
		return nil, fmt.Errorf("%w: no header at byte %d", errAr, at)
	}
	out.broken = fmt.Sprintf("from byte %d on: there is no header", at)
	return out, nil
}

// gnuName resolves "/123", an offset into the table of long names; others end in "/".
func gnuName(name, long string) string {
	if rest, ok := strings.CutPrefix(name, "/"); ok && rest != "" {
		if at, err := strconv.Atoi(rest); err == nil && at >= 0 && at < len(long) {
			found, _, _ := strings.Cut(long[at:], "\n")
			return strings.TrimSuffix(found, "/")
		}
		return name
	}
	if name == "/" {
		return name
	}
	return strings.TrimSuffix(name, "/")
}

// bsdName resolves "#1/20": the name is the content's first 20 bytes.
func bsdName(s *session, name string, content *io.SectionReader) (string, *io.SectionReader, error) {
	n, err := strconv.ParseInt(name[3:], 10, 64)
	if err != nil || n < 0 || n > content.Size() || n > maxNameBytes {
		return name, content, nil
	}
	raw, err := s.slice(content, 0, n)
	if err != nil {
		return "", nil, err
	}
	return strings.TrimRight(string(raw), "\x00"), io.NewSectionReader(content, n, content.Size()-n), nil
}

func arFields(h []byte) []field {
	text := func(from, to int) string { return strings.TrimSpace(string(h[from:to])) }
	mtime := text(16, 28)
	if seconds, err := strconv.ParseInt(mtime, 10, 64); err == nil {
		mtime = showTime(time.Unix(seconds, 0))
	}
	mode, kind := text(40, 48), ""
	if bits, err := strconv.ParseUint(mode, 8, 32); err == nil {
		mode, kind = fmt.Sprintf("%04o", bits&0o7777), fmt.Sprintf("%03o", bits>>12)
	}
	return []field{
		{name: "mtime in the ar header", value: mtime, cause: Timestamp, seconds: true},
		{name: "uid in the ar header", value: text(28, 34), cause: Owner},
		{name: "gid in the ar header", value: text(34, 40), cause: Owner},
		{name: "mode in the ar header", value: mode, cause: Permission, mode: true},
		{name: "type of file in the ar header's mode", value: kind, cause: Toolchain},
	}
}
