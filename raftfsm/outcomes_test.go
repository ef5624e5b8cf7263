package raftfsm

import (
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

func TestExpired(t *testing.T) {
	f, before := spot(t)
	terms := f.terms(build.LaneSpot)
	terms.DeadlineMillis = f.state().Now() + 10_000
	id := f.submit(0, terms)
	f.tick(10_000) // no beacon is made: no coordinator does its duty
	b := f.build(id)
	if b.Verdict != build.Expired || b.State != build.Settled || f.left(0, before) != 0 {
		t.Fatalf("%v %v, %v left", b.State, b.Verdict, f.left(0, before))
	}
	f.same()
}

// Cancelling is free before the first bid, costs the auctioneer's fee until the
// award, then is refused.
func TestCancel(t *testing.T) {
	f, before := spot(t)
	cancel := func(id ID) build.Command {
		return f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: id})
	}
	id := f.submit(0, f.terms(build.LaneSpot))
	f.duties()
	f.refused(build.CodeNotAllowed, f.command(f.requesters[1], build.TypeCancel, &build.Cancel{Build: id}))
	f.must(cancel(id))
	f.must(cancel(id)) // again is harmless
	if got := f.left(0, before); got != 0 {
		t.Errorf("cancelling before a bid cost %v", got)
	}
	id = f.submit(0, f.terms(build.LaneSpot))
	f.duties()
	f.must(f.command(f.workers[0], build.TypeBid, &build.PlaceBid{Build: id, Auction: f.build(id).Auction(), Commitment: ID{1}}))
	f.must(cancel(id))
	if got := f.left(0, before); got != credit/10 {
		t.Errorf("cancelling after a bid cost %v, want 0.1", got)
	}
	id = f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	f.refused(build.CodeWrongState, cancel(id))
	f.same()
}

// A bid that is not opened in time, or wrongly, forfeits its bond to the treasury.
func TestForfeit(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.duties()
	a := f.build(id).Auction()
	nonce := ID{5}
	for w := range 2 {
		f.must(f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: id, Auction: a,
			Commitment: build.BidCommitment(f.state().Cluster(), a, build.AccountID(f.workers[w]), credit, 0, ID{}, nonce)}))
	}
	f.tick(300)
	f.duties()
	reveal := func(w int, price escrow.Credits) build.Command {
		return f.command(f.workers[w], build.TypeReveal, &build.Reveal{Build: id, Auction: a, Price: price, Nonce: nonce})
	}
	f.must(reveal(0, credit))
	f.refused(build.CodeNoMatch, reveal(1, credit+1))
	treasury := f.balance(f.state().Treasury())
	f.tick(30_000)
	f.refused(build.CodeStale, reveal(1, credit))
	if got := f.balance(f.state().Treasury()) - treasury; got != 22*credit {
		t.Errorf("the treasury got %v, want the bond of 22", got)
	}
	f.duties()
	if b := f.build(id); b.State != build.Awarded || b.Reference != 0 {
		t.Errorf("%v with reference %v: a lone bidder is paid the reserve", b.State, b.Reference)
	}
	f.same()
}

// Where t coordinators find no opening, the author is slashed and its result differs.
func TestMismatch(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	cheat := -1
	// First round: one validator lodges garbage.
	for again := true; again; {
		again = false
		for _, a := range append([]build.Attempt(nil), f.build(id).Attempts...) {
			if !a.Active() {
				continue
			}
			again = true
			w := f.workerIndex(a.Worker)
			f.must(f.command(f.workers[w], build.TypeStart, &build.LeaseRef{Build: id, Lease: a.Lease(id)}))
			f.must(f.commitCommand(w, id, a.Lease(id), result("right", build.StatusExited)))
			if a.Seat == 2 {
				cheat = w
			}
		}
		f.duties()
	}
	for _, d := range f.state().Openings() {
		if d.Worker != build.AccountID(f.workers[cheat]) {
			f.must(f.openCommand(d))
			continue
		}
		f.refused(build.CodeQuorum, f.vouch(build.TypeMismatch, id, d.Lease, d.Commitment, 1))
		f.refused(build.CodeNoMatch, f.vouch(build.TypeMismatch, id, d.Lease, ID{1}, 2))
		f.must(f.vouch(build.TypeMismatch, id, d.Lease, d.Commitment, 2))
	}
	if b := f.build(id); b.State != build.Recheck {
		t.Fatalf("state %v, want recheck", b.State)
	}
	f.run(id, honest)
	f.deliver(id)
	b := f.build(id)
	if b.Verdict != build.Judged || b.Builder().Slashed {
		t.Fatalf("verdict %v: %s", b.Verdict, b.Reason)
	}
	if got := f.left(0, before); got != prices(8)[1] {
		t.Errorf("the requester paid %v, want the price alone: the slash pays the fees", got)
	}
	f.same()
}

