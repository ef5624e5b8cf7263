package raftfsm

import (
	"strings"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// finishedBid is a bid, of a result that is there already or of the slot.
type finishedBid struct {
	price  escrow.Credits
	finish int64
	result *build.Opening // nil: the slot
}

// commitment is what worker w publishes of a result.
func (f *farm) commitment(w int, id ID, o *build.Opening) ID {
	if o == nil {
		return ID{}
	}
	return build.Commitment(f.state().Cluster(), o.Summary.Digest(), build.AccountID(f.workers[w]), id, o.Nonce)
}

// bidding takes a build to its award under bids of any kind.
func (f *farm) bidding(id ID, bids map[int]finishedBid) {
	f.t.Helper()
	f.duties()
	a := f.build(id).Auction()
	for w := range f.workers {
		if b, ok := bids[w]; ok {
			f.must(f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: id, Auction: a,
				Commitment: build.BidCommitment(f.state().Cluster(), a, build.AccountID(f.workers[w]), b.price, b.finish, f.commitment(w, id, b.result), ID{byte(w)})}))
		}
	}
	f.tick(300)
	f.duties()
	for w := range f.workers {
		if b, ok := bids[w]; ok {
			m := &build.Reveal{Build: id, Auction: a, Price: b.price, FinishMillis: b.finish, Result: f.commitment(w, id, b.result), Nonce: ID{byte(w)}}
			wrong := *m
			wrong.Result[0] ^= 1 // another result, or one where none was committed to
			f.refused(build.CodeNoMatch, f.command(f.workers[w], build.TypeReveal, &wrong))
			f.must(f.command(f.workers[w], build.TypeReveal, m))
		}
	}
	f.duties()
}

func finishedTerms(f *farm) build.Terms {
	t := f.terms(build.LaneSpot)
	t.Value = auction.ValueFunction{Steps: []auction.Step{{Value: 10 * credit}, {StartMillis: 2_000, Value: 6 * credit}, {StartMillis: 60_000, Value: 0}}}
	return t
}

func finishedResult(content string) *build.Opening {
	o := result(content, build.StatusExited)
	o.Nonce = ID{7, 7}
	return &o
}

// commitTo commits worker w to an opening with its own nonce.
func (f *farm) commitTo(w int, id, lease ID, o *build.Opening) build.Command {
	return f.command(f.workers[w], build.TypeCommit, &build.Commit{Build: id, Lease: lease, Lodged: lodged(o), Commitment: f.commitment(w, id, o)})
}

// A finished result competes with slots by the same score: being there sooner is
// worth what the requester says it is. Who wins with one can commit to nothing else.
func TestFinishedResult(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, finishedTerms(f))
	mine := finishedResult("right")
	f.bidding(id, map[int]finishedBid{
		0: {4 * credit, 500, mine},    // 10 − 4 = 6
		1: {1 * credit, 30_000, nil},  // 6 − 1 = 5
		2: {5 * credit, 1_000, nil},   // 10 − 5 = 5
		3: {credit / 2, 90_000, nil},  // 0 − 0.5
		4: {11 * credit, 1, mine},     // 10 − 11
		5: {2 * credit, 10_000, mine}, // 6 − 2 = 4
	})
	b := f.build(id)
	if b.State != build.Awarded || f.workerIndex(b.Builder().Worker) != 0 || b.Reference != 5*credit {
		t.Fatalf("%v to worker %d, reference %v", b.State, f.workerIndex(b.Builder().Worker)+1, b.Reference)
	}
	lease := b.Builder().Lease(id)
	f.must(f.command(f.workers[0], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	other := finishedResult("something else")
	if got := f.refused(build.CodeNoMatch, f.commitTo(0, id, lease, other)); !strings.Contains(got, "finished result") {
		t.Errorf("%q", got)
	}
	again := *mine
	again.Nonce[0]++ // the same result under another nonce is another commitment
	f.refused(build.CodeNoMatch, f.commitTo(0, id, lease, &again))
	f.snapshotRestore(1)
	f.must(f.commitTo(0, id, lease, mine))
	f.must(f.commitTo(0, id, lease, mine))
	f.duties()
	f.work([]ID{id})
	b = f.build(id)
	if b.Verdict != build.Agreed || b.Payment != 5*credit { // V(0.3 s) − reference
		t.Errorf("%v, paid %v", b.Verdict, b.Payment)
	}
	if got := f.left(0, before); got != 5*credit+2*credit+credit/10 {
		t.Errorf("%v left escrow", got)
	}
	f.same()
}

// A finished result that never comes is a default like any other: the successor,
// whose bid was for the slot, is bound to no result.
func TestFinishedResultThatNeverComes(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, finishedTerms(f))
	f.bidding(id, map[int]finishedBid{
		0: {2 * credit, 500, finishedResult("right")}, // 8
		1: {4 * credit, 1_000, nil},                   // 6
		2: {7 * credit, 1_000, nil},                   // 3
	})
	had, requester := f.balance(build.AccountID(f.workers[0])), f.balance(build.AccountID(f.requesters[0]))
	b := f.build(id)
	if b.Reference != 6*credit {
		t.Fatalf("reference %v", b.Reference)
	}
	lease := b.Builder().Lease(id)
	f.must(f.command(f.workers[0], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	f.refused(build.CodeNoMatch, f.commitTo(0, id, lease, finishedResult("a better one")))
	f.tick(5_000)
	b = f.build(id)
	if f.workerIndex(b.Builder().Worker) != 1 || b.Reference != 3*credit {
		t.Fatalf("the successor is worker %d with reference %v", f.workerIndex(b.Builder().Worker)+1, b.Reference)
	}
	if got := had - f.balance(build.AccountID(f.workers[0])); got != 3*credit {
		t.Errorf("the defaulter lost %v, want the 3 that its successor costs more", got)
	}
	if got := f.balance(build.AccountID(f.requesters[0])) - requester; got != 3*credit {
		t.Errorf("the requester got %v", got)
	}
	f.work([]ID{id})
	if b := f.build(id); b.Verdict != build.Agreed || b.Payment != 7*credit { // V(0.3 s and its own time) − 3
		t.Errorf("%v, paid %v", b.Verdict, b.Payment)
	}
	f.same()
}

// A finished result that is forged is judged like any other.
func TestFinishedResultThatIsForged(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, finishedTerms(f))
	forged := finishedResult("forged")
	f.bidding(id, map[int]finishedBid{0: {credit, 0, forged}, 1: {4 * credit, 1_000, nil}})
	lease := f.build(id).Builder().Lease(id)
	f.must(f.command(f.workers[0], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	f.must(f.commitTo(0, id, lease, forged))
	f.duties()
	f.run(id, func(w int, a *build.Attempt) (string, build.Status) {
		if w == 0 {
			return "forged", build.StatusExited // it insists
		}
		return "right", build.StatusExited
	})
	f.deliver(id)
	if b := f.build(id); b.Verdict != build.Judged || !b.Builder().Slashed || f.left(0, before) != 0 {
		t.Errorf("%v, slashed %v, %v left escrow", b.Verdict, b.Builder().Slashed, f.left(0, before))
	}
	f.same()
}
