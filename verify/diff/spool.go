package diff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Blob is bytes that can be read from anywhere. *bytes.Reader, *strings.Reader and
// *io.SectionReader are blobs.
type Blob interface {
	io.ReaderAt
	Size() int64
}

// errBound is wrapped where a limit ended a look inside.
var errBound = errors.New("limit reached")

// session is one comparison with what is left of its bounds. One goroutine owns it.
type session struct {
	ctx     context.Context
	opts    Options
	bytes   int64 // that may still be decompressed
	members int   // that may still be listed
	around  []int64
}

func newSession(ctx context.Context, o Options) *session {
	s := &session{ctx: ctx, opts: o, bytes: maxDecompressedBytes, members: maxMembers}
	if o.MaxDecompressedBytes > 0 {
		s.bytes = min(s.bytes, o.MaxDecompressedBytes)
	}
	for _, t := range o.Around {
		s.around = append(s.around, t.Unix())
	}
	return s
}

// take accounts for n more members.
func (s *session) take(n int) error {
	if s.members -= n; s.members < 0 {
		return fmt.Errorf("%w: more than %d members", errBound, maxMembers)
	}
	return s.ctx.Err()
}

// reader reads a blob from its start, and ends when the session does.
func (s *session) reader(b Blob) io.Reader {
	return &contextReader{s.ctx, io.NewSectionReader(b, 0, b.Size())}
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// spooled is content that was made while comparing, to be closed.
type spooled struct {
	Blob
	file *os.File
}

func (s *spooled) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// spool reads r to its end and accounts for it. The temporary file has no name
// from the start, so that a crash leaves nothing.
func (s *session) spool(r io.Reader) (*spooled, error) {
	limited := &io.LimitedReader{R: &contextReader{s.ctx, r}, N: s.bytes + 1}
	defer func() { s.bytes = max(0, limited.N-1) }() // what ends in an error was decompressed all the same
	var head bytes.Buffer
	_, err := io.CopyN(&head, limited, spoolMemoryBytes)
	out := &spooled{}
	switch {
	case err == io.EOF:
		out.Blob = bytes.NewReader(head.Bytes())
		err = nil
	case err != nil:
		return nil, err
	default:
		if out.file, err = os.CreateTemp("", "gavel-diff-*"); err != nil {
			return nil, fmt.Errorf("keeping decompressed content: %w", err)
		}
		if err = os.Remove(out.file.Name()); err == nil {
			var n int64
			n, err = io.Copy(out.file, io.MultiReader(bytes.NewReader(head.Bytes()), limited))
			out.Blob = io.NewSectionReader(out.file, 0, n)
		}
	}
	if err == nil && limited.N <= 0 {
		err = fmt.Errorf("%w: it decompresses to more than is left of %d bytes", errBound, maxDecompressedBytes)
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// readAll reads a blob of at most limit bytes whole.
func (s *session) readAll(b Blob, limit int64) ([]byte, error) {
	if b.Size() > limit {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", errBound, b.Size(), limit)
	}
	return s.slice(b, 0, b.Size())
}

// slice reads up to n bytes at offset; fewer where the blob ends.
func (s *session) slice(b Blob, offset, n int64) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if offset < 0 || offset >= b.Size() || n <= 0 {
		return nil, nil
	}
	out := make([]byte, min(n, b.Size()-offset))
	if _, err := io.ReadFull(io.NewSectionReader(b, offset, int64(len(out))), out); err != nil {
		return nil, fmt.Errorf("reading %d bytes at %d: %w", len(out), offset, err)
	}
	return out, nil
}
