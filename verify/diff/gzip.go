package diff

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// packed is what formats with one content look like.
func packed(name string, fields []field, open func() (Blob, error)) *archive {
	return &archive{
		kind: "decompressed", unordered: true, fields: fields,
		members:    []member{{name: name, open: open}},
		equalMeans: Compression, equalNote: "what it decompresses to is equal: another level, tool or number of threads packed it",
	}
}

// eager decompresses at once, so that what does not decompress is known as that.
func (s *session) eager(r io.Reader) (func() (Blob, error), io.Closer, error) {
	content, err := s.spool(r)
	if err != nil {
		return nil, nil, err
	}
	return func() (Blob, error) { return struct{ Blob }{content}, nil }, content, nil
}

// readGzip reads a gzip (RFC 1952). Several members after each other, as pigz and
// bgzip write them, are one content; the first header speaks for all.
func readGzip(s *session, b Blob) (*archive, error) {
	head, err := s.slice(b, 0, 10)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bufio.NewReader(s.reader(b)))
	if err != nil {
		return nil, err
	}
	h := r.Header // of the first: reading on replaces it
	fields := []field{
		{name: "mtime in the gzip header", value: showGzipTime(h.ModTime), cause: Timestamp},
		{name: "name in the gzip header", value: clip(h.Name), note: "what the file was called that was compressed; gzip -n leaves it out"},
		{name: "comment in the gzip header", value: clip(h.Comment)},
		{name: "extra field in the gzip header", value: fmt.Sprintf("%x", clip(string(h.Extra))), cause: Unknown},
		{name: "level in the gzip header", value: gzipLevel(head[8]), cause: Compression},
		{name: "system in the gzip header", value: gzipSystem(h.OS), cause: Toolchain},
	}
	open, closer, err := s.eager(r)
	if err != nil {
		return nil, err
	}
	out := packed("content", fields, open)
	out.closers = append(out.closers, closer)
	return out, nil
}

func showGzipTime(t time.Time) string {
	if t.IsZero() {
		return "none" // 0 in the header
	}
	return showTime(t)
}

func gzipLevel(xfl byte) string {
	switch xfl {
	case 2:
		return "best"
	case 4:
		return "fastest"
	}
	return fmt.Sprintf("unspecified (%d)", xfl)
}

func gzipSystem(os byte) string {
	switch os {
	case 0:
		return "FAT"
	case 3:
		return "Unix"
	case 11:
		return "NTFS"
	case 255:
		return "unknown"
	}
	return decimal(int64(os))
}

func readBzip2(s *session, b Blob) (*archive, error) {
	open, closer, err := s.eager(bzip2.NewReader(bufio.NewReader(s.reader(b))))
	if err != nil {
		return nil, err
	}
	head, err := s.slice(b, 0, 4)
	if err != nil {
		return nil, err
	}
	out := packed("content", []field{{name: "level in the bzip2 header", value: string(head[3:]), cause: Compression}}, open)
	out.closers = append(out.closers, closer)
	return out, nil
}

func readZstd(s *session, b Blob) (*archive, error) {
	r, err := zstd.NewReader(s.reader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderMaxMemory(maxDecompressedBytes))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	open, closer, err := s.eager(r)
	if err != nil {
		return nil, err
	}
	out := packed("content", nil, open)
	out.closers = append(out.closers, closer)
	return out, nil
}
