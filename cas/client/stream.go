package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"

	"gavel/cas"
)

// deliver verifies a blob and hands it to sink.
func deliver(p packed, sink func(cas.Digest, io.Reader) error) error {
	if got := cas.Of(p.data); got != p.digest {
		return cas.Mismatch(p.digest, "the server sent "+got.String())
	}
	return sink(p.digest, bytes.NewReader(p.data))
}

// download reads a blob from a stream, and from another when that breaks off.
type download struct {
	client *Client
	ctx    context.Context // of the whole read: a reader's calls carry none
	cancel context.CancelFunc
	digest cas.Digest
	stream bspb.ByteStream_ReadClient
	offset int64  // bytes received
	rest   []byte // received and not yet read
}

// openStream opens a verifying reader of d. It waits for the first bytes, so
// that a blob which is not there is an error of opening.
func (c *Client) openStream(ctx context.Context, d cas.Digest) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &download{client: c, ctx: ctx, cancel: cancel, digest: d}
	err := s.more()
	if err == io.EOF {
		// Not io.EOF, which a caller could take for the good end of a blob.
		err = cas.Mismatch(d, "it ends after 0 bytes")
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{cas.Verify(d, s), s}, nil
}

func (s *download) Close() error {
	s.cancel()
	return nil
}

func (s *download) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if err := s.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// more receives one message, from a new stream where need be; io.EOF ends the blob.
func (s *download) more() error {
	err := s.client.retry(s.ctx, func(conn grpc.ClientConnInterface) (err error) {
		if s.stream == nil {
			name := cas.Resource{Instance: s.client.options.Instance, Digest: s.digest}.String()
			s.stream, err = streams(conn).Read(s.ctx, &bspb.ReadRequest{ResourceName: name, ReadOffset: s.offset})
			if err != nil {
				s.stream = nil
				return err
			}
		}
		m, err := s.stream.Recv()
		if err == io.EOF {
			return errEnd
		}
		if err != nil {
			s.stream = nil
			return err
		}
		s.rest = m.Data
		s.offset += int64(len(m.Data))
		return nil
	})
	if errors.Is(err, errEnd) {
		return io.EOF
	}
	return err
}

// errEnd marks the end of a stream inside retry.
var errEnd = errors.New("end of stream")

// sendStream uploads one blob by stream. After a broken connection it asks how
// far it came and continues there.
func (c *Client) sendStream(ctx context.Context, b cas.Blob) error {
	name := cas.Resource{Instance: c.options.Instance, Upload: rand.Text(), Digest: b.Digest}.String()
	repeat := false
	err := c.retry(ctx, func(conn grpc.ClientConnInterface) error {
		var offset int64
		if repeat {
			a, err := streams(conn).QueryWriteStatus(ctx, &bspb.QueryWriteStatusRequest{ResourceName: name})
			if err != nil {
				return err
			}
			if a.Complete {
				return nil
			}
			if offset = a.CommittedSize; offset < 0 || offset > b.Digest.Size {
				return fmt.Errorf("the server claims %d bytes are committed", offset)
			}
		}
		repeat = true
		return c.sendFrom(ctx, conn, name, b, offset)
	})
	if err != nil {
		return fmt.Errorf("uploading blob %s: %w", b.Digest, err)
	}
	return nil
}

func (c *Client) sendFrom(ctx context.Context, conn grpc.ClientConnInterface, name string, b cas.Blob, offset int64) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	// Verified here too: sending what is not the blob would waste the way there.
	content := cas.Verify(b.Digest, r)
	if _, err := io.CopyN(io.Discard, content, offset); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := streams(conn).Write(ctx)
	if err != nil {
		return err
	}
	chunk := make([]byte, min(writeChunkBytes, b.Digest.Size))
	for first := true; first || offset < b.Digest.Size; first = false {
		part := chunk[:min(int64(len(chunk)), b.Digest.Size-offset)]
		if _, err := io.ReadFull(content, part); err != nil {
			return err
		}
		m := &bspb.WriteRequest{WriteOffset: offset, Data: part, FinishWrite: offset+int64(len(part)) == b.Digest.Size}
		if first {
			m.ResourceName = name
		}
		if err := stream.Send(m); err == io.EOF {
			break // the server has answered already: CloseAndRecv tells what
		} else if err != nil {
			return err
		}
		offset += int64(len(part))
	}
	a, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if a.CommittedSize != b.Digest.Size {
		return fmt.Errorf("the server committed %d of %d bytes", a.CommittedSize, b.Digest.Size)
	}
	return nil
}
