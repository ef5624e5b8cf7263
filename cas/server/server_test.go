package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"gavel/cas"
	"gavel/cas/client"
	"gavel/cas/disk"
	"gavel/cas/scope"
	"gavel/cas/tree"
)

// farm is a server over a disk store, and connections of accounts to it.
type farm struct {
	testing.TB
	listener *bufconn.Listener
	server   *Server
	log      *bytes.Buffer
	store    cas.Store
}

func newFarm(t testing.TB, wrap func(cas.Store) cas.Store) *farm {
	t.Helper()
	s, err := disk.Open(t.TempDir(), disk.Options{Cache: true})
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := scope.OpenAccounts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &farm{TB: t, listener: bufconn.Listen(1 << 20), log: &bytes.Buffer{}, store: s}
	if wrap != nil {
		f.store = wrap(s)
	}
	f.server = New(Config{Instance: Instance{Store: f.store, Access: accounts}, AccountFrom: accountOf, Log: slog.New(slog.NewTextHandler(f.log, nil))})
	g := grpc.NewServer()
	f.server.Register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(f.listener) }()
	t.Cleanup(func() {
		g.Stop()
		f.server.Close()
		if err := errors.Join(<-served, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// accountOf takes the first letter of the account metadata.
func accountOf(ctx context.Context) ([32]byte, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("account"); len(v) == 1 {
		return [32]byte{v[0][0]}, nil
	}
	return [32]byte{}, errors.New("who are you?")
}

// as connects as an account; "" names none.
func (f *farm) as(account string) *grpc.ClientConn {
	f.Helper()
	name := func(ctx context.Context) context.Context {
		if account == "" {
			return ctx
		}
		return metadata.AppendToOutgoingContext(ctx, "account", account)
	}
	conn, err := grpc.NewClient("passthrough:///farm", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return f.listener.Dial() }),
		grpc.WithUnaryInterceptor(func(ctx context.Context, m string, q, a any, c *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return call(name(ctx), m, q, a, c, o...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, m string, call grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			return call(name(ctx), d, c, m, o...)
		}))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	return conn
}

func (f *farm) client(account string) *client.Client {
	f.Helper()
	c, err := client.New([]grpc.ClientConnInterface{f.as(account)}, client.Options{Instance: "some/instance"})
	if err != nil {
		f.Fatal(err)
	}
	return c
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return b
}

func read(ctx context.Context, s cas.Store, d cas.Digest) ([]byte, error) {
	r, err := s.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

var sizes = []int{0, 1, 1000, readChunkBytes, readChunkBytes + 1, 1 << 20, 1<<20 + 1, 5<<20 + 3}

func TestPutAndOpenOverTheWire(t *testing.T) {
	f := newFarm(t, nil)
	a, b := f.client("a"), f.client("b")
	for _, n := range sizes {
		content := randomBytes(n)
		d := cas.Of(content)
		for range 2 {
			if err := a.Put(t.Context(), d, struct{ io.Reader }{bytes.NewReader(content)}); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
		if got, err := read(t.Context(), a, d); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: read %d, %v", n, len(got), err)
		}
		if n == 0 {
			continue
		}
		if missing, err := b.Missing(t.Context(), []cas.Digest{d}); err != nil || len(missing) != 1 {
			t.Errorf("%d bytes: b misses %v, %v", n, missing, err)
		}
		if err := a.Put(t.Context(), cas.Of(randomBytes(n+7)), bytes.NewReader(content)); !errors.Is(err, cas.ErrDigestMismatch) {
			t.Errorf("%d bytes: false digest: %v", n, err)
		}
	}
}

func TestUploadAndFetchInBulk(t *testing.T) {
	f := newFarm(t, nil)
	a := f.client("a")
	var blobs []cas.Blob
	want := map[cas.Digest][]byte{}
	for i := range 300 {
		content := append(randomBytes(i*i*3), byte(i), byte(i>>8))
		if i%100 == 0 {
			content = append(content, randomBytes(2<<20+i)...)
		}
		want[cas.Of(content)] = content
		blobs = append(blobs, cas.Blob{Digest: cas.Of(content), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(content)), nil
		}})
	}
	blobs = append(blobs, cas.Blob{Digest: cas.Empty, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }})
	want[cas.Empty] = nil
	done := 0
	if err := a.Upload(t.Context(), blobs, func(cas.Digest) { done++ }); err != nil || done != len(blobs) {
		t.Fatalf("uploaded %d of %d: %v", done, len(blobs), err)
	}
	var ds []cas.Digest
	for d := range want {
		ds = append(ds, d, d)
	}
	var mu sync.Mutex
	got := map[cas.Digest][]byte{}
	err := a.Fetch(t.Context(), ds, func(d cas.Digest, r io.Reader) error {
		b, err := io.ReadAll(r)
		mu.Lock()
		defer mu.Unlock()
		if _, twice := got[d]; twice {
			return fmt.Errorf("%s handed out twice", d)
		}
		got[d] = b
		return err
	})
	if err != nil || len(got) != len(want) {
		t.Fatalf("fetched %d of %d: %v", len(got), len(want), err)
	}
	for d, b := range want {
		if !bytes.Equal(got[d], b) {
			t.Errorf("%s: %d bytes", d, len(got[d]))
		}
	}
	// Of another account, however many there are.
	err = f.client("b").Fetch(t.Context(), ds, func(cas.Digest, io.Reader) error { return nil })
	if !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("b fetched a's blobs: %v", err)
	}
	stop := errors.New("sink is full")
	if err := a.Fetch(t.Context(), ds, func(cas.Digest, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("sink's error became %v", err)
	}
}

