package service

import (
	"errors"
	"slices"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/verify/attest"
)

// Where results differ, those that are not delivered are asked for too, so that
// the requester can see the difference; and nobody can store more than that.
func TestDifferingResultsCanBeSeen(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	p := newProject(t, "date > app")
	id := f.submit(p, "house")
	f.draw()
	holders, leases := f.leases(id)
	builder, builderLease := holders[0], leases[0]
	f.commit(p, builder, id, builderLease, result("monday"), attest.RoleBuilder)
	f.draw()
	holders, leases = f.leases(id)
	validator, validatorLease := holders[0], leases[0]
	f.commit(p, validator, id, validatorLease, result("tuesday"), attest.RoleValidator)
	f.openAll()

	outsiders := func() *gavelv1.Build {
		v, err := f.stranger.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
		check(t, err)
		return v
	}
	if v := outsiders(); v.State != "validating" || len(v.Attempts) != 1 || v.Version != 0 {
		t.Errorf("a stranger sees the recheck: %v", v)
	}
	holders, leases = f.leases(id)
	if len(holders) != 2 {
		t.Fatalf("%d leases in the recheck", len(holders))
	}
	for i, w := range holders {
		f.commit(p, w, id, leases[i], result("day "+string(rune('0'+i))), attest.RoleValidator)
	}
	f.openAll()
	if v := outsiders(); v.Verdict != "non-deterministic" || len(v.Attempts) != 4 {
		t.Fatalf("after the recheck: %v", v)
	}

	monday, tuesday := result("monday"), result("tuesday")
	upload(t, validator, tuesday.Bytes(), []byte("tuesday"))
	if err := validator.put(ctx, []byte("monday")); err == nil {
		t.Error("the validator stored another's output")
	}
	if _, err := validator.Farm().Deliver(ctx, &gavelv1.DeliverRequest{Build: id[:], Lease: validatorLease[:]}); err != nil {
		t.Errorf("delivering evidence: %v", err)
	}
	if v := outsiders(); v.Delivered || v.State == "settled" {
		t.Errorf("evidence settled the build: %v", v)
	}
	upload(t, builder, monday.Bytes(), []byte("monday"))
	if _, err := builder.Farm().Deliver(ctx, &gavelv1.DeliverRequest{Build: id[:], Lease: builderLease[:]}); err != nil {
		t.Errorf("delivering: %v", err)
	}
	v := outsiders()
	if !v.Delivered || v.State != "settled" {
		t.Errorf("at the end: %v", v)
	}
	for _, a := range v.Attempts {
		if first := a.Round == "first"; a.ManifestStored != first || a.Agreed != (first && a.Seat == 0) {
			t.Errorf("attempt %v", a)
		}
	}
	for _, content := range []string{"monday", "tuesday"} {
		if err := read(f.requester, ctx, []byte(content)); err != nil {
			t.Errorf("the requester reads %s: %v", content, err)
		}
		if err := read(f.stranger, ctx, []byte(content)); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("a stranger reads %s: %v", content, err)
		}
	}
	before := f.statements(id)
	if len(before) != 2 {
		t.Fatalf("%d statements of two authors", len(before))
	}
	forget(t, f.store, append(p.blobs, monday.Bytes(), tuesday.Bytes(), []byte("monday"), []byte("tuesday"))...)
	if after := f.statements(id); !slices.Equal(after, before) {
		t.Errorf("once the store has let go of everything the statements are %v, before %v", after, before)
	}
}

// A followed log comes as it is written, from every builder in turn, and ends
// with the verdict.
func TestFollowedLogEnds(t *testing.T) {
	f, ctx := newFarm(t), t.Context()
	p := newProject(t, "x")
	id := f.submit(p, "house")
	type got struct {
		lease build.ID
		data  byte
	}
	chunks := make(chan got)
	ended := make(chan error, 1)
	go func() {
		defer close(chunks)
		for chunk, err := range f.requester.ReadLog(ctx, id, true) {
			if err != nil {
				ended <- err
				return
			}
			chunks <- got{build.ID(chunk.Lease), chunk.Data[0]}
		}
		ended <- nil
	}()
	f.draw()
	holders, leases := f.leases(id)
	_, err := holders[0].AppendLog(ctx, id, leases[0], 0, [][]byte{{1}})
	check(t, err)
	if c := <-chunks; c != (got{leases[0], 1}) {
		t.Errorf("first builder: %v", c)
	}
	_, err = holders[0].Do(ctx, build.TypeAbandon, &build.LeaseRef{Build: id, Lease: leases[0]})
	check(t, err)
	if _, err := holders[0].AppendLog(ctx, id, leases[0], 1, [][]byte{{2}}); err == nil {
		t.Error("a builder that gave up still writes")
	}
	f.draw()
	holders, leases = f.leases(id)
	if len(holders) != 1 {
		t.Fatalf("%d successors", len(holders))
	}
	_, err = holders[0].AppendLog(ctx, id, leases[0], 0, [][]byte{{3}})
	check(t, err)
	if c := <-chunks; c != (got{leases[0], 3}) {
		t.Errorf("its successor: %v", c)
	}
	f.commit(p, holders[0], id, leases[0], result("x"), attest.RoleBuilder)
	if _, more := <-chunks; more {
		t.Error("a chunk nobody wrote")
	}
	if err := <-ended; err != nil {
		t.Errorf("the log ends with %v", err)
	}
}