// A winner that only ran into its limit is judged wrong but never slashed: it
// has failed and pays min(R, reference).
func TestTimeoutIsNotSlashed(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	f.run(id, func(w int, a *build.Attempt) (string, build.Status) {
		if w == 0 && a.Round == build.RoundFirst {
			return "", build.StatusTimeout
		}
		return "right", build.StatusExited
	})
	f.deliver(id)
	b := f.build(id)
	reference := b.Terms.Reserve - prices(8)[1]
	if b.Verdict != build.Judged || b.Builder().Slashed || b.Payment != -reference {
		t.Fatalf("verdict %v, slashed %v, payment %v, want −%v", b.Verdict, b.Builder().Slashed, b.Payment, reference)
	}
	// Fees come from escrow here: nobody was slashed. k validators, k+1 rechecks, 5 panel, a, u.
	if got, want := f.left(0, before), (2+3+5+1)*credit+credit/10-reference; got != want {
		t.Errorf("the requester is %v poorer, want %v", got, want)
	}
	f.same()
}

// After the winner's upload lease the others who hold the result are asked in
// seat order, for the upload fee; if nobody delivers the build has failed.
func TestUploaders(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	f.run(id, honest)
	if up := f.state().Assignments(f.build(id).Builder().Worker).Uploads; len(up) != 1 {
		t.Fatalf("the winner is asked for %d uploads", len(up))
	}
	f.tick(5000)
	b := f.build(id)
	if a := b.Attempts[b.Uploader]; a.Seat != 1 {
		t.Fatalf("seat %d is asked next", a.Seat)
	}
	f.deliver(id)
	if got, want := f.left(0, before), prices(8)[1]+2*credit+credit/10+credit; got != want {
		t.Errorf("%v left escrow, want P + kf + a + u = %v", got, want)
	}
	id = f.submit(0, f.terms(build.LaneSpot))
	before = f.balance(build.AccountID(f.requesters[0])) + b.Terms.Budget
	f.auctioned(id, prices(8)...)
	f.run(id, honest)
	for range 3 {
		f.tick(5000) // each holder's lease begins when the one before it lapsed
	}
	b = f.build(id)
	if b.Verdict != build.Failed || b.Payment != 0 {
		t.Fatalf("verdict %v, payment %v", b.Verdict, b.Payment)
	}
	if got, want := f.left(0, before), 2*credit+credit/10; got != want {
		t.Errorf("%v left escrow, want kf + a = %v", got, want)
	}
	f.same()
}

// An auctioneer that lets its deadline pass is replaced by another draw.
func TestSilentAuctioneer(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	s := f.state()
	d := s.Demands()[0]
	f.must(f.command(nil, build.TypeBeacon, &build.Beacon{Purpose: d.Purpose, Build: d.Build, Round: d.Round, Signature: cheapBeacon(d.Message(s.Cluster()))}))
	if len(s.Demands()) != 0 {
		t.Fatal("another draw is demanded at once")
	}
	f.tick(2000)
	again := f.state().Demands()
	if len(again) != 1 || again[0].Purpose != build.PurposeAuctioneer || again[0].Round != d.Round+1 {
		t.Fatalf("demands %v, want the next round of %v", again, d)
	}
	// The old signature no longer counts.
	f.refused(build.CodeStale, f.command(nil, build.TypeBeacon, &build.Beacon{Purpose: d.Purpose, Build: id, Round: d.Round, Signature: cheapBeacon(d.Message(s.Cluster()))}))
	f.refused(build.CodeBadBeacon, f.command(nil, build.TypeBeacon, &build.Beacon{Purpose: d.Purpose, Build: id, Round: d.Round + 1, Signature: [48]byte{1}}))
	f.same()
}

