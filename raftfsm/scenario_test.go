package raftfsm

import (
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// auctioned takes a build to its award; worker i bids prices[i], 0 does not bid.
func (f *farm) auctioned(id ID, prices ...escrow.Credits) {
	f.t.Helper()
	f.duties()
	b := f.build(id)
	if b.State != build.Bidding {
		f.t.Fatalf("the build is %v, want bidding", b.State)
	}
	nonces := map[int]ID{}
	for w, p := range prices {
		if p == 0 {
			continue
		}
		var nonce ID
		seeded{f.rng}.Read(nonce[:])
		nonces[w] = nonce
		f.must(f.command(f.workers[w], build.TypeBid, &build.PlaceBid{Build: id, Auction: b.Auction(),
			Commitment: build.BidCommitment(f.state().Cluster(), b.Auction(), build.AccountID(f.workers[w]), p, 1000, ID{}, nonce)}))
	}
	f.tick(300)
	f.duties()
	for w, nonce := range nonces {
		f.must(f.command(f.workers[w], build.TypeReveal, &build.Reveal{Build: id, Auction: b.Auction(), Price: prices[w], FinishMillis: 1000, Nonce: nonce}))
	}
	f.duties()
}

// run starts and commits every lease of a build; outcome says what a worker gets.
func (f *farm) run(id ID, outcome func(w int, a *build.Attempt) (string, build.Status)) {
	f.t.Helper()
	for again := true; again; {
		again = false
		for _, a := range append([]build.Attempt(nil), f.build(id).Attempts...) {
			if !a.Active() {
				continue
			}
			again = true
			w := f.workerIndex(a.Worker)
			lease := a.Lease(id)
			f.must(f.command(f.workers[w], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
			f.tick(50)
			content, status := outcome(w, &a)
			f.must(f.commitCommand(w, id, lease, result(content, status)))
		}
		f.duties()
		f.open()
		if b := f.build(id); b.State == build.Panel && !b.Panelled {
			f.tick(2000)
			again = true
		}
		again = again || f.build(id).State == build.Recheck || f.build(id).State == build.Panel
	}
}

// deliver stores the outputs that are asked for.
func (f *farm) deliver(id ID) {
	f.t.Helper()
	b := f.build(id)
	f.must(f.vouch(build.TypeStored, id, b.Attempts[b.Uploader].Lease(id), b.Delivered, 2))
}

// left is what the build took from its requester for good.
func (f *farm) left(requester int, before escrow.Credits) escrow.Credits {
	return before - f.balance(build.AccountID(f.requesters[requester]))
}

const credit = escrow.Credits(1_000_000)

func spot(t *testing.T) (*farm, escrow.Credits) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 3, drop: 10_000 * credit, stake: 1_000 * credit, seed: 7})
	return f, f.balance(build.AccountID(f.requesters[0]))
}

func prices(n int) []escrow.Credits {
	var out []escrow.Credits
	for i := range n {
		out = append(out, credit+escrow.Credits(i+1)*credit/10)
	}
	return out
}

func honest(int, *build.Attempt) (string, build.Status) { return "right", build.StatusExited }

// What leaves escrow, DESIGN section 4: agreed P + kf + a.
func TestAgreed(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	b := f.build(id)
	if b.State != build.Awarded || b.Stake != 22*credit {
		t.Fatalf("state %v, stake %v", b.State, b.Stake)
	}
	f.run(id, honest)
	f.deliver(id)
	b = f.build(id)
	if b.State != build.Settled || b.Verdict != build.Agreed {
		t.Fatalf("state %v, verdict %v: %s", b.State, b.Verdict, b.Reason)
	}
	second := prices(8)[1]
	if b.Payment != second {
		t.Errorf("paid %v, want the second price %v", b.Payment, second)
	}
	if got, want := f.left(0, before), second+2*credit+credit/10; got != want {
		t.Errorf("%v left escrow, want %v", got, want)
	}
	f.same()
}

