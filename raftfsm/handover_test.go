package raftfsm

import (
	"strings"
	"testing"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
)

func (f *farm) handOver() {
	f.t.Helper()
	f.must(f.command(f.admin, build.TypeHandover, &build.Handover{Reason: "yearly"}))
}

func (f *farm) stage(want HandoverStage) {
	f.t.Helper()
	if got, note := f.state().HandoverUnderWay(); got != want {
		f.t.Fatalf("the handover is %v (%s), want %v", got, note, want)
	}
}

// A new key is made while the old one is in use; what is under way ends under the
// old one, which signs for the new one, and what waited goes on under that.
func TestHandover(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 3, drop: 10_000 * credit, stake: 1_000 * credit, seed: 7})
	r := f.certify()
	old := f.state().Keys().Group.Key
	busy := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(busy, prices(8)...)
	f.refused(build.CodeNotAllowed, f.command(f.requesters[0], build.TypeHandover, &build.Handover{}))
	f.refused(build.CodeWrongState, f.command(f.admin, build.TypeHandover, &build.Handover{GiveUp: true}))
	f.handOver()
	f.refused(build.CodeExists, f.command(f.admin, build.TypeHandover, &build.Handover{}))
	f.stage(HandoverDealing)
	f.snapshotRestore(1)
	f.must(f.dealing(2))
	f.snapshotRestore(2)
	f.must(f.dealing(0))
	f.must(f.dealing(1))
	f.stage(HandoverAnswering)
	f.snapshotRestore(1)
	for i := range 3 {
		f.must(f.answer(i))
	}
	f.stage(HandoverDraining)
	next := f.state().NextKeys().Group.Key
	f.snapshotRestore(1)
	waits := f.submit(1, f.terms(build.LaneSpot))
	f.duties()
	if b := f.build(waits); b.State != build.Queued || b.Dispatched {
		t.Errorf("a build was begun: %v", b.State)
	}
	if f.state().Keys().Group.Key != old {
		t.Fatal("the new key is in use too early")
	}
	f.run(busy, honest)
	f.deliver(busy)
	f.stage(HandoverDraining) // its certificate is made under the old key
	f.duties()
	f.stage(0)
	if f.state().Keys().Group.Key != next || len(f.state().FormerKeys()) != 1 || f.state().FormerKeys()[0].Key != old || f.state().Ceremony().Round != 1 {
		t.Errorf("the key is %x, the former ones %v", f.state().Keys().Group.Key[:4], f.state().FormerKeys())
	}
	var item *HandoverItem
	for _, i := range r.items {
		if i.Handover != nil {
			item = i.Handover
		}
	}
	msg := beacon.Message(f.state().Cluster(), build.PurposeHandover, HandoverSubject(f.state().Cluster(), old, next), 1)
	if item == nil || item.Old != old || item.New != next || item.Signature != cheapBeacon(msg) || item.Reason != "yearly" {
		t.Fatalf("the log is told %+v", item)
	}
	f.duties()
	f.auctioned(waits, prices(8)...)
	f.run(waits, honest)
	f.deliver(waits)
	f.duties()
	b := f.contest(f.requesters[1], r.challengeOf(r.find(busy)), honest) // certified under the former key
	if b.Verdict != build.Upheld {
		t.Errorf("a challenge of an old result: %v", b.Verdict)
	}
	f.snapshotRestore(1)
	f.same()
	f.handOver() // and once more
	f.duties()
	f.stage(0)
	if f.state().Ceremony().Round != 2 || len(f.state().FormerKeys()) != 2 {
		t.Errorf("round %d, %d former keys", f.state().Ceremony().Round, len(f.state().FormerKeys()))
	}
	f.same()
}

// One coordinator of three is away: the others' key is made without it.
func TestHandoverWithoutOne(t *testing.T) {
	f, _ := spot(t)
	f.handOver()
	first := f.dealing(0)
	f.must(first)
	f.must(f.dealing(1))
	f.tick(stageMillis - 1)
	f.stage(HandoverDealing)
	f.tick(1)
	f.stage(HandoverAnswering)
	f.refused(build.CodeStale, f.dealing(2))
	f.refused(build.CodeMalformed, f.command(f.genesis.Coordinators[0].Key, build.TypeComplain, &build.Complain{Round: 1, Dealers: []uint32{3}}))
	f.must(f.answer(0))
	f.snapshotRestore(1)
	f.must(f.answer(1))
	f.tick(stageMillis)
	f.stage(HandoverSigning)
	f.duties()
	f.stage(0)
	if got := f.state().Keys().Qualified; len(got) != 2 || got[0] != 1 || got[1] != 2 {
		t.Errorf("qualified dealers %v", got)
	}
	f.same()
}

// Where too few take part, or one deals wrongly and does not answer, the old key stays.
func TestHandoverFails(t *testing.T) {
	f, _ := spot(t)
	old := f.state().Keys().Group.Key
	ended := func(says string) {
		t.Helper()
		if stage, note := f.state().HandoverUnderWay(); stage != 0 || !strings.Contains(note, says) {
			t.Fatalf("the handover is %v: %q", stage, note)
		}
		if f.state().Keys().Group.Key != old || len(f.state().FormerKeys()) != 0 {
			t.Fatal("the key has changed")
		}
	}
	f.handOver()
	f.must(f.dealing(0))
	f.tick(stageMillis)
	ended("too few coordinators dealt")

	f.handOver()
	stale := f.dealing(0)
	for i := range 3 {
		f.must(f.dealing(i))
	}
	f.must(f.answer(1))
	f.tick(stageMillis)
	ended("too few coordinators confirmed")

	f.handOver()
	f.refused(build.CodeMalformed, stale) // of another key generation
	for i := range 3 {
		f.must(f.dealing(i))
	}
	for i := range 3 {
		accused := []uint32{uint32(1 + (i+1)%3)}
		f.must(f.command(f.genesis.Coordinators[i].Key, build.TypeComplain, &build.Complain{Round: 3, Dealers: accused}))
	}
	f.stage(HandoverMaking)
	f.snapshotRestore(1)
	f.tick(justifyMillis)
	ended("too few coordinators dealt honestly")

	f.handOver()
	f.must(f.dealing(0))
	f.must(f.command(f.admin, build.TypeHandover, &build.Handover{GiveUp: true}))
	ended("given up")
	f.same()
}

// A replay proves each signature under the key that was the group's then.
func TestReplayProvesUnderEachKey(t *testing.T) {
	d := &deferred{}
	a, b := beacon.GroupKey{1}, beacon.GroupKey{2}
	for i, key := range []beacon.GroupKey{a, a, b, a, b} {
		if err := d.beacon(key, []byte{byte(i)}, beacon.Signature{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	r := &Replay{proofs: d}
	if len(d.open) != 2 || len(d.open[0].msgs) != 3 || len(d.open[1].msgs) != 2 || r.Unproven() != 5 {
		t.Errorf("%d keys, %d signatures", len(d.open), r.Unproven())
	}
	if forged := r.Prove(); len(forged) != 5 || r.Unproven() != 0 { // none of these is anybody's
		t.Errorf("%d are found forged", len(forged))
	}
}