// The draw of seats is demanded only after the winner's commitment, and nothing
// the winner can still do changes it.
func TestCommitmentPrecedesDraw(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	seats := func() build.Command {
		d := Demand{build.PurposeSeats, id, 0}
		return f.command(nil, build.TypeBeacon, &build.Beacon{Purpose: d.Purpose, Build: id, Signature: cheapBeacon(d.Message(f.state().Cluster()))})
	}
	f.refused(build.CodeStale, seats())
	lease := f.build(id).Builder().Lease(id)
	f.must(f.command(f.workers[0], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	f.refused(build.CodeStale, seats())
	first := f.commitCommand(0, id, lease, result("one", build.StatusExited))
	f.must(first)
	f.must(first)
	f.refused(build.CodeStale, f.commitCommand(0, id, lease, result("two", build.StatusExited)))
	f.refused(build.CodeStale, f.command(f.workers[0], build.TypeAbandon, &build.LeaseRef{Build: id, Lease: lease}))
	if len(f.state().Openings()) != 0 {
		t.Error("the winner's opening may be decrypted before the seats have committed")
	}
	f.must(seats())
	f.refused(build.CodeStale, seats())
	for _, a := range f.build(id).Attempts[1:] {
		if a.Domain == f.build(id).Builder().Domain {
			t.Error("the winner validates itself")
		}
	}
	f.same()
}

// A panel seat's lease differs in nothing from a validator's.
func TestPanelLooksLikeValidation(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	var validator, panel *Lease
	f.run(id, func(w int, a *build.Attempt) (string, build.Status) {
		l := f.state().Assignments(a.Worker).Leases
		for i := range l {
			c := l[i]
			c.Lease, c.LeaseUntil, c.BoundUntil = ID{}, 0, 0
			switch {
			case a.Round == build.RoundPanel:
				panel = &c
			case a.Round == build.RoundFirst && a.Seat > 0:
				validator = &c
			}
		}
		if a.Round == build.RoundFirst && a.Seat == 0 {
			return "forged", build.StatusExited
		}
		return "right", build.StatusExited
	})
	if validator == nil || panel == nil || *validator != *panel {
		t.Errorf("a validator sees %+v, a panel seat %+v", validator, panel)
	}
}

// A worker that has won meanwhile is passed over: nobody is engaged beyond its slots.
func TestBusyBidderIsPassedOver(t *testing.T) {
	f, _ := spot(t)
	var ids []ID
	for range 3 {
		ids = append(ids, f.submit(0, f.terms(build.LaneSpot)))
	}
	f.duties()
	nonce := ID{9}
	for _, id := range ids {
		for w, p := range prices(8) {
			a := f.build(id).Auction()
			f.must(f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: id, Auction: a,
				Commitment: build.BidCommitment(f.state().Cluster(), a, build.AccountID(f.workers[w]), p, 1000, ID{}, nonce)}))
		}
	}
	f.tick(300)
	f.duties()
	for _, id := range ids {
		for w, p := range prices(8) {
			f.must(f.command(f.workers[w], build.TypeReveal, &build.Reveal{Build: id, Auction: f.build(id).Auction(), Price: p, FinishMillis: 1000, Nonce: nonce}))
		}
	}
	f.duties()
	won := map[ID]bool{}
	for _, id := range ids {
		w := f.build(id).Builder()
		if w == nil || won[w.Worker] {
			t.Fatalf("build %x: state %v, a worker with one slot won twice", id[:4], f.build(id).State)
		}
		won[w.Worker] = true
	}
	f.same()
}

// Bidders that never open send a build round the queue; what it holds stays bounded.
func TestEndlessAuctions(t *testing.T) {
	f, _ := spot(t)
	busy := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(busy, credit)
	lease := f.build(busy).Builder().Lease(busy)
	id := f.submit(1, f.terms(build.LaneSpot))
	for range 15 {
		f.duties()
		b := f.build(id)
		for w := 1; w < 8; w++ {
			f.must(f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: id, Auction: b.Auction(), Commitment: ID{1}}))
		}
		f.tick(300)
		f.duties()
		for range 11 { // until the reveals are over and the retry is due
			f.must(f.command(f.workers[0], build.TypeHeartbeat, &build.LeaseRef{Build: busy, Lease: lease}))
			f.tick(3000)
		}
		if b := f.build(id); b.State != build.Queued {
			t.Fatalf("state %v", b.State)
		}
	}
	if b := f.build(id); len(b.Used) != 0 || len(b.Transfers) != 1+15*7 {
		t.Errorf("%d ids are remembered, %d transfers recorded", len(b.Used), len(b.Transfers))
	}
	f.same()
}