// Forger judged: the slash pays (4k+1)f + a + u, the requester nothing.
func TestForgerJudged(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	treasury := f.balance(f.state().Treasury())
	forger := build.AccountID(f.workers[0])
	had := f.balance(forger)
	f.run(id, func(w int, a *build.Attempt) (string, build.Status) {
		if w == 0 && a.Round == build.RoundFirst {
			return "forged", build.StatusExited
		}
		return "right", build.StatusExited
	})
	f.deliver(id)
	b := f.build(id)
	if b.Verdict != build.Judged || !b.Builder().Slashed {
		t.Fatalf("verdict %v, slashed %v: %s", b.Verdict, b.Builder().Slashed, b.Reason)
	}
	if got := f.left(0, before); got != 0 {
		t.Errorf("the requester paid %v, want nothing", got)
	}
	if got := had - f.balance(forger); got != 22*credit {
		t.Errorf("the forger lost %v, want S = 22", got)
	}
	fees := 9*credit + credit/10 + credit // (4k+1)f + a + u
	if got := f.balance(f.state().Treasury()) - treasury; got != 22*credit-fees {
		t.Errorf("the treasury got %v, want the rest %v", got, 22*credit-fees)
	}
	f.same()
}

// Time-embedding: b + (2k+1)f + a.
func TestTimeEmbedding(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	n := 0
	f.run(id, func(int, *build.Attempt) (string, build.Status) {
		n++
		return string(rune('a' + n)), build.StatusExited
	})
	f.deliver(id)
	b := f.build(id)
	if b.Verdict != build.NonDeterministic {
		t.Fatalf("verdict %v: %s", b.Verdict, b.Reason)
	}
	for i := range b.Attempts {
		if b.Attempts[i].Slashed {
			t.Errorf("attempt %d is slashed", i)
		}
	}
	if got, want := f.left(0, before), prices(8)[0]+5*credit+credit/10; got != want {
		t.Errorf("%v left escrow, want b + (2k+1)f + a = %v", got, want)
	}
	f.same()
}

// Environment-dependent: b + (4k+2)f + a.
func TestEnvironmentDependent(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	panel := 0
	f.run(id, func(w int, a *build.Attempt) (string, build.Status) {
		if a.Round == build.RoundPanel {
			panel++
			return string(rune('A' + panel/2)), build.StatusExited // pairs: no two thirds, not all distinct
		}
		return string(rune('a' + w)), build.StatusExited
	})
	f.deliver(id)
	b := f.build(id)
	if b.Verdict != build.EnvironmentDependent {
		t.Fatalf("verdict %v: %s", b.Verdict, b.Reason)
	}
	if got, want := f.left(0, before), prices(8)[0]+10*credit+credit/10; got != want {
		t.Errorf("%v left escrow, want b + (4k+2)f + a = %v", got, want)
	}
	f.same()
}

// Winner dead before its commitment: the successor's P′ + kf + a; the defaulter
// pays P′ − P to the requester.
func TestWinnerDies(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	dead := build.AccountID(f.workers[0])
	had := f.balance(dead)
	f.tick(5000)
	b := f.build(id)
	if b.State != build.Awarded || b.Builder().Worker != build.AccountID(f.workers[1]) {
		t.Fatalf("state %v, the successor is worker %d", b.State, f.workerIndex(b.Builder().Worker)+1)
	}
	f.run(id, honest)
	f.deliver(id)
	p, succ := prices(8)[1], prices(8)[2]
	if got := had - f.balance(dead); got != succ-p {
		t.Errorf("the defaulter lost %v, want P′ − P = %v", got, succ-p)
	}
	if got, want := f.left(0, before), succ+2*credit+credit/10-(succ-p); got != want {
		t.Errorf("the requester is %v poorer, want %v", got, want)
	}
	f.same()
}

// Nobody bids: nothing is paid.
func TestNobodyBids(t *testing.T) {
	f, before := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	for auctions := 1; f.build(id).State != build.Settled; auctions++ {
		if auctions > 4 {
			t.Fatalf("after %d auctions without a bid the build is %v", auctions-1, f.build(id).State)
		}
		f.auctioned(id)
		f.tick(1000)
	}
	b := f.build(id)
	if b.Verdict != build.NoBids || f.left(0, before) != 0 {
		t.Fatalf("verdict %v, %v left escrow", b.Verdict, f.left(0, before))
	}
	f.same()
}

