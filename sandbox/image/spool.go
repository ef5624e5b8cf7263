package image

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"gavel/sandbox"
)

// spooled is a temporary file with uncompressed bytes.
type spooled struct {
	path   string
	digest digest.Digest
	size   int64
}

func (s spooled) layer() sandbox.Layer {
	return sandbox.Layer{DiffID: s.digest, Size: s.size, Open: func(context.Context) (io.ReadCloser, error) { return os.Open(s.path) }}
}

// maxWindowBytes is how far back zstd may refer: what its command line allows
// without a word. More would be memory at the input's will.
const maxWindowBytes = 128 << 20

// decompress returns the bytes that r holds, packed in a way that its first bytes tell.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch compressionOf(head) {
	case gzip1:
		return gzip.NewReader(b)
	case zstd1:
		d, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindowBytes), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// input is what is spooled; it remembers whether reading it failed, which is no
// fault of the image.
type input struct {
	ctx   context.Context
	inner io.Reader
	err   error
}

func (i *input) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		i.err = err
		return 0, err
	}
	n, err := i.inner.Read(p)
	if err != nil && err != io.EOF {
		i.err = err
	}
	return n, err
}

// spool decompresses from to a temporary file of at most that many bytes, and
// reads from to its end.
func (r *reader) spool(ctx context.Context, from io.Reader, most int64) (s spooled, err error) {
	in := &input{ctx: ctx, inner: from}
	defer func() {
		if in.err != nil {
			err = in.err
		}
	}()
	unpacked, err := decompress(in)
	if err != nil {
		return spooled{}, refuse("its compressed bytes are damaged: %v; make or fetch it again", err)
	}
	defer unpacked.Close()
	s, err = r.keep(func(w io.Writer) error {
		n, err := io.Copy(w, io.LimitReader(unpacked, most+1))
		var full *os.PathError
		switch {
		case errors.As(err, &full) && in.err == nil:
			return err // the temporary file's
		case err != nil:
			return refuse("its compressed bytes are damaged: %v; make or fetch it again", err)
		case n > most:
			return refuse("it has more than %d bytes when it is decompressed", most)
		}
		_, err = io.Copy(io.Discard, in)
		return err
	})
	return s, err
}

// keep makes a temporary file of what write writes.
func (r *reader) keep(write func(io.Writer) error) (s spooled, err error) {
	f, err := os.CreateTemp(r.source.temp, "layer-")
	if err != nil {
		return spooled{}, fmt.Errorf("making a temporary file: %w", err)
	}
	digester := digest.SHA256.Digester()
	counter := &counter{}
	err = write(io.MultiWriter(f, digester.Hash(), counter))
	if err := errors.Join(err, f.Close()); err != nil {
		return spooled{}, errors.Join(err, os.Remove(f.Name()))
	}
	return spooled{f.Name(), digester.Digest(), counter.bytes}, nil
}

type counter struct{ bytes int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}

// readFull fills p as far as r goes.
func readFull(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}