func TestTreeOverTheWire(t *testing.T) {
	f := newFarm(t, nil)
	a := f.client("a")
	es := []tree.Entry{{Path: "d/e", Type: tree.Dir}, {Path: "l", Type: tree.Symlink, Target: "d"}}
	_, lists, err := tree.Directories(es)
	if err != nil {
		t.Fatal(err)
	}
	for d, raw := range lists {
		if err := a.Put(t.Context(), d, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := tree.Download(t.Context(), a, es, dir, tree.Options{}); err != nil {
		t.Fatal(err)
	}
	root, _, err := tree.Upload(t.Context(), a, dir, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Load(t.Context(), a, root, tree.Limits{}); err != nil {
		t.Error(err)
	}
}

// What b can send about a's blob must be answered as for a blob that nobody has.
func TestNoAnswerTellsOfAnotherAccount(t *testing.T) {
	f := newFarm(t, nil)
	content := randomBytes(3 << 20)
	theirs, nobodys := cas.Of(content), cas.Of(randomBytes(3<<20+1))
	nobodys.Size = theirs.Size
	if err := f.client("a").Put(t.Context(), theirs, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	b := f.as("b")
	ask := func(d cas.Digest) string {
		store, stream := repb.NewContentAddressableStorageClient(b), bspb.NewByteStreamClient(b)
		var said []any
		missing, err := store.FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{BlobDigests: []*repb.Digest{d.Proto()}})
		said = append(said, len(missing.GetMissingBlobDigests()), err)
		batch, err := store.BatchReadBlobs(t.Context(), &repb.BatchReadBlobsRequest{Digests: []*repb.Digest{d.Proto()}})
		said = append(said, batch.GetResponses(), err)
		pages, err := store.GetTree(t.Context(), &repb.GetTreeRequest{RootDigest: d.Proto()})
		if err == nil {
			_, err = pages.Recv()
		}
		said = append(said, err)
		reader, err := stream.Read(t.Context(), &bspb.ReadRequest{ResourceName: "blobs/" + d.String()})
		if err == nil {
			_, err = reader.Recv()
		}
		said = append(said, err)
		query, err := stream.QueryWriteStatus(t.Context(), &bspb.QueryWriteStatusRequest{ResourceName: "uploads/u/blobs/" + d.String()})
		said = append(said, query.GetCommittedSize(), query.GetComplete(), err)
		return strings.ReplaceAll(fmt.Sprint(said...), d.Hash, "HASH")
	}
	if one, other := ask(theirs), ask(nobodys); one != other {
		t.Errorf("of a's blob:      %s\nof nobody's blob: %s", one, other)
	}
	// An upload of it is not cut short either: all bytes are demanded.
	w, err := bspb.NewByteStreamClient(b).Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Send(&bspb.WriteRequest{ResourceName: "uploads/u/blobs/" + theirs.String(), Data: content[:100]})
	if a, err := w.CloseAndRecv(); err != nil || a.CommittedSize != 100 {
		t.Errorf("100 bytes of a's blob: %v, %v", a, err)
	}
}

func TestWithoutAccount(t *testing.T) {
	f := newFarm(t, nil)
	store, stream := repb.NewContentAddressableStorageClient(f.as("")), bspb.NewByteStreamClient(f.as(""))
	_, e1 := store.FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{})
	_, e2 := store.BatchReadBlobs(t.Context(), &repb.BatchReadBlobsRequest{})
	_, e3 := store.BatchUpdateBlobs(t.Context(), &repb.BatchUpdateBlobsRequest{})
	tr, _ := store.GetTree(t.Context(), &repb.GetTreeRequest{})
	_, e4 := tr.Recv()
	rd, _ := stream.Read(t.Context(), &bspb.ReadRequest{})
	_, e5 := rd.Recv()
	wr, _ := stream.Write(t.Context())
	_, e6 := wr.CloseAndRecv()
	_, e7 := stream.QueryWriteStatus(t.Context(), &bspb.QueryWriteStatusRequest{})
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
		if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "who are you") {
			t.Errorf("call %d: %v", i+1, err)
		}
	}
}

