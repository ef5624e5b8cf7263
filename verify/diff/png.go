package diff

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// readPNG lists a PNG's chunks: times and texts are in chunks of their own.
func readPNG(s *session, b Blob) (*archive, error) {
	out := &archive{kind: "PNG chunk"}
	for at := int64(8); at+12 <= b.Size(); {
		h, err := s.slice(b, at, 8)
		if err != nil {
			return nil, err
		}
		n := int64(binary.BigEndian.Uint32(h))
		if n > b.Size()-at-12 {
			out.broken = fmt.Sprintf("from byte %d on: a chunk is longer than the file", at)
			break
		}
		if err := s.take(1); err != nil {
			return nil, err
		}
		m, err := chunkMember(s, string(h[4:]), io.NewSectionReader(b, at+8, n))
		if err != nil {
			return nil, err
		}
		out.members = append(out.members, m)
		at += 12 + n
	}
	return out, nil
}

func chunkMember(s *session, name string, content *io.SectionReader) (member, error) {
	m := member{name: name}
	switch {
	case name == "tIME" && content.Size() == 7:
		v, err := s.slice(content, 0, 7)
		if err != nil {
			return m, err
		}
		m.means, m.note = Timestamp, "the time of last change"
		m.fields = func() []field {
			return []field{{name: "time of last change", cause: Timestamp,
				value: fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d", binary.BigEndian.Uint16(v), v[2], v[3], v[4], v[5], v[6])}}
		}
	case name == "tEXt" && content.Size() <= maxPairBytes:
		v, err := s.slice(content, 0, content.Size())
		if err != nil {
			return m, err
		}
		key, text, _ := strings.Cut(string(v), "\x00")
		m.fields = func() []field { return []field{{name: "text " + Quote(clip(key)), value: clip(text)}} }
	default:
		m.open = func() (Blob, error) { return content, nil }
	}
	return m, nil
}
