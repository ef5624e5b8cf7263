package diff

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Bounds of the magic numbers of CPython 3.7 and later, by PEP 552: a number, CR, LF.
const (
	minPycMagic = 3390
	maxPycMagic = 3999
	pycHeader   = 16
)

func isPyc(head []byte) bool {
	if len(head) < pycHeader || head[2] != '\r' || head[3] != '\n' {
		return false
	}
	magic := binary.LittleEndian.Uint16(head)
	return magic >= minPycMagic && magic <= maxPycMagic && binary.LittleEndian.Uint32(head[4:]) <= 3
}

// readPyc reads a .pyc's header; the code after it is one member.
func readPyc(s *session, b Blob) (*archive, error) {
	h, err := s.slice(b, 0, pycHeader)
	if err != nil {
		return nil, err
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(h[at:]) }
	fields := []field{
		{name: "magic number of the Python version", value: decimal(int64(binary.LittleEndian.Uint16(h))), cause: Toolchain},
		{name: "kind of check in the header", value: decimal(int64(u32(4))), cause: Toolchain},
	}
	if u32(4) == 0 {
		fields = append(fields,
			field{name: "mtime of the source in the header", value: showTime(time.Unix(int64(u32(8)), 0)), cause: Timestamp},
			field{name: "size of the source in the header", value: decimal(int64(u32(12))), cause: Unknown})
	} else {
		fields = append(fields, field{name: "digest of the source in the header", value: fmt.Sprintf("%x", h[8:]), cause: Unknown})
	}
	code := io.NewSectionReader(b, pycHeader, b.Size()-pycHeader)
	return &archive{kind: "part", unordered: true, fields: fields, members: []member{{name: "code", open: func() (Blob, error) { return code, nil }}}}, nil
}
