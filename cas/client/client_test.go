package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"gavel/cas"
)

// fake is a server that holds blobs in memory and misbehaves as told.
type fake struct {
	repb.UnimplementedContentAddressableStorageServer
	bspb.UnimplementedByteStreamServer

	mu    sync.Mutex
	blobs map[string][]byte // by hash; guarded by mu
	calls int               // guarded by mu
	down  int               // calls to refuse as Unavailable; guarded by mu
	cut   int               // bytes after which each stream breaks off; 0 is never
	sent  int64             // bytes of uploads taken; guarded by mu
	part  []byte            // of the upload under way; guarded by mu
	lie   func([]byte) []byte
}

var errDown = status.Error(codes.Unavailable, "restarting")

func (f *fake) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.down > 0 {
		f.down--
		return errDown
	}
	return nil
}

func (f *fake) content(hash string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[hash]
	if ok && f.lie != nil {
		b = f.lie(bytes.Clone(b))
	}
	return b, ok
}

func (f *fake) FindMissingBlobs(_ context.Context, q *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	a := &repb.FindMissingBlobsResponse{}
	for _, d := range q.BlobDigests {
		if _, ok := f.content(d.Hash); !ok {
			a.MissingBlobDigests = append(a.MissingBlobDigests, d)
		}
	}
	if f.lie != nil {
		a.MissingBlobDigests = append(a.MissingBlobDigests, cas.Of([]byte("unasked")).Proto())
	}
	return a, nil
}

func (f *fake) BatchReadBlobs(_ context.Context, q *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	a := &repb.BatchReadBlobsResponse{}
	for i, d := range q.Digests {
		r := &repb.BatchReadBlobsResponse_Response{Digest: d}
		if b, ok := f.content(d.Hash); !ok {
			r.Status = status.New(codes.NotFound, "none").Proto()
		} else if i%2 == 1 { // half of each batch later: others must not be asked for again
			r.Status = status.New(codes.Unavailable, "later").Proto()
		} else {
			r.Data = b
		}
		a.Responses = append(a.Responses, r)
	}
	return a, nil
}

func (f *fake) BatchUpdateBlobs(_ context.Context, q *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	a := &repb.BatchUpdateBlobsResponse{}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range q.Requests {
		s := status.New(codes.OK, "")
		if i > 0 && i%2 == 1 {
			s = status.New(codes.Unavailable, "later")
		} else {
			f.blobs[r.Digest.Hash] = r.Data
			f.sent += int64(len(r.Data))
		}
		a.Responses = append(a.Responses, &repb.BatchUpdateBlobsResponse_Response{Digest: r.Digest, Status: s.Proto()})
	}
	return a, nil
}

func (f *fake) Read(q *bspb.ReadRequest, s bspb.ByteStream_ReadServer) error {
	if err := f.enter(); err != nil {
		return err
	}
	name, err := cas.ParseReadName(q.ResourceName)
	if err != nil {
		return err
	}
	b, ok := f.content(name.Digest.Hash)
	if !ok {
		return status.Error(codes.NotFound, "none")
	}
	b = b[q.ReadOffset:]
	broken := f.cut > 0 && len(b) > f.cut
	if broken {
		b = b[:f.cut]
	}
	for len(b) > 0 {
		n := min(len(b), 50_000)
		if err := s.Send(&bspb.ReadResponse{Data: b[:n]}); err != nil {
			return err
		}
		b = b[n:]
	}
	if broken {
		return errDown
	}
	return nil
}

func (f *fake) Write(s bspb.ByteStream_WriteServer) error {
	if err := f.enter(); err != nil {
		return err
	}
	hash := ""
	taken := 0
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if m.ResourceName != "" {
			name, err := cas.ParseWriteName(m.ResourceName)
			if err != nil {
				return err
			}
			hash = name.Digest.Hash
		}
		f.mu.Lock()
		if m.WriteOffset != int64(len(f.part)) {
			f.mu.Unlock()
			return status.Errorf(codes.InvalidArgument, "offset %d, have %d", m.WriteOffset, len(f.part))
		}
		f.part = append(f.part, m.Data...)
		f.sent += int64(len(m.Data))
		size := int64(len(f.part))
		if m.FinishWrite {
			f.blobs[hash], f.part = f.part, nil
		}
		f.mu.Unlock()
		if m.FinishWrite {
			return s.SendAndClose(&bspb.WriteResponse{CommittedSize: size})
		}
		if taken += len(m.Data); f.cut > 0 && taken >= f.cut {
			return errDown
		}
	}
}

func (f *fake) QueryWriteStatus(context.Context, *bspb.QueryWriteStatusRequest) (*bspb.QueryWriteStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &bspb.QueryWriteStatusResponse{CommittedSize: int64(len(f.part))}, nil
}

func (f *fake) connect(t *testing.T) grpc.ClientConnInterface {
	t.Helper()
	f.blobs = map[string][]byte{}
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	repb.RegisterContentAddressableStorageServer(g, f)
	bspb.RegisterByteStreamServer(g, f)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		<-served
	})
	return conn
}

// atOnce repeats without waiting.
var atOnce = Options{Attempts: 5, Wait: func(ctx context.Context, _ int) error { return ctx.Err() }}

func newClient(t *testing.T, fs ...*fake) *Client {
	t.Helper()
	var conns []grpc.ClientConnInterface
	for _, f := range fs {
		conns = append(conns, f.connect(t))
	}
	c, err := New(conns, atOnce)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return b
}

