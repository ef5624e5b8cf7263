package server

import (
	"context"
	"errors"
	"io"

	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
	"gavel/cas/scope"
)

// Write implements ByteStream. An interrupted upload can be continued for
// resumeWindow, at this server, under the same resource name.
func (s *Server) Write(stream bspb.ByteStream_WriteServer) error {
	ctx := stream.Context()
	account, err := s.caller(ctx)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	name, err := cas.ParseWriteName(first.ResourceName)
	if err != nil {
		return invalid("%v", err)
	}
	view := s.viewOf(account, name.Instance)
	held, err := has(ctx, view, name.Digest)
	if err != nil {
		return s.fail(ctx, err)
	}
	if held {
		// REAPI: the client learns at once that the rest need not be sent.
		return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: name.Digest.Size})
	}
	u, err := s.uploads.attach(uploadKey{account, name.Instance, name.Upload, name.Digest}, view)
	if err != nil {
		return s.fail(ctx, err)
	}
	complete, err := receive(u, first, stream)
	if err == nil && complete {
		err = u.complete()
	}
	if err != nil || complete {
		if interrupted(err) {
			s.uploads.park(u)
		} else {
			s.uploads.drop(u)
		}
		if err != nil {
			return s.fail(ctx, err)
		}
	} else {
		s.uploads.park(u)
	}
	return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: u.committed.Load()})
}

// interrupted says whether err is about the connection, not the content.
func interrupted(err error) bool {
	c := status.Code(err)
	return errors.Is(err, errInterrupted) || c == codes.OutOfRange
}

// errInterrupted is wrapped around what Recv reports.
var errInterrupted = errors.New("upload interrupted")

// receive feeds the stream into u until the client finishes the write (complete)
// or closes the stream before that.
func receive(u *upload, m *bspb.WriteRequest, stream bspb.ByteStream_WriteServer) (complete bool, err error) {
	name, offset := m.ResourceName, m.WriteOffset
	for {
		switch committed := u.committed.Load(); {
		case m.ResourceName != "" && m.ResourceName != name:
			return false, invalid("resource name changes within a stream")
		case m.WriteOffset != offset || offset < 0:
			return false, invalid("write offset %d where %d follows", m.WriteOffset, offset)
		case offset > committed:
			return false, status.Errorf(codes.OutOfRange, "write offset %d, but only %d bytes are committed: continue there", offset, committed)
		case offset+int64(len(m.Data)) > u.key.digest.Size:
			return false, invalid("more than the %d bytes of the digest", u.key.digest.Size)
		}
		if err := u.write(m.Data, offset); err != nil {
			return false, err
		}
		offset += int64(len(m.Data))
		if m.FinishWrite {
			if offset != u.key.digest.Size {
				return false, invalid("write finished after %d of %d bytes", offset, u.key.digest.Size)
			}
			return true, nil
		}
		if m, err = stream.Recv(); err == io.EOF {
			return false, nil
		} else if err != nil {
			return false, errors.Join(errInterrupted, err)
		}
	}
}

// QueryWriteStatus implements ByteStream. An upload this server knows nothing of
// has 0 bytes committed: that is true of it, and all that clients do with the
// NotFound that ByteStream suggests is to start over or, worse, to give up.
func (s *Server) QueryWriteStatus(ctx context.Context, q *bspb.QueryWriteStatusRequest) (*bspb.QueryWriteStatusResponse, error) {
	account, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	name, err := cas.ParseWriteName(q.ResourceName)
	if err != nil {
		return nil, invalid("%v", err)
	}
	view := s.viewOf(account, name.Instance)
	held, err := has(ctx, view, name.Digest)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	if held {
		return &bspb.QueryWriteStatusResponse{CommittedSize: name.Digest.Size, Complete: true}, nil
	}
	return &bspb.QueryWriteStatusResponse{CommittedSize: s.uploads.committed(uploadKey{account, name.Instance, name.Upload, name.Digest})}, nil
}

func has(ctx context.Context, view scope.View, d cas.Digest) (bool, error) {
	missing, err := view.Missing(ctx, []cas.Digest{d})
	return err == nil && len(missing) == 0, err
}