// Unsampled: P + a.
func TestUnsampled(t *testing.T) {
	f, _ := spot(t)
	seen := map[build.State]int{}
	for range 30 {
		before := f.balance(build.AccountID(f.requesters[0]))
		terms := f.terms(build.LaneSpot)
		terms.SamplePPM = 500_000
		id := f.submit(0, terms)
		f.auctioned(id, prices(8)...)
		f.run(id, honest)
		f.deliver(id)
		b := f.build(id)
		seen[b.Verdict]++
		want := prices(8)[1] + credit/10
		if b.Verdict == build.Agreed {
			want += 2 * credit
		}
		if got := f.left(0, before); got != want {
			t.Fatalf("%v: %v left escrow, want %v", b.Verdict, got, want)
		}
	}
	if seen[build.Unsampled] == 0 || seen[build.Agreed] == 0 || len(seen) != 2 {
		t.Errorf("verdicts at a sampling rate of one half: %v", seen)
	}
	f.same()
}

// A house pool moves no money, draws its builder, and needs no auctioneer.
func TestHouse(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneHouse, workers: 3, replicas: 3, seed: 3})
	id := f.submit(0, f.terms(build.LaneHouse))
	f.duties()
	if b := f.build(id); b.State != build.Awarded || b.Auctioneer != (ID{}) {
		t.Fatalf("state %v, auctioneer %x", b.State, b.Auctioneer)
	}
	first := f.build(id).Builder().Worker
	f.tick(5000)
	if b := f.build(id); b.State != build.Awarded || b.Builder().Worker == first {
		t.Fatalf("state %v after the machine fell silent", b.State)
	}
	// The silent machine says hello again, so that two others can validate.
	f.must(f.command(f.workers[f.workerIndex(first)], build.TypeUpdate, &build.Update{Platforms: []string{"host"}}))
	f.run(id, honest)
	f.deliver(id)
	b := f.build(id)
	if b.Verdict != build.Agreed || len(b.Transfers) != 0 {
		t.Fatalf("verdict %v, %d transfers: %s", b.Verdict, len(b.Transfers), b.Reason)
	}
	f.same()
}

// A silent seat is replaced by the next name of the same permutation, without a
// new draw, and pays min(S, f).
func TestSilentSeat(t *testing.T) {
	f, _ := spot(t)
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	a := f.build(id).Builder()
	lease := a.Lease(id)
	f.must(f.command(f.workers[0], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	f.must(f.commitCommand(0, id, lease, result("right", build.StatusExited)))
	f.duties()
	b := f.build(id)
	names := append([]build.Candidate(nil), b.Names...)
	silent := b.Attempts[1].Worker
	had := f.balance(silent)
	if b.State != build.Drawn || silent != names[0].Worker || b.Attempts[2].Worker != names[1].Worker {
		t.Fatalf("state %v; the seats are not the first names", b.State)
	}
	keep := b.Attempts[2]
	f.tick(3000)
	f.must(f.command(f.workers[f.workerIndex(keep.Worker)], build.TypeHeartbeat, &build.LeaseRef{Build: id, Lease: keep.Lease(id)}))
	f.tick(2000)
	b = f.build(id)
	if len(f.state().Demands()) != 0 {
		t.Errorf("a silent seat brought a new draw: %v", f.state().Demands())
	}
	if got := b.Attempts[3]; got.Worker != names[2].Worker || got.Seat != 1 {
		t.Errorf("the seat went to worker %d, want the third name", f.workerIndex(got.Worker)+1)
	}
	if lost := had - f.balance(silent); lost != credit {
		t.Errorf("the silent seat lost %v, want min(S, f) = 1", lost)
	}
	f.run(id, honest)
	f.deliver(id)
	if v := f.build(id).Verdict; v != build.Agreed {
		t.Errorf("verdict %v", v)
	}
	f.same()
}
