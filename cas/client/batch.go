package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
)

// packed is a small blob in memory.
type packed struct {
	digest cas.Digest
	data   []byte
}

// batches divides items into groups that fit one call, and those that travel alone.
func batches[T any](items []T, digest func(T) cas.Digest) (small [][]T, large []T) {
	var batch []T
	var cost int64
	for _, item := range items {
		d := digest(item)
		if d.Size > streamBytes {
			large = append(large, item)
			continue
		}
		if cost+cas.BatchCost(d) > cas.MaxBatchBytes {
			small, batch, cost = append(small, batch), nil, 0
		}
		batch = append(batch, item)
		cost += cas.BatchCost(d)
	}
	if len(batch) > 0 {
		small = append(small, batch)
	}
	return small, large
}

// Upload implements cas.Uploader.
func (c *Client) Upload(ctx context.Context, blobs []cas.Blob, done func(cas.Digest)) error {
	var mu sync.Mutex
	report := func(d cas.Digest) {
		mu.Lock()
		defer mu.Unlock()
		done(d)
	}
	small, large := batches(blobs, func(b cas.Blob) cas.Digest { return b.Digest })
	var jobs []func(context.Context) error
	for _, b := range large { // first: a long one begun last would be waited for alone
		jobs = append(jobs, func(ctx context.Context) error {
			if err := c.sendStream(ctx, b); err != nil {
				return err
			}
			report(b.Digest)
			return nil
		})
	}
	for _, batch := range small {
		jobs = append(jobs, func(ctx context.Context) error { return c.uploadBatch(ctx, batch, report) })
	}
	return cas.Parallel(ctx, calls, jobs, func(ctx context.Context, do func(context.Context) error) error { return do(ctx) })
}

func (c *Client) uploadBatch(ctx context.Context, blobs []cas.Blob, report func(cas.Digest)) error {
	batch := make([]packed, 0, len(blobs))
	for _, b := range blobs {
		p := packed{b.Digest, make([]byte, b.Digest.Size)}
		r, err := b.Open()
		if err == nil {
			err = errors.Join(readAll(b.Digest, r, p.data), r.Close())
		}
		if err != nil {
			return fmt.Errorf("uploading blob %s: %w", b.Digest, err)
		}
		batch = append(batch, p)
	}
	if err := c.sendBatch(ctx, batch); err != nil {
		return err
	}
	for _, b := range blobs {
		report(b.Digest)
	}
	return nil
}

// sendBatch uploads blobs that fit one message. Those that the server could not
// take for the moment are sent again.
func (c *Client) sendBatch(ctx context.Context, batch []packed) error {
	left := make(map[cas.Digest][]byte, len(batch))
	for _, p := range batch {
		if p.digest != cas.Empty {
			left[p.digest] = p.data
		}
	}
	if len(left) == 0 {
		return nil
	}
	err := c.retry(ctx, func(conn grpc.ClientConnInterface) error {
		q := &repb.BatchUpdateBlobsRequest{InstanceName: c.options.Instance, DigestFunction: repb.DigestFunction_SHA256}
		for d, data := range left {
			q.Requests = append(q.Requests, &repb.BatchUpdateBlobsRequest_Request{Digest: d.Proto(), Data: data})
		}
		a, err := storage(conn).BatchUpdateBlobs(ctx, q)
		if err != nil {
			return err
		}
		var failed error
		for _, r := range a.Responses {
			d, err := cas.FromProto(r.Digest)
			if err != nil {
				return fmt.Errorf("the server answered for a blob without digest: %w", err)
			}
			if err := status.FromProto(r.Status).Err(); err == nil {
				delete(left, d)
			} else if failed == nil || !unavailable(err) { // for good beats for now
				failed = err
			}
		}
		if failed == nil && len(left) > 0 {
			return fmt.Errorf("the server did not say what became of %d blobs", len(left))
		}
		return failed
	})
	if err != nil {
		return fmt.Errorf("uploading %d small blobs: %w", len(batch), err)
	}
	return nil
}

// Fetch implements cas.Fetcher.
func (c *Client) Fetch(ctx context.Context, ds []cas.Digest, sink func(cas.Digest, io.Reader) error) error {
	ds = cas.Unique(ds)
	for _, d := range ds {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	small, large := batches(ds, func(d cas.Digest) cas.Digest { return d })
	var jobs []func(context.Context) error
	for _, d := range large {
		jobs = append(jobs, func(ctx context.Context) error {
			r, err := c.Open(ctx, d)
			if err != nil {
				return err
			}
			defer r.Close()
			return sink(d, r)
		})
	}
	for _, batch := range small {
		jobs = append(jobs, func(ctx context.Context) error { return c.fetchBatch(ctx, batch, sink) })
	}
	return cas.Parallel(ctx, calls, jobs, func(ctx context.Context, do func(context.Context) error) error { return do(ctx) })
}

func (c *Client) fetchBatch(ctx context.Context, ds []cas.Digest, sink func(cas.Digest, io.Reader) error) error {
	left := make(map[cas.Digest]bool, len(ds))
	for _, d := range ds {
		left[d] = true
	}
	if left[cas.Empty] {
		delete(left, cas.Empty)
		if err := deliver(packed{cas.Empty, nil}, sink); err != nil {
			return err
		}
	}
	for len(left) > 0 { // each round brings one blob at least
		got, err := c.readBatch(ctx, left)
		if err != nil {
			return err
		}
		for _, p := range got {
			if !left[p.digest] {
				return fmt.Errorf("reading blobs: the server sent %s, which was not asked for", p.digest)
			}
			delete(left, p.digest)
			if err := deliver(p, sink); err != nil {
				return err
			}
		}
	}
	return nil
}

// readBatch asks once for the blobs left and returns those that came.
func (c *Client) readBatch(ctx context.Context, left map[cas.Digest]bool) ([]packed, error) {
	q := &repb.BatchReadBlobsRequest{InstanceName: c.options.Instance, DigestFunction: repb.DigestFunction_SHA256}
	for d := range left {
		q.Digests = append(q.Digests, d.Proto())
	}
	var got []packed
	err := c.retry(ctx, func(conn grpc.ClientConnInterface) error {
		a, err := storage(conn).BatchReadBlobs(ctx, q)
		if err != nil {
			return err
		}
		got = nil
		var later error
		for _, r := range a.Responses {
			d, err := cas.FromProto(r.Digest)
			if err != nil {
				return fmt.Errorf("the server answered for a blob without digest: %w", err)
			}
			switch s := status.FromProto(r.Status); {
			case s.Code() == codes.OK:
				got = append(got, packed{d, r.Data})
			case s.Code() == codes.NotFound:
				return cas.NotFound(d)
			case unavailable(s.Err()):
				later = s.Err()
			default:
				return s.Err()
			}
		}
		if len(got) == 0 {
			if later == nil {
				return errors.New("the server answered for none of the blobs asked for")
			}
			return later
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %d small blobs: %w", len(left), err)
	}
	return got, nil
}
