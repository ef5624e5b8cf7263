package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
)

// Options adjust a Client. Zero fields mean the defaults.
type Options struct {
	Instance string // REAPI instance name
	Attempts int    // of one call, the first included; DefaultAttempts
	// Wait pauses before attempt n (1 is the first repeat); the default doubles
	// from 50 ms to 3 s and ends with ctx.
	Wait func(ctx context.Context, n int) error
}

// Client talks to servers that share one store, preferring the one that
// answered last. It is safe for concurrent use.
type Client struct {
	conns   []grpc.ClientConnInterface
	options Options
	at      atomic.Uint32 // index of the connection to use, modulo len(conns)
}

var (
	_ cas.Store    = (*Client)(nil)
	_ cas.Uploader = (*Client)(nil)
	_ cas.Fetcher  = (*Client)(nil)
)

// New returns a client of the servers at conns, one at least, which stay the caller's to close.
func New(conns []grpc.ClientConnInterface, o Options) (*Client, error) {
	if len(conns) == 0 {
		return nil, errors.New("blob client needs at least one connection")
	}
	if o.Attempts == 0 {
		o.Attempts = DefaultAttempts
	}
	if o.Wait == nil {
		o.Wait = pause
	}
	return &Client{conns: conns, options: o}, nil
}

func pause(ctx context.Context, n int) error {
	t := time.NewTimer(min(firstWait<<min(n-1, 10), maxWait))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry calls do until it succeeds, fails for good, or attempts are used up;
// each repeat goes to the next server.
func (c *Client) retry(ctx context.Context, do func(grpc.ClientConnInterface) error) error {
	for n := 1; ; n++ {
		at := c.at.Load()
		err := do(c.conns[int(at)%len(c.conns)])
		if err == nil || ctx.Err() != nil || !unavailable(err) {
			return translate(err)
		}
		if n == c.options.Attempts {
			return fmt.Errorf("no server answered in %d attempts; check the address and that the farm is up: %w", n, err)
		}
		c.at.CompareAndSwap(at, at+1) // unless another call already moved on
		if err := c.options.Wait(ctx, n); err != nil {
			return err
		}
	}
}

// unavailable says whether another attempt may succeed. A server's Internal or
// a digest mismatch will not go away by repetition.
func unavailable(err error) bool {
	return status.Code(err) == codes.Unavailable
}

// translate gives a server's status its meaning here.
func translate(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.NotFound:
		return fmt.Errorf("%w: the server says %q", cas.ErrNotFound, status.Convert(err).Message())
	case codes.Canceled:
		return errors.Join(context.Canceled, err)
	case codes.DeadlineExceeded:
		return errors.Join(context.DeadlineExceeded, err)
	}
	return err
}

// Missing implements cas.Store and cas.Uploader.
func (c *Client) Missing(ctx context.Context, ds []cas.Digest) ([]cas.Digest, error) {
	var missing []cas.Digest
	ds = cas.Unique(ds)
	for len(ds) > 0 {
		part := ds[:min(len(ds), missingPerCall)]
		ds = ds[len(part):]
		q := &repb.FindMissingBlobsRequest{InstanceName: c.options.Instance, DigestFunction: repb.DigestFunction_SHA256}
		asked := make(map[cas.Digest]bool, len(part))
		for _, d := range part {
			q.BlobDigests = append(q.BlobDigests, d.Proto())
			asked[d] = true
		}
		var a *repb.FindMissingBlobsResponse
		err := c.retry(ctx, func(conn grpc.ClientConnInterface) (err error) {
			a, err = storage(conn).FindMissingBlobs(ctx, q)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("asking for missing blobs: %w", err)
		}
		gone := make(map[cas.Digest]bool, len(a.MissingBlobDigests))
		for _, p := range a.MissingBlobDigests {
			d, err := cas.FromProto(p)
			if err != nil || !asked[d] {
				return nil, fmt.Errorf("asking for missing blobs: the server named %q, which was not asked for", p.GetHash())
			}
			gone[d] = true
		}
		for _, d := range part {
			if gone[d] {
				missing = append(missing, d)
			}
		}
	}
	return missing, nil
}

// Open implements cas.Store.
func (c *Client) Open(ctx context.Context, d cas.Digest) (io.ReadCloser, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if d == cas.Empty {
		return io.NopCloser(strings.NewReader("")), nil
	}
	r, err := c.openStream(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", d, err)
	}
	return r, nil
}

// Put implements cas.Store. A large blob is sent once only, unless r can seek:
// then an interrupted upload continues.
func (c *Client) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if d.Size <= streamBytes {
		b := make([]byte, d.Size)
		if err := readAll(d, r, b); err != nil || d == cas.Empty {
			return err
		}
		return c.sendBatch(ctx, []packed{{d, b}})
	}
	used := false
	return c.sendStream(ctx, cas.Blob{Digest: d, Open: func() (io.ReadCloser, error) {
		if seeker, ok := r.(io.Seeker); ok {
			if _, err := seeker.Seek(0, io.SeekStart); err != nil {
				return nil, err
			}
		} else if used {
			return nil, errors.New("the connection was lost and the content cannot be read again; try again")
		}
		used = true
		return io.NopCloser(r), nil
	}})
}

// readAll fills b, of d.Size bytes, from r and verifies it, its end included.
func readAll(d cas.Digest, r io.Reader, b []byte) error {
	v := cas.Verify(d, r)
	if len(b) == 0 {
		if _, err := v.Read(nil); err != io.EOF {
			return err
		}
		return nil
	}
	_, err := io.ReadFull(v, b)
	return err
}

func storage(conn grpc.ClientConnInterface) repb.ContentAddressableStorageClient {
	return repb.NewContentAddressableStorageClient(conn)
}

func streams(conn grpc.ClientConnInterface) bspb.ByteStreamClient {
	return bspb.NewByteStreamClient(conn)
}
