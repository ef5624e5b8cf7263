package raftfsm

import (
	"math/rand/v2"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// An auctioneer can open, close and clear when that is due and do nothing else:
// no act of its, early, wrong or late, makes the award worse than the best of
// the bids that were taken and opened.
func TestAuctioneerCannotAwardWorse(t *testing.T) {
	for seed := range uint64(12) {
		f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 2, drop: 10_000 * credit, stake: 1_000 * credit, seed: 70 + seed})
		hostileAuctioneer(t, f, rand.New(rand.NewPCG(seed, 6)))
	}
}

// meddle tries every act of every coordinator; none may be due but those allowed.
func meddle(f *farm, id ID, due build.Act) {
	f.t.Helper()
	b := f.build(id)
	for i := range f.genesis.Coordinators {
		m := &f.genesis.Coordinators[i]
		for act := build.ActOpen; act <= build.ActClear; act++ {
			if act == due && m.ID == b.Auctioneer {
				continue // that is its duty
			}
			want := build.CodeWrongState
			if act == due {
				want = build.CodeNotAllowed
			}
			f.refused(want, f.command(m.Key, build.TypeAuctioneer, &build.Auctioneer{Build: id, Auction: b.Auction(), Act: act}))
		}
		f.refused(build.CodeWrongState, f.command(m.Key, build.TypeAuctioneer, &build.Auctioneer{Build: id, Auction: ID{1}, Act: due}))
	}
}

func hostileAuctioneer(t *testing.T, f *farm, rng *rand.Rand) {
	terms := f.terms(build.LaneSpot)
	terms.Value = auction.ValueFunction{Steps: []auction.Step{{Value: 10 * credit}, {StartMillis: 2_000, Value: 6 * credit}, {StartMillis: 9_000, Value: 2 * credit}}}
	id := f.submit(0, terms)
	meddle(f, id, 0)
	f.duties()
	meddle(f, id, 0) // bidding: nothing is due
	a := f.build(id).Auction()
	bids := map[int]finishedBid{}
	bid := func(w int, b finishedBid) build.Command {
		return f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: id, Auction: a,
			Commitment: build.BidCommitment(f.state().Cluster(), a, build.AccountID(f.workers[w]), b.price, b.finish, ID{}, ID{byte(w)})})
	}
	for w := range 8 {
		if b := (finishedBid{escrow.Credits(rng.IntN(80)) * credit / 10, int64(rng.IntN(12_000)), nil}); rng.IntN(4) > 0 {
			f.must(bid(w, b))
			bids[w] = b
			meddle(f, id, 0)
		}
	}
	f.tick(299)
	meddle(f, id, 0)
	for w := range 8 { // the last moment counts too
		if _, had := bids[w]; !had {
			bids[w] = finishedBid{price: escrow.Credits(rng.IntN(80)) * credit / 10}
			f.must(bid(w, bids[w]))
			break
		}
	}
	f.tick(1)
	meddle(f, id, build.ActClose)
	if rng.IntN(2) == 0 { // it lets its deadline pass: another is drawn
		late := f.build(id).Auctioneer
		f.tick(2_000)
		if f.build(id).Auctioneer == late {
			t.Fatal("a late auctioneer stays")
		}
		meddle(f, id, 0)
	}
	f.duties() // closes
	open := map[int]bool{}
	for w, b := range bids {
		if rng.IntN(5) == 0 {
			continue
		}
		open[w] = true
		f.must(f.command(f.workers[w], build.TypeReveal, &build.Reveal{Build: id, Auction: a, Price: b.price, FinishMillis: b.finish, Nonce: ID{byte(w)}}))
		if len(open) < len(bids) {
			meddle(f, id, 0)
		}
	}
	if len(open) < len(bids) {
		f.tick(30_000)
	}
	for _, d := range f.state().Demands() {
		f.must(f.command(nil, build.TypeBeacon, &build.Beacon{Purpose: d.Purpose, Build: d.Build, Round: d.Round, Signature: cheapBeacon(d.Message(f.state().Cluster()))}))
	}
	if len(open) > 0 {
		meddle(f, id, build.ActClear)
	}
	f.duties() // clears
	value := func(ms int64) escrow.Credits {
		switch {
		case ms < 2_000:
			return 10 * credit
		case ms < 9_000:
			return 6 * credit
		}
		return 2 * credit
	}
	best, second := escrow.Credits(-1), escrow.Credits(0)
	for w := range open {
		switch s := value(bids[w].finish) - bids[w].price; {
		case s > best:
			best, second = s, max(best, 0)
		default:
			second = max(second, s)
		}
	}
	b := f.build(id)
	if best < 0 {
		if b.State == build.Awarded {
			t.Fatalf("awarded although no score of %v is above nothing", bids)
		}
		return
	}
	if b.State != build.Awarded {
		t.Fatalf("%v although a score of %v was offered", b.State, best)
	}
	won := bids[f.workerIndex(b.Builder().Worker)]
	if got := value(won.finish) - won.price; got != best || b.Reference != second || !open[f.workerIndex(b.Builder().Worker)] {
		t.Errorf("awarded a score of %v with reference %v, want %v and %v", got, b.Reference, best, second)
	}
	f.same()
}
