package transcript

import (
	"fmt"

	"gavel/raftfsm/build"
)

// leased holds a build that went to a worker which its requester had leased.
func (j *judge) leased() {
	j.unauctioned(0)
	expect(j, "Build.PriorityCharge", 0, j.b.PriorityCharge)
	j.posted()
	for _, purpose := range []string{build.PurposeAuctioneer, build.PurposeAward} {
		if _, made := j.proofs[purpose]; made {
			j.deviate("Build.Draws", "none of an auction: the build went to a leased worker", show(purpose))
		}
	}
	j.notChecked("that the worker was leased to the requester at the time: the market's records say so")
}

// posted holds the builder of a lane that sets the price: one that lets the build
// down sends it back to the queue, so that only the last can have kept it.
func (j *judge) posted() {
	builders := j.attempts.builders
	if j.attempts.winner == nil {
		j.deviate("Build.Posted", "false: nobody holds the build", "true")
	}
	if len(builders) > 1 && j.b.AuctionNumber == 0 {
		j.deviatef("Build.AuctionNumber", "one more for each builder that let the build down", "%d after %d builders", j.b.AuctionNumber, len(builders))
	}
}

// drawnBuilder holds the builder of a house or lottery pool to its draw: the first
// of the permutation that was idle and had not let the build down.
func (j *judge) drawnBuilder() {
	b := j.b
	j.unauctioned(0)
	expect(j, "Build.Posted", false, b.Posted)
	seed, made := j.seed(build.PurposeBuilder)
	builders := j.attempts.builders
	if !made {
		if j.attempts.winner != nil || b.AuctionNumber == 0 && len(builders) > 0 {
			j.deviate("Build.Draws", "the builder's draw", "none")
		}
		return
	}
	order := names(seed, b.Eligible)
	first := 0 // of the builders that this draw found: earlier draws found the others
	if b.AuctionNumber > 0 {
		first = max(0, len(builders)-1)
		if first > 0 {
			j.notChecked("where the %d builders before the last stood: some were found by earlier draws", first)
		}
	}
	last := -1
	tried := map[[32]byte]bool{}
	for i, a := range builders {
		if tried[a.Worker] {
			j.deviate(a.field("Worker"), "one that had not let the build down before", show(a.Worker))
		}
		tried[a.Worker] = true
		if i < first {
			continue
		}
		at := place(order, a.Attempt)
		if at <= last {
			j.deviate(a.field("Worker"), fmt.Sprintf("a name of the permutation after place %d", last), fmt.Sprintf("%s, place %d", show(a.Worker), at))
		}
		last = max(at, last)
	}
	if len(builders) == 0 {
		j.deviate("Build.Draws", "no draw of a builder that nobody followed from", show(build.PurposeBuilder))
	}
	if _, redrawn := j.seed(build.PurposeSeats); !redrawn {
		j.expectNames(order)
		expect(j, "Build.NextName", uint32(last+1), b.NextName)
	}
	if skipped := last + 1 - len(builders) + first; skipped > 0 {
		j.notChecked("that %d names before the builder's were busy, away or without stake at their turn", skipped)
	}
	if j.attempts.winner == nil { // it failed only if nobody was left to try
		for _, c := range b.Eligible {
			if !tried[c.Worker] {
				j.deviate("Build.Attempts", "every eligible worker tried before the build fails", show(c.Worker)+" was not")
				break
			}
		}
	}
	j.proven("the builder stands in the permutation that the draw makes of the eligible domains")
}

// stale says whether a permutation may be left of a draw whose signature the
// record no longer has.
func (j *judge) stale() bool {
	_, builder := j.seed(build.PurposeBuilder)
	_, seats := j.seed(build.PurposeSeats)
	return j.drawLane() && j.b.AuctionNumber > 0 && !builder && !seats
}

// allotted holds a build of a batch pool to what an epoch gives. What it was given
// to, and the price, follow from the whole epoch.
func (j *judge) allotted() {
	b := j.b
	ask := b.Price
	j.unauctioned(ask)
	if b.Allotted == ([32]byte{}) {
		expect(j, "Build.Epoch", 0, b.Epoch)
		expect(j, "Build.Price", 0, b.Price)
		expect(j, "Build.Share", 0, b.Share)
		expect(j, "Build.Priced", false, b.Priced)
		expect(j, "Build.Posted", false, b.Posted)
		if j.attempts.winner != nil {
			j.deviate("Build.Allotted", "the builder: "+show(j.attempts.winner.Worker), "nobody")
		}
		return
	}
	if b.Epoch == 0 {
		j.deviate("Build.Epoch", "the epoch that allotted the build", "0")
	}
	j.between("Build.Price", int64(b.Price), 0, int64(j.t.Pool.Batch.Reserve))
	expect(j, "Build.Posted", j.attempts.winner != nil, b.Posted)
	if w := j.attempts.winner; w != nil {
		expect(j, "Build.Allotted", w.Worker, b.Allotted)
		expect(j, "Build.Priced", true, b.Priced)
		if b.Seal == 0 {
			j.deviate("Build.Seal", "the seal that drew its seats", "0")
		}
		j.posted()
	} else {
		expect(j, "Build.Seal", 0, b.Seal)
	}
	if b.Priced {
		j.between("Build.Share", int64(b.Share), int64(b.Price), int64(max(b.Price, j.t.Pool.Batch.Reserve)))
	} else {
		expect(j, "Build.Share", 0, b.Share)
	}
	j.notChecked("that the build went to the cheapest ask, and the share of %v that the clearing of epoch %d pays: they follow from all asks and builds of the epoch", b.Share, b.Epoch)
}

// earlier is what the record no longer has the evidence of.
func (j *judge) earlier() {
	if n := j.b.AuctionNumber; n > 0 {
		j.notChecked("the %d auctions or draws before the last: the record keeps what they moved, not what was bid", n)
	}
}

// drawLane says that the pool's builders are drawn and nothing is bid.
func (j *judge) drawLane() bool {
	return j.t.Pool.Lane == build.LaneHouse || j.t.Pool.Lane == build.LaneLottery
}
