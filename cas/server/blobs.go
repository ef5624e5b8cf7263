package server

import (
	"bytes"
	"context"
	"io"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
)

// FindMissingBlobs implements REAPI: missing is what the account cannot read.
func (s *Server) FindMissingBlobs(ctx context.Context, q *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	view, err := s.view(ctx, q.InstanceName)
	if err != nil {
		return nil, err
	}
	if err := checkFunction(q.DigestFunction); err != nil {
		return nil, err
	}
	if n := len(q.BlobDigests); n > cas.MaxMissingDigests {
		return nil, invalid("%d digests in one call, at most %d", n, cas.MaxMissingDigests)
	}
	ds := make([]cas.Digest, len(q.BlobDigests))
	for i, p := range q.BlobDigests {
		if ds[i], err = digest(p); err != nil {
			return nil, err
		}
	}
	missing, err := view.Missing(ctx, ds)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	a := &repb.FindMissingBlobsResponse{}
	for _, d := range missing {
		a.MissingBlobDigests = append(a.MissingBlobDigests, d.Proto())
	}
	return a, nil
}

// BatchUpdateBlobs implements REAPI: each blob succeeds or fails for itself.
func (s *Server) BatchUpdateBlobs(ctx context.Context, q *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	view, err := s.view(ctx, q.InstanceName)
	if err != nil {
		return nil, err
	}
	if err := checkFunction(q.DigestFunction); err != nil {
		return nil, err
	}
	var cost int64
	for _, r := range q.Requests {
		cost += int64(len(r.Data))
	}
	if cost > cas.MaxBatchBytes {
		return nil, invalid("batch of %d bytes, at most %d; use ByteStream", cost, cas.MaxBatchBytes)
	}
	answers := make([]*repb.BatchUpdateBlobsResponse_Response, len(q.Requests))
	indexes := make([]int, len(q.Requests))
	for i := range indexes {
		indexes[i] = i
	}
	err = cas.Parallel(ctx, batchWriters, indexes, func(ctx context.Context, i int) error {
		r := q.Requests[i]
		err := s.update(ctx, view, r)
		// Each index belongs to one call.
		answers[i] = &repb.BatchUpdateBlobsResponse_Response{Digest: r.Digest, Status: status.Convert(err).Proto()}
		return ctx.Err()
	})
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	return &repb.BatchUpdateBlobsResponse{Responses: answers}, nil
}

func (s *Server) update(ctx context.Context, to cas.Store, r *repb.BatchUpdateBlobsRequest_Request) error {
	d, err := digest(r.Digest)
	if err != nil {
		return err
	}
	if r.Compressor != repb.Compressor_IDENTITY {
		return invalid("compressor %v is not offered", r.Compressor)
	}
	return s.fail(ctx, to.Put(ctx, d, bytes.NewReader(r.Data)))
}

// BatchReadBlobs implements REAPI: each blob succeeds or fails for itself.
func (s *Server) BatchReadBlobs(ctx context.Context, q *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	view, err := s.view(ctx, q.InstanceName)
	if err != nil {
		return nil, err
	}
	if err := checkFunction(q.DigestFunction); err != nil {
		return nil, err
	}
	ds := make([]cas.Digest, len(q.Digests))
	var cost int64
	for i, p := range q.Digests {
		if ds[i], err = digest(p); err != nil {
			return nil, err
		}
		// Checked one by one: sizes are the caller's, and their sum could overflow.
		if cost += cas.BatchCost(ds[i]); ds[i].Size > cas.MaxBatchBytes || cost > cas.MaxBatchBytes {
			return nil, invalid("batch of more than %d bytes; use ByteStream", cas.MaxBatchBytes)
		}
	}
	a := &repb.BatchReadBlobsResponse{}
	for _, d := range ds {
		data, err := readAll(ctx, view, d)
		if ctx.Err() != nil {
			return nil, s.fail(ctx, ctx.Err())
		}
		a.Responses = append(a.Responses, &repb.BatchReadBlobsResponse_Response{
			Digest: d.Proto(), Data: data, Status: status.Convert(s.fail(ctx, err)).Proto(),
		})
	}
	return a, nil
}

// readAll reads a blob that is known to be small.
func readAll(ctx context.Context, from cas.Store, d cas.Digest) ([]byte, error) {
	r, err := from.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, d.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}

// isNotFound says whether a status of this package says so.
func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }
