package server

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
)

func TestBadRequests(t *testing.T) {
	f := newFarm(t, nil)
	conn := f.as("a")
	store, stream := repb.NewContentAddressableStorageClient(conn), bspb.NewByteStreamClient(conn)
	content := randomBytes(1000)
	d := cas.Of(content)
	if err := f.client("a").Put(t.Context(), d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	readWith := func(q *bspb.ReadRequest) func() error {
		return func() error {
			s, err := stream.Read(t.Context(), q)
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}
	}
	write := func(ms ...*bspb.WriteRequest) func() error {
		return func() error {
			s, err := stream.Write(t.Context())
			if err != nil {
				return err
			}
			for _, m := range ms {
				if err := s.Send(m); err != nil {
					break
				}
			}
			_, err = s.CloseAndRecv()
			return err
		}
	}
	name := "uploads/u/blobs/" + cas.Of([]byte("hello")).String()
	big := &repb.Digest{Hash: d.Hash, SizeBytes: 5 << 20}
	for what, c := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"missing: other function": {func() error {
			_, err := store.FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{DigestFunction: repb.DigestFunction_BLAKE3})
			return err
		}, codes.InvalidArgument},
		"missing: bad digest": {func() error {
			_, err := store.FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{BlobDigests: []*repb.Digest{{Hash: "../x"}}})
			return err
		}, codes.InvalidArgument},
		"batch read: too much": {func() error {
			_, err := store.BatchReadBlobs(t.Context(), &repb.BatchReadBlobsRequest{Digests: []*repb.Digest{big}})
			return err
		}, codes.InvalidArgument},
		"batch read: sum overflows": {func() error {
			huge := &repb.Digest{Hash: d.Hash, SizeBytes: 1<<63 - 1}
			_, err := store.BatchReadBlobs(t.Context(), &repb.BatchReadBlobsRequest{Digests: []*repb.Digest{huge, huge, big}})
			return err
		}, codes.InvalidArgument},
		"tree: of a file": {func() error {
			s, err := store.GetTree(t.Context(), &repb.GetTreeRequest{RootDigest: d.Proto()})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}, codes.InvalidArgument},
		"read: bad name":        {readWith(&bspb.ReadRequest{ResourceName: "blobs/x/1"}), codes.InvalidArgument},
		"read: before start":    {readWith(&bspb.ReadRequest{ResourceName: "blobs/" + d.String(), ReadOffset: -1}), codes.InvalidArgument},
		"read: beyond end":      {readWith(&bspb.ReadRequest{ResourceName: "blobs/" + d.String(), ReadOffset: 1001}), codes.OutOfRange},
		"read: nothing there":   {readWith(&bspb.ReadRequest{ResourceName: "blobs/" + cas.Of([]byte("none")).String()}), codes.NotFound},
		"write: bad name":       {write(&bspb.WriteRequest{ResourceName: "blobs/" + d.String()}), codes.InvalidArgument},
		"write: beyond end":     {write(&bspb.WriteRequest{ResourceName: name, WriteOffset: 3, Data: []byte("lo"), FinishWrite: true}), codes.OutOfRange},
		"write: too early done": {write(&bspb.WriteRequest{ResourceName: name, Data: []byte("hel"), FinishWrite: true}), codes.InvalidArgument},
		"write: too much":       {write(&bspb.WriteRequest{ResourceName: name, Data: []byte("hello!")}), codes.InvalidArgument},
		"write: negative":       {write(&bspb.WriteRequest{ResourceName: name, WriteOffset: -1, Data: []byte("hello")}), codes.InvalidArgument},
		"write: gap":            {write(&bspb.WriteRequest{ResourceName: name, Data: []byte("he")}, &bspb.WriteRequest{WriteOffset: 3, Data: []byte("lo")}), codes.InvalidArgument},
		"write: other name":     {write(&bspb.WriteRequest{ResourceName: name, Data: []byte("he")}, &bspb.WriteRequest{ResourceName: name + "x", WriteOffset: 2}), codes.InvalidArgument},
		"write: false content":  {write(&bspb.WriteRequest{ResourceName: name, Data: []byte("hellO"), FinishWrite: true}), codes.InvalidArgument},
	} {
		if err := c.call(); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	a, err := store.BatchUpdateBlobs(t.Context(), &repb.BatchUpdateBlobsRequest{Requests: []*repb.BatchUpdateBlobsRequest_Request{
		{Digest: cas.Of([]byte("good")).Proto(), Data: []byte("good")},
		{Digest: cas.Of([]byte("good")).Proto(), Data: []byte("evil")},
		{Digest: &repb.Digest{Hash: "x"}, Data: []byte("evil")},
		{Digest: cas.Of([]byte("zstd")).Proto(), Data: []byte("zstd"), Compressor: repb.Compressor_ZSTD},
		{Data: []byte("nameless")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []codes.Code
	for _, r := range a.Responses {
		got = append(got, codes.Code(r.Status.GetCode()))
	}
	if want := []codes.Code{codes.OK, codes.InvalidArgument, codes.InvalidArgument, codes.InvalidArgument, codes.InvalidArgument}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("batch of good and bad: %v", got)
	}
}

func TestReadRanges(t *testing.T) {
	f := newFarm(t, nil)
	content := randomBytes(3*readChunkBytes + 17)
	d := cas.Of(content)
	if err := f.client("a").Put(t.Context(), d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	stream := bspb.NewByteStreamClient(f.as("a"))
	for _, c := range [][2]int64{{0, 0}, {0, 1}, {1, 0}, {readChunkBytes, readChunkBytes}, {d.Size - 1, 0}, {d.Size - 1, 100}, {d.Size, 0}, {5, 1 << 40}} {
		s, err := stream.Read(t.Context(), &bspb.ReadRequest{ResourceName: "blobs/" + d.String(), ReadOffset: c[0], ReadLimit: c[1]})
		var got []byte
		for err == nil {
			var m *bspb.ReadResponse
			if m, err = s.Recv(); err == nil {
				got = append(got, m.Data...)
			}
		}
		want := content[c[0]:]
		if c[1] > 0 && c[1] < int64(len(want)) {
			want = want[:c[1]]
		}
		if err != io.EOF || !bytes.Equal(got, want) {
			t.Errorf("offset %d limit %d: %d bytes, %v", c[0], c[1], len(got), err)
		}
	}
}
