package server

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gavel/cas"
)

// send writes content[from:to] to the upload in one stream and says what came back.
func send(t *testing.T, c bspb.ByteStreamClient, name string, content []byte, from, to int) (int64, error) {
	t.Helper()
	w, err := c.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for first := true; first || from < to; first = false {
		n := min(100_000, to-from)
		m := &bspb.WriteRequest{ResourceName: name, WriteOffset: int64(from), Data: content[from : from+n], FinishWrite: from+n == len(content)}
		if err := w.Send(m); err != nil {
			break
		}
		from += n
	}
	a, err := w.CloseAndRecv()
	return a.GetCommittedSize(), err
}

func TestResumeAfterCloseAndAfterCancel(t *testing.T) {
	f := newFarm(t, nil)
	c := bspb.NewByteStreamClient(f.as("a"))
	content := randomBytes(2_500_000)
	d := cas.Of(content)
	name := "inst/uploads/u1/blobs/" + d.String()
	committed := func(client bspb.ByteStreamClient) int64 {
		a, err := client.QueryWriteStatus(t.Context(), &bspb.QueryWriteStatusRequest{ResourceName: name})
		if err != nil || a.Complete != (a.CommittedSize == d.Size) {
			t.Fatalf("%v, %v", a, err)
		}
		return a.CommittedSize
	}
	if n := committed(c); n != 0 {
		t.Errorf("committed %d before the first byte", n)
	}
	if n, err := send(t, c, name, content, 0, 1_000_000); err != nil || n != 1_000_000 {
		t.Fatalf("a first part: %d, %v", n, err)
	}
	if n := committed(c); n != 1_000_000 {
		t.Errorf("committed %d after the first part", n)
	}
	if n := committed(bspb.NewByteStreamClient(f.as("b"))); n != 0 {
		t.Errorf("another account sees %d bytes of it", n)
	}
	if _, err := send(t, c, name, content, 1_500_000, 2_500_000); status.Code(err) != codes.OutOfRange {
		t.Errorf("with a gap: %v", err)
	}
	// A stream that is cut off, not closed.
	ctx, cut := context.WithCancel(t.Context())
	w, err := c.Write(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(&bspb.WriteRequest{ResourceName: name, WriteOffset: 1_000_000, Data: content[1_000_000:1_200_000]}); err != nil {
		t.Fatal(err)
	}
	for committed(c) < 1_200_000 { // until the server has it
	}
	cut()
	// The server notices in its own time; until then the upload is busy. Bytes
	// that it has are sent again: a client need not ask.
	for {
		n, err := send(t, c, name, content, 500_000, len(content))
		if status.Code(err) == codes.Unavailable {
			continue
		}
		if err != nil || n != d.Size {
			t.Fatalf("the rest: %d, %v", n, err)
		}
		break
	}
	if n := committed(c); n != d.Size {
		t.Errorf("committed %d in the end", n)
	}
	if got, err := read(t.Context(), f.client("a"), d); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	// Once it is there, an upload ends at once.
	if n, err := send(t, c, "uploads/u2/blobs/"+d.String(), content, 0, 100); err != nil || n != d.Size {
		t.Errorf("of an existing blob: %d, %v", n, err)
	}
	if n := len(f.server.uploads.byKey); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

func TestResumedWithOtherContentIsRefused(t *testing.T) {
	f := newFarm(t, nil)
	c := bspb.NewByteStreamClient(f.as("a"))
	content := randomBytes(1_000_000)
	name := "uploads/u/blobs/" + cas.Of(content).String()
	if _, err := send(t, c, name, make([]byte, len(content)), 0, 300_000); err != nil {
		t.Fatal(err)
	}
	if _, err := send(t, c, name, content, 0, len(content)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("two contents under one name: %v", err)
	}
	// The failure ended the upload, so that the next attempt is a fresh one.
	if n, err := send(t, c, name, content, 0, len(content)); err != nil || n != int64(len(content)) {
		t.Errorf("again from the start: %d, %v", n, err)
	}
}

func TestUnfinishedUploadsAreBounded(t *testing.T) {
	f := newFarm(t, nil)
	c, other := bspb.NewByteStreamClient(f.as("a")), bspb.NewByteStreamClient(f.as("b"))
	content := randomBytes(1000)
	name := func(i int) string { return fmt.Sprintf("uploads/u%d/blobs/%s", i, cas.Of(content)) }
	if _, err := send(t, other, name(0), content, 0, 10); err != nil {
		t.Fatal(err)
	}
	for i := range maxUploadsPerAccount + 5 {
		if _, err := send(t, c, name(i), content, 0, 10); err != nil {
			t.Fatalf("upload %d: %v", i, err)
		}
	}
	f.server.uploads.mu.Lock()
	held := len(f.server.uploads.byKey)
	f.server.uploads.mu.Unlock()
	if held != maxUploadsPerAccount+1 {
		t.Errorf("%d unfinished uploads are held", held)
	}
	for i, want := range map[int]int64{0: 0, 4: 0, 5: 10, maxUploadsPerAccount + 4: 10} {
		a, err := c.QueryWriteStatus(t.Context(), &bspb.QueryWriteStatusRequest{ResourceName: name(i)})
		if err != nil || a.CommittedSize != want {
			t.Errorf("upload %d: %v, %v; want %d", i, a, err, want)
		}
	}
	if a, err := other.QueryWriteStatus(t.Context(), &bspb.QueryWriteStatusRequest{ResourceName: name(0)}); err != nil || a.CommittedSize != 10 {
		t.Errorf("another account's upload fell to them: %v, %v", a, err)
	}
}
