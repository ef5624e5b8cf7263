package transcript

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// award is one award of the auction that the build ended in.
type award struct {
	bid       int // index of the winning bid
	attempt   at
	reference escrow.Credits
}

// dispatched says whether the build's turn in the queue had come; ok is false where
// nothing follows from it.
func (j *judge) dispatched() (want, ok bool) {
	_, auctioneer := j.proofs[build.PurposeAuctioneer]
	_, builder := j.proofs[build.PurposeBuilder]
	switch {
	case j.b.Contest != nil, j.t.Pool.Lane == build.LaneBatch, j.b.Posted:
		return false, true
	case auctioneer, builder, len(j.awards) > 0:
		return true, true
	}
	return false, false
}

// allocation holds the way in which the builder was found to the pool's lane.
func (j *judge) allocation() {
	b := j.b
	switch j.t.Pool.Lane {
	case build.LaneSpot, build.LaneLease:
		if b.Posted {
			j.leased()
		} else {
			j.auction()
		}
	case build.LaneHouse, build.LaneLottery:
		j.drawnBuilder()
	case build.LaneBatch:
		j.allotted()
	}
	if j.t.Pool.Lane != build.LaneBatch {
		expect(j, "Build.Allotted", [32]byte{}, b.Allotted)
		expect(j, "Build.Epoch", 0, b.Epoch)
		expect(j, "Build.Priced", false, b.Priced)
		expect(j, "Build.Share", 0, b.Share)
		expect(j, "Build.Seal", 0, b.Seal)
	}
	switch {
	case j.t.Pool.Lane != build.LaneLottery:
		expect(j, "Build.Slot", 0, b.Slot)
	case len(j.attempts.builders) > 0 && b.Slot == 0:
		j.deviate("Build.Slot", "a slot that a ticket won", "0")
	}
	if b.Slot > 0 {
		j.notChecked("that a ticket of the requester's won slot %d: the draws of tickets say so", b.Slot)
	}
	if w := j.attempts.winner; w != nil {
		if domain, ok := j.eligible[w.Worker]; !ok || domain != w.Domain {
			j.deviate(w.field("Worker"), "an eligible worker", show(w.Worker))
		}
	}
}

// unauctioned holds everything that an auction leaves to nothing.
func (j *judge) unauctioned(price escrow.Credits) {
	b := j.b
	expect(j, "Build.Bids", 0, len(b.Bids))
	expect(j, "Build.Penalties", 0, len(b.Penalties))
	expect(j, "Build.BiddingDone", false, b.BiddingDone)
	expect(j, "Build.RevealsDone", false, b.RevealsDone)
	expect(j, "Build.Sigma", [48]byte{}, b.Sigma)
	expect(j, "Build.Auctioneer", [32]byte{}, b.Auctioneer)
	expect(j, "Build.AuctioneerRound", 0, b.AuctioneerRound)
	expect(j, "Build.Winner", 0, b.Winner)
	expect(j, "Build.Reference", 0, b.Reference)
	expect(j, "Build.Price", price, b.Price)
	if j.t.Pool.Lane == build.LaneLease && b.AuctionNumber > 0 {
		return // an earlier auction may have had a winner
	}
	expect(j, "Build.Earner", [32]byte{}, b.Earner)
}

// auction clears the sealed auction again, PROTOCOL 7.2 to 7.4.
func (j *judge) auction() {
	j.bids()
	j.auctioneer()
	j.splitAwards()
	j.clear()
	j.earner()
}

// bids holds every bid to what was sealed.
func (j *judge) bids() {
	b := j.b
	id := wire.NewHasher("auction").Fixed(b.ID).U64(uint64(b.AuctionNumber)).Sum()
	seen := map[[32]byte]bool{}
	for i := range b.Bids {
		bid := &b.Bids[i]
		if seen[bid.Worker] {
			j.deviate(bidField(i, "Worker"), "one bid of each worker", show(bid.Worker))
		}
		seen[bid.Worker] = true
		if domain, ok := j.eligible[bid.Worker]; !ok {
			j.deviate(bidField(i, "Worker"), "an eligible worker", show(bid.Worker))
		} else {
			expect(j, bidField(i, "Domain"), domain, bid.Domain)
		}
		expect(j, bidField(i, "Bond"), [32]byte{}, bid.Bond)
		if !bid.Revealed {
			expect(j, bidField(i, "Price"), 0, bid.Price)
			expect(j, bidField(i, "Finish"), 0, bid.Finish)
			expect(j, bidField(i, "Result"), [32]byte{}, bid.Result)
			expect(j, bidField(i, "Nonce"), [32]byte{}, bid.Nonce)
			continue
		}
		j.between(bidField(i, "Price"), int64(bid.Price), 0, mostAmount)
		if bid.Finish < 0 {
			j.deviatef(bidField(i, "Finish"), "at least 0 ms", "%d", bid.Finish)
		}
		want := wire.NewHasher("bid").Fixed(j.t.Cluster).Fixed(id).Fixed(bid.Worker).I64(int64(bid.Price)).I64(bid.Finish).Fixed(bid.Result).Fixed(bid.Nonce).Sum()
		expect(j, bidField(i, "Commitment"), want, bid.Commitment)
	}
	revealed := j.revealed()
	if len(b.Bids) > 0 && revealed == len(b.Bids) {
		expect(j, "Build.RevealsDone", true, b.RevealsDone)
	}
	if b.RevealsDone || revealed > 0 {
		expect(j, "Build.BiddingDone", true, b.BiddingDone)
	}
	if len(b.Bids) == 0 {
		expect(j, "Build.RevealsDone", false, b.RevealsDone)
	}
	if revealed > 0 {
		j.proven("%d of %d bids were opened, each as it had been sealed", revealed, len(b.Bids))
	}
}

