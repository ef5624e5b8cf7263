package diff

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

const tarBlock = 512

// isTar tells a tar by its header's checksum, which old ones have too, or where
// that is damaged by its magic.
func isTar(head []byte) bool {
	if len(head) < tarBlock {
		return false
	}
	if string(head[257:262]) == "ustar" {
		return true
	}
	text := strings.Trim(string(head[148:156]), " \x00")
	want, err := strconv.ParseUint(text, 8, 32)
	if err != nil {
		return false
	}
	sum := uint64(8 * ' ')
	for i, c := range head[:tarBlock] {
		if i < 148 || i >= 156 {
			sum += uint64(c)
		}
	}
	return sum == want && head[0] != 0
}

// offsetReader counts what is read, and hides that it could seek, so that the count
// is the place.
type offsetReader struct {
	r  io.Reader
	at int64
}

func (o *offsetReader) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	o.at += int64(n)
	return n, err
}

// readTar lists a tar's members. Contents are parts of the tar itself.
func readTar(s *session, b Blob) (*archive, error) {
	place := &offsetReader{r: s.reader(b)}
	tr := tar.NewReader(place)
	out := &archive{kind: "tar member"}
	var hidden padding
	for {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return out, hidden.add(s, b, place.at, out)
		case s.ctx.Err() != nil:
			return nil, s.ctx.Err()
		case errors.Is(err, tar.ErrInsecurePath): // nothing is written, names are only shown
		case err != nil && len(out.members) == 0:
			return nil, err
		case err != nil:
			out.broken = fmt.Sprintf("after %s, at byte %d: %s", Quote(out.members[len(out.members)-1].name), place.at, Quote(err.Error()))
			return out, nil
		}
		if err := s.take(1); err != nil {
			return nil, err
		}
		records, kept := paxFields(h), lean(h)
		m := member{name: kept.Name, fields: func() []field { return append(tarFields(kept), records...) }}
		if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse {
			content, err := tarContent(s, b, tr, h, place.at)
			if err != nil {
				return nil, err
			}
			m.open = func() (Blob, error) { return content, nil }
			if c, ok := content.(io.Closer); ok {
				out.closers = append(out.closers, c)
				m.open = func() (Blob, error) { return struct{ Blob }{content}, nil }
			}
		}
		out.members = append(out.members, m)
		hidden.after(place.at, h)
	}
}

// lean is a header without its records, which may be long.
func lean(h *tar.Header) *tar.Header {
	return &tar.Header{
		Typeflag: h.Typeflag, Name: clip(h.Name), Linkname: clip(h.Linkname), Mode: h.Mode, Uid: h.Uid, Gid: h.Gid, Uname: clip(h.Uname), Gname: clip(h.Gname),
		ModTime: h.ModTime, AccessTime: h.AccessTime, ChangeTime: h.ChangeTime, Devmajor: h.Devmajor, Devminor: h.Devminor, Format: h.Format,
	}
}

// padding is where a tar has zeros between what its members hold.
type padding struct{ gaps []gap }

// after notes the padding of a member whose content begins at that place.
func (p *padding) after(at int64, h *tar.Header) {
	// A size near the largest number would wrap; such a member is cut off anyhow.
	if rest := h.Size % tarBlock; h.Typeflag == tar.TypeReg && rest != 0 && h.Size < 1<<60 {
		p.gaps = append(p.gaps, gap{at + h.Size, at + h.Size + tarBlock - rest})
	}
}

// add makes a member of what is hidden in the padding, and after the end.
func (p *padding) add(s *session, b Blob, end int64, out *archive) error {
	content, err := gapsBlob(s, b, append(p.gaps, gap{end, b.Size()}))
	if err != nil {
		return err
	}
	out.members = append(out.members, member{name: "padding", made: true, open: func() (Blob, error) { return content, nil },
		means: Forged, note: "bytes that no member holds, which tar writes as zeros and nobody reads"})
	return nil
}

// tarContent is where a member's bytes lie; only those of a sparse file, which the
// tar holds without its holes, are made.
func tarContent(s *session, b Blob, tr *tar.Reader, h *tar.Header, at int64) (Blob, error) {
	sparse := h.Typeflag == tar.TypeGNUSparse
	for k := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(k, "GNU.sparse.")
	}
	if sparse {
		return s.spool(tr)
	}
	return io.NewSectionReader(b, at, max(0, min(h.Size, b.Size()-at))), nil
}

func tarFields(h *tar.Header) []field {
	out := []field{
		{name: "type in the tar header", value: strconv.Quote(string(rune(h.Typeflag))), cause: Unknown},
		{name: linkTarget + " in the tar header", value: clip(h.Linkname)},
		{name: "mtime in the tar header", value: showTime(h.ModTime), cause: Timestamp, seconds: true},
		{name: "mode in the tar header", value: fmt.Sprintf("%04o", h.Mode), cause: Permission, mode: true},
		{name: "uid in the tar header", value: decimal(int64(h.Uid)), cause: Owner},
		{name: "gid in the tar header", value: decimal(int64(h.Gid)), cause: Owner},
		{name: "user in the tar header", value: clip(h.Uname), cause: Owner},
		{name: "group in the tar header", value: clip(h.Gname), cause: Owner},
		{name: "device in the tar header", value: fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor), cause: Unknown},
		{name: "form of the tar header", value: h.Format.String(), cause: Toolchain, derived: true},
	}
	if !h.AccessTime.IsZero() {
		out = append(out, field{name: "atime in the tar header", value: showTime(h.AccessTime), cause: Timestamp})
	}
	if !h.ChangeTime.IsZero() {
		out = append(out, field{name: "ctime in the tar header", value: showTime(h.ChangeTime), cause: Timestamp})
	}
	return out
}

// paxFields are a header's further records, which are kept for as long as the list of
// members: a few of bounded length.
func paxFields(h *tar.Header) (out []field) {
	keys := make([]string, 0, len(h.PAXRecords))
	for k := range h.PAXRecords {
		switch k {
		case "path", "linkpath", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "size":
			continue // fields already, or what a member is matched by
		}
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys[:min(len(keys), maxRecords)] {
		out = append(out, field{name: "pax record " + Quote(k), value: clip(h.PAXRecords[k])})
	}
	return out
}

// clip bounds a text taken from a header. What is cut off still counts, by its digest,
// and is not kept alive by what is left.
func clip(s string) string {
	if len(s) > maxNameBytes {
		return fmt.Sprintf("%s…%x", s[:maxNameBytes], sha256.Sum256([]byte(s)))
	}
	return strings.Clone(s)
}

// showTime prints a time of a header; those with no fraction, without.
func showTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if t.Unix() == 0 && t.Nanosecond() == 0 {
		return "1970-01-01 00:00:00 UTC (Unix time 0)"
	}
	return t.UTC().Format("2006-01-02 15:04:05.999999999 UTC")
}

// allZero tells whether there is nothing but padding.
func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
