package raftfsm

import (
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
)

// A build whose winner had fallen silent while the next bidder was busy went back
// to the queue with the old award's clock and reference: whoever built it in the
// end was paid as if it had come at once, and could owe what another had bid.
func TestSecondAuctionStartsAfresh(t *testing.T) {
	f, before := spot(t)
	terms := f.terms(build.LaneSpot)
	terms.Value = auction.ValueFunction{Steps: []auction.Step{{Value: 10 * credit}, {StartMillis: 10_000, Value: 4 * credit}}}
	id := f.submit(0, terms)
	f.auctioned(id, credit, 2*credit)
	earner := f.build(id).Earner
	f.draining(1, true)
	f.tick(5_000)
	b := f.build(id)
	if b.State != build.Queued || b.Reference != 0 || b.Price != 0 {
		t.Fatalf("%v with price %v and reference %v", b.State, b.Price, b.Reference)
	}
	penalty := 8 * credit // the reference under which the silent winner was awarded
	f.tick(1_000)
	f.auctioned(id, 0, 0, credit, 2*credit)
	b = f.build(id)
	lease := b.Builder().Lease(id)
	if f.workerIndex(b.Builder().Worker) != 2 || b.FirstAwardedAt != b.AwardedAt {
		t.Fatalf("worker %d won at %d, the clock began at %d", f.workerIndex(b.Builder().Worker)+1, b.AwardedAt, b.FirstAwardedAt)
	}
	f.must(f.command(f.workers[2], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	for range 4 {
		f.tick(3_000)
		f.must(f.command(f.workers[2], build.TypeHeartbeat, &build.LeaseRef{Build: id, Lease: lease}))
	}
	f.must(f.commitCommand(2, id, lease, result("right", build.StatusExited)))
	f.duties()
	f.work([]ID{id})
	b = f.build(id)
	if b.Verdict != build.Agreed || b.Payment != 4*credit-8*credit { // V(12.3 s) − reference
		t.Errorf("%v, paid %v", b.Verdict, b.Payment)
	}
	if b.Earner != earner {
		t.Error("the auctioneer's fee, earned once, changed hands")
	}
	if got, want := f.left(0, before), 2*credit+credit/10-4*credit-penalty; got != want {
		t.Errorf("%v left escrow, want %v", got, want)
	}
	f.same()
}