func (j *judge) revealed() (n int) {
	for i := range j.b.Bids {
		if j.b.Bids[i].Revealed {
			n++
		}
	}
	return n
}

// auctioneer makes its draw again: uniform, and one whose operator bids gives way
// to the next coordinator whose does not. Who had bid when it was drawn is not in
// the record, and makes no difference: its operator may not bid later either.
func (j *judge) auctioneer() {
	b := j.b
	seed, made := j.seed(build.PurposeAuctioneer)
	n := len(j.t.Coordinators)
	if !made {
		expect(j, "Build.AuctioneerRound", 0, b.AuctioneerRound)
	}
	if !made || b.Auctioneer == ([32]byte{}) || n == 0 {
		if b.Auctioneer != ([32]byte{}) {
			j.deviate("Build.Auctioneer", "none: it was not drawn", show(b.Auctioneer))
		}
		if len(b.Bids) > 0 && !made {
			j.deviate("Build.Draws", "an auctioneer's", "none, and there are bids")
		}
		return
	}
	first := int(draw.NewStream(seed).Below(uint64(n)))
	want := j.t.Coordinators[first].ID
	for i := range n {
		if m := &j.t.Coordinators[(first+i)%n]; !j.operatorBids(m.Operator) {
			want = m.ID
			break
		}
	}
	expect(j, "Build.Auctioneer", want, b.Auctioneer)
}

func (j *judge) operatorBids(operator string) bool {
	for i := range j.b.Bids {
		if of, ok := j.operators[j.b.Bids[i].Worker]; ok && of == operator {
			return true
		}
	}
	return false
}

// splitAwards tells the awards of the last auction from those of earlier ones: each
// of its defaults left a penalty.
func (j *judge) splitAwards() {
	builders := j.attempts.builders
	n := len(j.b.Penalties)
	if j.attempts.winner != nil {
		n++
	}
	if n > len(builders) {
		j.deviatef("Build.Penalties", fmt.Sprintf("at most %d, one for each award that failed", len(builders)), "%d", len(j.b.Penalties))
		return
	}
	earlier, current := builders[:len(builders)-n], builders[len(builders)-n:]
	if len(earlier) > 0 && j.b.AuctionNumber == 0 {
		j.deviate("Build.Penalties", "one for each award that failed", fmt.Sprint(len(j.b.Penalties)))
	}
	for i, a := range current {
		if i < len(j.b.Penalties) {
			p := &j.b.Penalties[i]
			expect(j, fmt.Sprintf("Build.Penalties[%d].Worker", i), a.Worker, p.Worker)
			expect(j, fmt.Sprintf("Build.Penalties[%d].Hold", i), [32]byte{}, p.Hold)
		}
		bid := slices.IndexFunc(j.b.Bids, func(x build.Bid) bool { return x.Worker == a.Worker })
		if bid < 0 {
			j.deviate(a.field("Worker"), "a worker that bid", show(a.Worker))
			return
		}
		j.awards = append(j.awards, award{bid: bid, attempt: a})
	}
}

// scored is an opened bid with what it is ranked by.
type scored struct {
	index  int
	domain string
	score  escrow.Credits
	tie    [32]byte
	worker [32]byte
}

// ranking are the opened bids, best first: by score, then by lowest
// H("tie" ‖ σ ‖ operator), then by lowest worker.
func (j *judge) ranking() []scored {
	var all []scored
	for i := range j.b.Bids {
		bid := &j.b.Bids[i]
		if !bid.Revealed {
			continue
		}
		operator := wire.NewHasher("operator").Text(j.operators[bid.Worker]).Sum()
		all = append(all, scored{
			index: i, domain: bid.Domain, worker: bid.Worker, score: j.value(bid.Finish) - bid.Price,
			tie: wire.NewHasher("tie").Var(j.b.Sigma[:]).Fixed(operator).Sum(),
		})
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), bytes.Compare(a.tie[:], b.tie[:]), bytes.Compare(a.worker[:], b.worker[:]))
	})
	return all
}

