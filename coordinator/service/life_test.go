package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
	"gavel/verify/keys"
)

func read(p *party, ctx context.Context, raw []byte) error {
	r, err := p.blobs.Open(ctx, cas.Of(raw))
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, raw) {
		err = errors.New("other bytes")
	}
	return err
}

// A build's whole life as its parties see it: who may read and write what, when.
func TestABuildsLife(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	p := newProject(t, "int main(){}")
	id := f.submit(p, "house")
	source, binary := p.blobs[0], []byte("the binary")
	good := result(string(binary))
	f.draw()
	holders, leases := f.leases(id)
	if len(holders) != 1 {
		t.Fatalf("%d leases after the award", len(holders))
	}
	builder, lease := holders[0], leases[0]
	var idle *party
	for _, w := range f.workers {
		if w != builder {
			idle = w
		}
	}
	if err := read(builder, ctx, source); err != nil {
		t.Errorf("the builder cannot read its inputs: %v", err)
	}
	for who, reader := range map[string]*party{"an idle worker": idle, "a stranger": f.stranger} {
		if err := read(reader, ctx, source); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("%s reads the inputs: %v", who, err)
		}
	}
	if err := builder.put(ctx, binary); err == nil {
		t.Error("an output was stored before the verdict")
	}

	testLog(t, f, builder, idle, id, lease)
	f.commit(p, builder, id, lease, good, attest.RoleBuilder)
	f.draw()
	holders, leases = f.leases(id)
	if len(holders) != 1 || holders[0] == builder {
		t.Fatalf("%d leases after the draw", len(holders))
	}
	f.commit(p, holders[0], id, leases[0], good, attest.RoleValidator)
	v, err := f.requester.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	check(t, err)
	if v.State != "opening" || v.Result != nil || len(v.Attempts) != 2 {
		t.Errorf("before the openings: %v", v)
	}
	f.openAll()

	if _, err := idle.Farm().Deliver(ctx, &gavelv1.DeliverRequest{Build: id[:], Lease: lease[:]}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another worker delivers: %v", err)
	}
	if _, err := builder.Farm().Deliver(ctx, &gavelv1.DeliverRequest{Build: id[:], Lease: lease[:]}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("delivering without uploading: %v", err)
	}
	if err := builder.put(ctx, binary); err == nil {
		t.Error("a blob was stored before the manifest that names it")
	}
	upload(t, builder, good.Bytes(), binary)
	if err := builder.put(ctx, []byte("something else")); err == nil {
		t.Error("a worker stored what nobody asked for")
	}
	if err := read(f.requester, ctx, binary); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("the requester reads before delivery: %v", err)
	}
	d, err := builder.Farm().Deliver(ctx, &gavelv1.DeliverRequest{Build: id[:], Lease: lease[:]})
	if err != nil || !d.Stored {
		t.Fatalf("delivering: %v, %v", d, err)
	}
	if err := read(f.requester, ctx, binary); err != nil {
		t.Errorf("the requester cannot read the output: %v", err)
	}
	if err := read(f.stranger, ctx, binary); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("a stranger reads the output: %v", err)
	}
	testEnd(t, f, id, good)
	testAttestations(t, f, id, binary)
}

// testLog lets the builder write and only the requester read.
func testLog(t *testing.T, f *farm, builder, idle *party, id, lease build.ID) {
	t.Helper()
	ctx := t.Context()
	if held, err := builder.AppendLog(ctx, id, lease, 0, [][]byte{{1}, {2, 2}}); err != nil || held != 2 {
		t.Fatalf("appending: %d, %v", held, err)
	}
	if held, err := builder.AppendLog(ctx, id, lease, 1, [][]byte{{2, 2}, {3}}); err != nil || held != 3 {
		t.Errorf("appending with an overlap: %d, %v", held, err)
	}
	if _, err := builder.AppendLog(ctx, id, lease, 9, [][]byte{{9}}); status.Code(err) != codes.OutOfRange {
		t.Errorf("appending past the end: %v", err)
	}
	if _, err := idle.AppendLog(ctx, id, lease, 3, [][]byte{{4}}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another worker appends: %v", err)
	}
	var got []string
	for chunk, err := range f.requester.ReadLog(ctx, id, false) {
		check(t, err)
		got = append(got, fmt.Sprint(chunk.Offset, chunk.Data))
	}
	if strings.Join(got, " ") != "0 [1] 1 [2 2] 2 [3]" {
		t.Errorf("the requester reads %v", got)
	}
	for _, err := range f.stranger.ReadLog(ctx, id, false) {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("a stranger reads the log: %v", err)
		}
	}
}

// testEnd looks at the settled build, in the state and in the archive.
func testEnd(t *testing.T, f *farm, id build.ID, good *build.Manifest) {
	t.Helper()
	for v, err := range f.stranger.WatchBuild(t.Context(), id) {
		check(t, err)
		summary := good.Summarise()
		if v.Verdict != "agreed" || !v.Delivered || !bytes.Equal(v.Manifest, summary.Content[:]) || v.Status != "exited" || !v.House || v.Payment != 0 {
			t.Errorf("settled: %v", v)
		}
	}
	var b *build.Build
	f.fsm.Read(func(s *raftfsm.State) { b, _ = s.Build(id) })
	archived := b.Clone()
	archived.ID = build.ID{42}
	f.mu.Lock()
	f.archive[archived.ID] = archived
	f.mu.Unlock()
	v, err := f.requester.Farm().GetBuild(t.Context(), &gavelv1.GetBuildRequest{Build: archived.ID[:]})
	if err != nil || v.Verdict != "agreed" {
		t.Errorf("from the archive: %v, %v", v, err)
	}
}

func testAttestations(t *testing.T, f *farm, id build.ID, binary []byte) {
	t.Helper()
	request := &gavelv1.GetBuildRequest{Build: id[:]}
	if _, err := f.stranger.Farm().Attestations(t.Context(), request); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stranger reads statements: %v", err)
	}
	out, err := f.requester.Farm().Attestations(t.Context(), request)
	check(t, err)
	if len(out.Attestations) != 2 || out.Attestations[0].Role != "builder" || out.Attestations[1].Role != "validator" {
		t.Fatalf("attestations: %v", out)
	}
	for _, a := range out.Attestations {
		public, err := keys.ParsePublic([]byte(a.PublicKey))
		check(t, err)
		if _, err := attest.VerifyBundle([]byte(a.Bundle), cas.Of(binary).Sum(), public); err != nil {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
}
