package server

import (
	"io"

	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
)

// Read implements ByteStream. What is read from an offset is verified from the
// first byte on all the same.
func (s *Server) Read(q *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	ctx := stream.Context()
	account, err := s.caller(ctx)
	if err != nil {
		return err
	}
	name, err := cas.ParseReadName(q.ResourceName)
	if err != nil {
		return invalid("%v", err)
	}
	view := s.viewOf(account, name.Instance)
	size := name.Digest.Size
	switch {
	case q.ReadOffset < 0 || q.ReadLimit < 0:
		return invalid("read offset %d or limit %d is negative", q.ReadOffset, q.ReadLimit)
	case q.ReadOffset > size:
		return status.Errorf(codes.OutOfRange, "read offset %d is beyond the blob's %d bytes", q.ReadOffset, size)
	}
	r, err := view.Open(ctx, name.Digest)
	if err != nil {
		return s.fail(ctx, err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, q.ReadOffset); err != nil {
		return s.fail(ctx, err)
	}
	left := size - q.ReadOffset
	if q.ReadLimit > 0 {
		left = min(left, q.ReadLimit)
	}
	buffer := make([]byte, min(left, readChunkBytes))
	for left > 0 {
		chunk := buffer[:min(left, readChunkBytes)]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return s.fail(ctx, err)
		}
		// Send has serialised the chunk when it returns.
		if err := stream.Send(&bspb.ReadResponse{Data: chunk}); err != nil {
			return err
		}
		left -= int64(len(chunk))
	}
	return nil
}