func read(ctx context.Context, c *Client, d cas.Digest) ([]byte, error) {
	r, err := c.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func fetch(ctx context.Context, c *Client, d cas.Digest) (got []byte, err error) {
	err = c.Fetch(ctx, []cas.Digest{d}, func(_ cas.Digest, r io.Reader) (err error) { got, err = io.ReadAll(r); return err })
	return got, err
}

func TestServersThatLieAreFoundOut(t *testing.T) {
	for name, lie := range map[string]func([]byte) []byte{
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"short":   func(b []byte) []byte { return b[:len(b)-1] },
		"long":    func(b []byte) []byte { return append(b, 0) },
		"nothing": func([]byte) []byte { return nil },
		"other":   func(b []byte) []byte { return make([]byte, len(b)) },
	} {
		for _, n := range []int{10, streamBytes + 1} {
			f := &fake{lie: lie}
			c := newClient(t, f)
			content := randomBytes(n)
			d := cas.Of(content)
			f.blobs[d.Hash] = content
			for how, get := range map[string]func(context.Context, *Client, cas.Digest) ([]byte, error){"read": read, "fetched": fetch} {
				if got, err := get(t.Context(), c, d); !errors.Is(err, cas.ErrDigestMismatch) || len(got) >= n {
					t.Errorf("%s, %s: %d of %d bytes, %v", name, how, len(got), n, err)
				}
			}
			if f.calls != 2 {
				t.Errorf("%s: a lie was asked for again: %d calls", name, f.calls)
			}
			if _, err := c.Missing(t.Context(), []cas.Digest{d}); err == nil || !strings.Contains(err.Error(), "not asked for") {
				t.Errorf("%s: missing what was not asked for: %v", name, err)
			}
		}
	}
}

func TestRetriesAreBounded(t *testing.T) {
	content := randomBytes(100)
	d := cas.Of(content)
	for down := range 7 {
		f := &fake{down: down}
		c := newClient(t, f)
		_, err := c.Missing(t.Context(), []cas.Digest{d})
		switch {
		case down < 5 && (err != nil || f.calls != down+1):
			t.Errorf("down for %d calls: %d calls, %v", down, f.calls, err)
		case down >= 5 && (status.Code(err) != codes.Unavailable || f.calls != 5 || !strings.Contains(err.Error(), "5 attempts")):
			t.Errorf("down for %d calls: %d calls, %v", down, f.calls, err)
		}
	}
	f := &fake{}
	c := newClient(t, f)
	if _, err := read(t.Context(), c, d); !errors.Is(err, cas.ErrNotFound) || f.calls != 1 {
		t.Errorf("what is not there was asked for %d times: %v", f.calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Missing(ctx, []cas.Digest{d}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("a client of no server")
	}
}

func TestOtherServersAreTried(t *testing.T) {
	dead, alive := &fake{down: 1 << 30}, &fake{}
	c := newClient(t, dead, alive)
	content := randomBytes(100)
	for range 10 {
		if err := c.Put(t.Context(), cas.Of(content), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if dead.calls != 1 || alive.calls != 10 {
		t.Errorf("the dead server was asked %d times, the other %d", dead.calls, alive.calls)
	}
}

func TestPartialBatches(t *testing.T) {
	f := &fake{}
	c := newClient(t, f)
	var blobs []cas.Blob
	var ds []cas.Digest
	for i := range 9 {
		b := fmt.Appendf(nil, "blob %d", i)
		ds = append(ds, cas.Of(b))
		blobs = append(blobs, cas.Blob{Digest: ds[i], Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
	}
	if err := c.Upload(t.Context(), blobs, func(cas.Digest) {}); err != nil || len(f.blobs) != 9 || f.sent != 9*6 {
		t.Errorf("uploaded %d blobs in %d bytes, %v", len(f.blobs), f.sent, err)
	}
	n := 0
	if err := c.Fetch(t.Context(), ds, func(cas.Digest, io.Reader) error { n++; return nil }); err != nil || n != 9 {
		t.Errorf("fetched %d, %v", n, err)
	}
}

func TestBrokenStreamsContinue(t *testing.T) {
	f := &fake{cut: 700_000}
	c := newClient(t, f)
	content := randomBytes(2*streamBytes + 12345)
	d := cas.Of(content)
	if err := c.Put(t.Context(), d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if f.sent != d.Size {
		t.Errorf("%d bytes were sent of a blob of %d", f.sent, d.Size)
	}
	if got, err := read(t.Context(), c, d); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	// Content that cannot be read twice is not sent twice.
	f.blobs, f.part = map[string][]byte{}, nil
	err := c.Put(t.Context(), d, struct{ io.Reader }{bytes.NewReader(content)})
	if err == nil || !strings.Contains(err.Error(), "cannot be read again") {
		t.Errorf("from a plain reader: %v", err)
	}
}

func TestBatchesStayBelowTheMessageLimit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var ds []cas.Digest
	for range 20_000 {
		size := int64(1 + r.IntN(20))
		if r.IntN(500) == 0 {
			size = int64(r.IntN(3 << 20))
		}
		ds = append(ds, cas.Digest{Hash: cas.Empty.Hash, Size: size})
	}
	small, large := batches(ds, func(d cas.Digest) cas.Digest { return d })
	n := len(large)
	for _, b := range small {
		var cost int64
		for _, d := range b {
			cost += cas.BatchCost(d)
		}
		if cost > cas.MaxBatchBytes || len(b) == 0 {
			t.Errorf("batch of %d blobs, %d bytes", len(b), cost)
		}
		n += len(b)
	}
	if n != len(ds) {
		t.Errorf("%d of %d blobs", n, len(ds))
	}
}
