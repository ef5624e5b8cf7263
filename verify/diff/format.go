package diff

import "bytes"

// format is one that is looked into.
type format struct {
	name  string
	read  func(*session, Blob) (*archive, error)
	packs bool // it only compresses one content
}

var (
	formatGzip  = &format{"gzip", readGzip, true}
	formatXZ    = &format{"xz", readXZ, true}
	formatZstd  = &format{"zstd", readZstd, true}
	formatBzip2 = &format{"bzip2", readBzip2, true}
	formatZip   = &format{"zip", readZip, false}
	formatTar   = &format{"tar", readTar, false}
	formatAr    = &format{"ar", readAr, false}
	formatELF   = &format{"ELF", readELF, false}
	formatPyc   = &format{"Python bytecode", readPyc, false}
	formatPNG   = &format{"PNG", readPNG, false}
)

// magics are how files of a format begin; tar, bytecode and programs with a zip are
// told otherwise.
var magics = []struct {
	magic  string
	format *format
}{
	{"\x1f\x8b\x08", formatGzip},
	{"\xfd7zXZ\x00", formatXZ},
	{"\x28\xb5\x2f\xfd", formatZstd},
	{"BZh", formatBzip2},
	{"PK\x03\x04", formatZip},
	{"PK\x05\x06", formatZip}, // without a member
	{"!<arch>\n", formatAr},
	{"\x7fELF", formatELF},
	{"\x89PNG\r\n\x1a\n", formatPNG},
}

// detect names the format of a blob by its content, nil if it is none that is
// looked into.
func (s *session) detect(b Blob) (*format, error) {
	head, err := s.slice(b, 0, tarBlock)
	if err != nil {
		return nil, err
	}
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.format, nil
		}
	}
	switch {
	case isTar(head):
		return formatTar, nil
	case isPyc(head):
		return formatPyc, nil
	}
	// A zip is found from its end: a program may stand before it.
	end, err := s.slice(b, b.Size()-endBytes, endBytes)
	if err == nil && len(end) == endBytes && bytes.HasPrefix(end, []byte("PK\x05\x06")) {
		return formatZip, nil
	}
	return nil, err
}

func formatName(f *format) string {
	if f == nil {
		return "none that is known"
	}
	return f.name
}