// clear awards again, default by default. Those who rank above a winner were
// passed over; the last time, the record says who. References are the best score
// of another domain among those below, at least 0.
func (j *judge) clear() {
	b := j.b
	_, made := j.seed(build.PurposeAward)
	if p := j.proofs[build.PurposeAward]; made || b.Sigma != ([48]byte{}) {
		expect(j, "Build.Sigma", p.Signature, b.Sigma)
	}
	if made && (!b.RevealsDone || j.revealed() == 0) {
		j.deviate("Build.RevealsDone", "true, with a bid that was opened: the award was drawn", fmt.Sprint(b.RevealsDone))
	}
	if len(j.awards) > 0 && !made {
		j.deviate("Build.Draws", "the draw that breaks ties of the award", "none")
	}
	left := j.ranking()
	skipped, defaulted := map[int]bool{}, map[int]bool{}
	passed := 0
	for n := range j.awards {
		w := &j.awards[n]
		at := slices.IndexFunc(left, func(s scored) bool { return s.index == w.bid })
		if at < 0 {
			j.deviate(w.attempt.field("Worker"), "a bidder that was opened and had not let the build down", show(w.attempt.Worker))
			return
		}
		if left[at].score < 0 {
			j.deviatef(w.attempt.field("Worker"), "a bid at or below what the build is worth", "a score of %v", left[at].score)
		}
		clear(skipped)
		for _, s := range left[:at] {
			skipped[s.index] = true
		}
		passed += at
		for _, s := range left[at+1:] {
			if s.domain != left[at].domain {
				w.reference = max(0, s.score)
				break
			}
		}
		if n < len(b.Penalties) {
			expect(j, fmt.Sprintf("Build.Penalties[%d].Reference", n), w.reference, b.Penalties[n].Reference)
			defaulted[w.bid] = true
			left = slices.Delete(left, at, at+1)
		}
	}
	if made && j.attempts.winner == nil && b.Verdict != build.Cancelled { // nobody was left: all that would have won were passed over
		clear(skipped)
		for _, s := range left {
			if s.score >= 0 {
				skipped[s.index] = true
				passed++
			}
		}
	}
	for i := range b.Bids {
		expect(j, bidField(i, "Skipped"), skipped[i], b.Bids[i].Skipped)
		expect(j, bidField(i, "Defaulted"), defaulted[i], b.Bids[i].Defaulted)
	}
	if passed > 0 {
		j.notChecked("that %d bids which ranked higher were passed over for want of a slot or of stake, at their turn", passed)
	}
	j.winning()
}

// winning holds what is recorded of the award to the last one.
func (j *judge) winning() {
	b := j.b
	if len(j.awards) == 0 {
		expect(j, "Build.Winner", 0, b.Winner)
		expect(j, "Build.Price", 0, b.Price)
		expect(j, "Build.Reference", 0, b.Reference)
		return
	}
	if b.Auctioneer == ([32]byte{}) {
		j.deviate("Build.Auctioneer", "one that made the award", "none")
	}
	w := j.awards[len(j.awards)-1]
	expect(j, "Build.Winner", uint32(w.bid), b.Winner)
	expect(j, "Build.Price", b.Bids[w.bid].Price, b.Price)
	expect(j, "Build.Reference", w.reference, b.Reference)
	if promised := b.Bids[w.bid].Result; promised != ([32]byte{}) && w.attempt.committed() {
		expect(j, w.attempt.field("Commitment"), promised, w.attempt.Commitment)
	}
	j.proven("the auction: the winner has the best score V(finish) − price, and the reference is the best of another domain")
}

// earner is who opened, closed and cleared the first auction with an award.
func (j *judge) earner() {
	b := j.b
	builders := len(j.attempts.builders)
	switch {
	case builders == 0:
		expect(j, "Build.Earner", [32]byte{}, b.Earner)
	case builders == len(j.awards):
		expect(j, "Build.Earner", b.Auctioneer, b.Earner)
	case b.Earner == ([32]byte{}) && len(j.awards) == 0 && j.t.Pool.Lane == build.LaneLease: // leased before, to a worker that let it down
	case !slices.ContainsFunc(j.t.Coordinators, func(m build.Coordinator) bool { return m.ID == b.Earner }):
		j.deviate("Build.Earner", "a coordinator", show(b.Earner))
	default:
		j.notChecked("that %s was the auctioneer of the first award: it was made in an auction before the last", show(b.Earner)[:16])
	}
}