func TestGetTree(t *testing.T) {
	f := newFarm(t, nil)
	a := f.client("a")
	put := func(d *repb.Directory) *repb.Digest {
		raw, err := proto.Marshal(d)
		if err == nil {
			err = a.Put(t.Context(), cas.Of(raw), bytes.NewReader(raw))
		}
		if err != nil {
			t.Fatal(err)
		}
		return cas.Of(raw).Proto()
	}
	leaf := func(i int) *repb.Directory {
		return &repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: fmt.Sprint("l", i), Target: "x"}}}
	}
	root := &repb.Directory{}
	for i := range 25 {
		d := put(leaf(i % 20)) // five appear twice
		root.Directories = append(root.Directories, &repb.DirectoryNode{Name: fmt.Sprintf("%02d", i), Digest: d})
	}
	root.Directories = append(root.Directories, &repb.DirectoryNode{Name: "zz", Digest: cas.Of([]byte("gone")).Proto()})
	q := &repb.GetTreeRequest{RootDigest: put(root), PageSize: 6}
	store := repb.NewContentAddressableStorageClient(f.as("a"))
	recv := func(token string) (all []*repb.Directory, tokens []string) {
		q.PageToken = token
		s, err := store.GetTree(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for {
			m, err := s.Recv()
			if err == io.EOF {
				return all, tokens
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Directories) > 6 {
				t.Errorf("page of %d", len(m.Directories))
			}
			all, tokens = append(all, m.Directories...), append(tokens, m.NextPageToken)
		}
	}
	all, tokens := recv("")
	if len(all) != 21 || !proto.Equal(all[0], root) || tokens[len(tokens)-1] != "" {
		t.Fatalf("%d directories, tokens %q; want the root and 20 distinct ones", len(all), tokens)
	}
	rest, _ := recv(tokens[1])
	if len(rest) != 9 || !proto.Equal(rest[0], all[12]) {
		t.Errorf("continued with %d directories", len(rest))
	}
	// Continuing at a continuation counts from the root, not from where it began.
	_, later := recv(tokens[0])
	if fmt.Sprint(later) != fmt.Sprint(tokens[1:]) {
		t.Errorf("tokens %q after %q", later, tokens)
	}
	q.PageToken = "-1"
	s, _ := store.GetTree(t.Context(), q)
	if _, err := s.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("token -1: %v", err)
	}
}

// failing is a store whose disk gave up; its errors name paths.
type failing struct{ cas.Store }

func (failing) Put(context.Context, cas.Digest, io.Reader) error {
	return errors.New("write /srv/farm/blobs/aa: input/output error")
}

func TestInternalErrorsAreLoggedNotTold(t *testing.T) {
	f := newFarm(t, func(s cas.Store) cas.Store { return failing{s} })
	for _, n := range []int{10, 3 << 20} {
		content := randomBytes(n)
		err := f.client("a").Put(t.Context(), cas.Of(content), bytes.NewReader(content))
		if err == nil || strings.Contains(err.Error(), "/srv") || !strings.Contains(err.Error(), "operator") {
			t.Errorf("%d bytes: the caller was told %v", n, err)
		}
	}
	if n := strings.Count(f.log.String(), "/srv/farm"); n != 2 {
		t.Errorf("logged %d times: %s", n, f.log)
	}
}
