package build

import (
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// New takes a submission: it checks the terms against the farm and moves T + e
// into the build's escrow. Sequence orders submissions.
func New(e *Env, requester ID, operator string, request [16]byte, t *Terms, sequence uint64) (*Build, Outcome) {
	if out := Acceptable(e, requester, operator, t); out.Code != Done {
		return nil, out
	}
	b := &Build{
		ID: BuildID(e.Cluster, requester, request, t), Requester: requester, Operator: operator, Request: request,
		Terms: *t, Sequence: sequence, State: Queued, SubmittedAt: e.Now, Deadline: t.DeadlineMillis,
	}
	b.lockEscrow(e)
	return b, Outcome{Subject: b.ID}
}

// lockEscrow moves T + e into an escrow of the build's own.
func (b *Build) lockEscrow(e *Env) {
	esc := EscrowID(b.ID)
	must(e.Ledger.Open(esc, escrow.Escrow, ""))
	if amount := b.Terms.Budget + b.Terms.Priority; amount > 0 {
		d := due{to: esc, amount: amount, purpose: "escrow"}
		id := b.record(e, b.Requester, d)
		must(e.Ledger.Transfer(id, b.Requester, esc, amount))
		must(e.Ledger.Retire(id)) // the build's own record keeps it from being made twice
	}
}

// Acceptable says whether a submission would be taken, and if not, why.
func Acceptable(e *Env, requester ID, operator string, t *Terms) Outcome {
	if err := t.Validate(e.Params, e.Pool); err != nil {
		return Refuse(CodeRefused, "%v", err)
	}
	if t.DeadlineMillis <= e.Now || t.DeadlineMillis > e.Now+e.Params.MaxDeadlineMillis {
		return Refuse(CodeStale, "the deadline is %d ms of farm time away, want 1 to %d", t.DeadlineMillis-e.Now, e.Params.MaxDeadlineMillis)
	}
	if e.Pool.Lane == LaneBatch && t.DeadlineMillis < e.Now+e.Pool.Batch.EpochMillis {
		return Refuse(CodeRefused, "the deadline is %d ms ahead, an epoch of pool %q takes %d: give the build at least that long", t.DeadlineMillis-e.Now, e.Pool.Name, e.Pool.Batch.EpochMillis)
	}
	a, ok := e.Ledger.Account(requester)
	if !ok {
		return Refuse(CodeUnknownAccount, "the requester has no account")
	}
	if need := t.Budget + t.Priority; a.Available < need {
		return Refuse(CodeFunds, "the balance of %s credits does not cover the %s that this build may cost (maximum price %s, the rest fees): lower --max-price or have the account funded", a.Available, need, t.Reserve)
	}
	_, out := e.Field(t, requester, operator, e.wholeStake)
	return out
}

// Demand is a beacon signature that the build's state asks for: on
// H("draw" ‖ cluster ‖ purpose ‖ build ‖ round).
type Demand struct {
	Purpose string
	Round   uint64
}

// The purposes of the beacon.
const (
	PurposeAuctioneer = "auctioneer"
	PurposeAward      = "award"
	PurposeBuilder    = "builder"
	PurposeSample     = "sample"
	PurposeSeats      = "seats"
)

// Demand returns the signature that must be made now, if any. Builds of a batch
// pool ask for none: they share their market's.
func (b *Build) Demand(lane Lane) (Demand, bool) {
	number := uint64(b.AuctionNumber) << 32
	switch {
	case b.State == Queued && b.Dispatched && lane.Draws():
		return Demand{PurposeBuilder, number}, true
	case b.wantsAuctioneer() && b.Auctioneer == (ID{}):
		return Demand{PurposeAuctioneer, number | uint64(b.AuctioneerRound)}, true
	case b.State == Revealing && b.RevealsDone && b.Sigma == ([48]byte{}):
		return Demand{PurposeAward, number}, true
	case b.State == Challenged:
		return Demand{PurposePanel, 0}, true
	case lane == LaneBatch:
		return Demand{}, false
	case b.State == Committed && b.Terms.SamplePPM < draw.PPM && b.Sampling == 0:
		return Demand{PurposeSample, 0}, true
	case b.State == Committed:
		return Demand{PurposeSeats, 0}, true
	}
	return Demand{}, false
}

func (b *Build) wantsAuctioneer() bool {
	return b.State == Queued && b.Dispatched || b.State == Bidding || b.State == Revealing
}

// Drawn applies the signature that Demand asked for; the caller has verified
// it. Seed is its SHA-256.
func (b *Build) Drawn(e *Env, d Demand, signature [48]byte, seed [32]byte) {
	b.proven(b.ID, d, signature)
	switch d.Purpose {
	case PurposeAuctioneer:
		b.Auctioneer = b.drawAuctioneer(e, seed)
	case PurposeAward:
		b.Sigma = signature
	case PurposeBuilder:
		b.drawBuilder(e, seed)
	case PurposeSample:
		b.sample(seed)
	case PurposeSeats:
		b.drawSeats(e, seed)
	case PurposePanel:
		b.drawPanel(e, seed)
	}
	b.arm(e)
}

// drawAuctioneer picks uniformly; one whose operator has bid already gives way
// to the next coordinator whose has not.
func (b *Build) drawAuctioneer(e *Env, seed [32]byte) ID {
	n := len(e.Coordinators)
	first := int(draw.NewStream(seed).Below(uint64(n)))
	for i := range n {
		m := &e.Coordinators[(first+i)%n]
		bids := false
		for j := range b.Bids {
			w := e.Worker(b.Bids[j].Worker)
			bids = bids || w != nil && w.Operator == m.Operator
		}
		if !bids {
			return m.ID
		}
	}
	return e.Coordinators[first].ID
}

// Act returns what the auctioneer must do now, if anything.
func (b *Build) Act() (Act, bool) {
	switch {
	case b.Auctioneer == (ID{}):
		return 0, false
	case b.State == Queued && b.Dispatched:
		return ActOpen, true
	case b.State == Bidding && b.BiddingDone:
		return ActClose, true
	case b.State == Revealing && b.RevealsDone && b.Sigma != [48]byte{}:
		return ActClear, true
	}
	return 0, false
}

// arm starts the auctioneer's clock when an act becomes due, and stops it.
func (b *Build) arm(e *Env) {
	_, due := b.Act()
	switch {
	case !due:
		b.ActDeadline = 0
	case b.ActDeadline == 0:
		b.ActDeadline = e.Now + e.Params.AuctioneerMillis
	}
}

// Perform carries out an auctioneer's act.
func (b *Build) Perform(e *Env, coordinator ID, m *Auctioneer) Outcome {
	act, due := b.Act()
	if !due || act != m.Act || b.Auction() != m.Auction {
		return Refuse(CodeWrongState, "auction is not waiting to %v", m.Act)
	}
	if b.Auctioneer != coordinator {
		return Refuse(CodeNotAllowed, "another coordinator was drawn as auctioneer")
	}
	b.ActDeadline = 0
	switch act {
	case ActOpen:
		b.open(e)
	case ActClose:
		b.close(e)
	case ActClear:
		b.award(e)
	}
	b.arm(e)
	return Outcome{Subject: b.ID}
}

// open fixes the eligible set and S, and starts the bidding.
func (b *Build) open(e *Env) {
	f, out := e.Field(&b.Terms, b.Requester, b.Operator, e.FreeStake)
	if out.Code != Done {
		b.requeue(e)
		return
	}
	b.Eligible, b.Domains, b.Stake = f.Eligible, uint32(f.Domains), f.Stake
	b.State, b.OpenedAt, b.Deadline = Bidding, e.Now, e.Now+e.Params.BiddingMillis
}

// requeue sends the build back to wait for its next auction. What the ledger had
// to remember of this one is over; and a build whose bidders never open cannot
// go on for ever.
func (b *Build) requeue(e *Env) {
	for i := range b.Bids {
		b.void(e, &b.Bids[i].Bond)
	}
	b.payPenalties(e, 0)
	b.Penalties = nil
	if len(b.Transfers)+2*MaxWorkers > MaxTransfers || len(b.Attempts)+MaxWorkers > MaxAttempts {
		b.conclude(e, NoBids, "too many auctions ended without a worker that keeps its promise")
		return
	}
	must(e.Ledger.Retire(b.Used...))
	b.Used = nil
	b.State, b.Deadline = Queued, b.Terms.DeadlineMillis
	b.Dispatched, b.NotBefore = false, e.Now+e.Params.RetryMillis
	b.AuctionNumber++
	b.Auctioneer, b.AuctioneerRound, b.ActDeadline = ID{}, 0, 0
	b.Bids, b.BiddingDone, b.RevealsDone, b.Sigma = nil, false, false, [48]byte{}
	b.Posted, b.Allotted, b.Epoch, b.Priced, b.Share = false, ID{}, 0, false, 0
	b.Winner, b.Price, b.Reference = 0, 0, 0
	b.Draws = nil
}

// appoint gives a build to a worker without an auction, at a price that the lane
// sets. Where that cannot be now it changes nothing; able says whether waiting
// may help: not where the worker is none of those who may serve the build.
func (b *Build) appoint(e *Env, worker ID, price escrow.Credits) (begun, able bool) {
	f := e.kindField(b)
	if !f.ok {
		return false, true
	}
	domain, ok := f.has(worker)
	if !ok {
		return false, false
	}
	before := b.Stake
	b.Stake = f.Stake
	hold, ok := b.hold(e, worker, uint64(len(b.Attempts))<<32|uint64(b.AuctionNumber), "builder")
	if !ok {
		b.Stake = before
		return false, true
	}
	b.Eligible, b.Domains, b.Posted, b.Price = slices.Clone(f.Eligible), uint32(f.Domains), true, price
	if b.OpenedAt == 0 {
		b.OpenedAt = e.Now
	}
	b.engageWinner(e, worker, domain, hold)
	return true, true
}

// Bid takes a sealed bid and its bond of S.
func (b *Build) Bid(e *Env, worker *Worker, m *PlaceBid) Outcome {
	if b.State != Bidding || b.BiddingDone || e.Now >= b.Deadline || b.Auction() != m.Auction {
		return Refuse(CodeWrongState, "the auction takes no bids now")
	}
	for i := range b.Bids {
		if b.Bids[i].Worker == worker.ID {
			if b.Bids[i].Commitment == m.Commitment {
				return Outcome{Subject: m.Auction}
			}
			return Refuse(CodeExists, "this worker has already bid")
		}
	}
	domain, ok := b.eligible(worker.ID)
	if !ok {
		return Refuse(CodeNotAllowed, "this worker was not eligible when bidding opened")
	}
	for i := range e.Coordinators {
		if e.Coordinators[i].ID == b.Auctioneer && e.Coordinators[i].Operator == worker.Operator {
			return Refuse(CodeNotAllowed, "the auctioneer's operator may not bid")
		}
	}
	bond, ok := b.hold(e, worker.ID, uint64(b.AuctionNumber), "bond")
	if !ok {
		return Refuse(CodeStakeShort, "a bond of %s credits is needed and the free stake is %s", b.Stake, e.FreeStake(worker))
	}
	b.Bids = append(b.Bids, Bid{Worker: worker.ID, Domain: domain, Commitment: m.Commitment, Bond: bond})
	return Outcome{Subject: m.Auction}
}

func (b *Build) eligible(worker ID) (domain string, ok bool) {
	for i := range b.Eligible {
		if b.Eligible[i].Worker == worker {
			return b.Eligible[i].Domain, true
		}
	}
	return "", false
}

// close ends the bidding.
func (b *Build) close(e *Env) {
	if len(b.Bids) == 0 {
		b.noBids(e, "nobody bid")
		return
	}
	b.State, b.Deadline = Revealing, e.Now+e.Params.RevealMillis
}

// quietAuctions is how many auctions without a single bid end a build: a window
// is short, and a machine under load may miss one.
const quietAuctions = 4

// noBids ends an auction without an award: back to the queue while an eligible
// worker is busy, or nobody was quick enough a few times; otherwise the end.
func (b *Build) noBids(e *Env, why string) {
	if len(b.Bids) == 0 && b.AuctionNumber+1 < quietAuctions {
		b.requeue(e)
		return
	}
	for i := range b.Eligible {
		if w := e.Worker(b.Eligible[i].Worker); w != nil && w.Engaged > 0 {
			b.requeue(e)
			return
		}
	}
	b.conclude(e, NoBids, why)
}

// Reveal opens a sealed bid. One that does not match is refused; the bond is
// lost if nothing better comes before the deadline.
func (b *Build) Reveal(e *Env, worker ID, m *Reveal) Outcome {
	if b.State != Revealing || b.Auction() != m.Auction {
		return Refuse(CodeWrongState, "the auction opens no bids now")
	}
	var bid *Bid
	for i := range b.Bids {
		if b.Bids[i].Worker == worker {
			bid = &b.Bids[i]
		}
	}
	if bid == nil {
		return Refuse(CodeNotAllowed, "this worker has not bid")
	}
	if BidCommitment(e.Cluster, m.Auction, worker, m.Price, m.FinishMillis, m.Result, m.Nonce) != bid.Commitment {
		return Refuse(CodeNoMatch, "the opening does not match the commitment")
	}
	if bid.Revealed {
		return Outcome{Subject: m.Auction}
	}
	if b.RevealsDone {
		return Refuse(CodeStale, "the time to open bids is over")
	}
	if m.Price < 0 || m.Price > maxAmount || m.FinishMillis < 0 {
		return Refuse(CodeMalformed, "a price of %s or a finish of %d ms is out of range", m.Price, m.FinishMillis)
	}
	bid.Revealed, bid.Price, bid.Finish, bid.Result, bid.Nonce = true, m.Price, m.FinishMillis, m.Result, m.Nonce
	for i := range b.Bids {
		if !b.Bids[i].Revealed {
			return Outcome{Subject: m.Auction}
		}
	}
	b.endReveals(e)
	return Outcome{Subject: m.Auction}
}

// endReveals takes the bonds of those who did not open; the beacon that breaks
// ties is demanded next.
func (b *Build) endReveals(e *Env) {
	b.RevealsDone, b.Deadline = true, 0
	opened := 0
	for i := range b.Bids {
		bid := &b.Bids[i]
		if bid.Revealed {
			opened++
			continue
		}
		b.post(e, &bid.Bond, bid.Worker, []due{{to: e.Treasury, amount: b.Stake, purpose: "forfeit"}})
	}
	if opened == 0 {
		b.noBids(e, "no bid was opened in time")
	}
}

// standing returns the opened bids that may still win, as the auction's own type.
func (b *Build) standing(e *Env) []auction.Bid {
	var bids []auction.Bid
	for i := range b.Bids {
		bid := &b.Bids[i]
		if !bid.Revealed || bid.Defaulted || bid.Skipped {
			continue
		}
		var operator string
		if w := e.Worker(bid.Worker); w != nil {
			operator = w.Operator
		}
		bids = append(bids, auction.Bid{
			Worker: bid.Worker, Operator: wire.NewHasher("operator").Text(operator).Sum(), Domain: bid.Domain,
			Price: bid.Price, FinishMillis: uint64(bid.Finish),
		})
	}
	return bids
}

// award clears the auction among the standing bids and engages the winner. A
// bidder that no longer has S free, or that won another auction meanwhile and has
// no slot left, is skipped, and references are computed without it. Penalties of those who defaulted before are now known and paid.
func (b *Build) award(e *Env) {
	for i := range b.Bids {
		b.Bids[i].Skipped = false
	}
	busy := false
	for {
		outcome, err := auction.Clear(b.standing(e), b.Terms.Value, b.Sigma[:])
		must(err)
		winner, ok := outcome.Winner()
		if !ok {
			b.unawarded(e, busy)
			return
		}
		index := b.bidOf(winner.Worker)
		bid := &b.Bids[index]
		if w := e.Worker(bid.Worker); w == nil || !w.Idle() || !w.Serves(b.Requester) {
			bid.Skipped, busy = true, busy || w != nil && !w.Absent
			continue
		}
		if bid.Bond == (escrow.TransferID{}) {
			if bid.Bond, ok = b.hold(e, bid.Worker, uint64(b.AuctionNumber)<<32|uint64(len(b.Penalties))+1<<48, "bond"); !ok {
				bid.Skipped = true
				continue
			}
		}
		b.Winner, b.Price, b.Reference = uint32(index), bid.Price, outcome.Reference
		b.payPenalties(e, outcome.Reference)
		e.quote(QuoteBestBid, bid.Price, 1)
		b.engageWinner(e, bid.Worker, bid.Domain, bid.Bond)
		for i := range b.Bids {
			if i != index {
				b.void(e, &b.Bids[i].Bond)
			}
		}
		bid.Bond = escrow.TransferID{} // it lives on as the attempt's hold
		return
	}
}

func (b *Build) bidOf(worker ID) int {
	for i := range b.Bids {
		if b.Bids[i].Worker == worker {
			return i
		}
	}
	panic("build: broken invariant: the winner has not bid")
}

// unawarded ends the auction where no bid is left that beats the empty solution:
// back to the queue if one did whose bidder is only busy.
func (b *Build) unawarded(e *Env, busy bool) {
	if busy {
		b.requeue(e)
		return
	}
	for i := range b.Bids {
		b.void(e, &b.Bids[i].Bond)
	}
	if len(b.Penalties) > 0 {
		b.payPenalties(e, 0)
		b.conclude(e, Failed, "every worker that could have built it gave up")
		return
	}
	b.conclude(e, NoBids, "no bid was at or below what the build is worth")
}

// payPenalties charges each defaulter what its successor costs more: the
// difference of the references under which they were awarded, at most S.
func (b *Build) payPenalties(e *Env, reference escrow.Credits) {
	for i := range b.Penalties {
		p := &b.Penalties[i]
		if p.Hold == (escrow.TransferID{}) {
			continue
		}
		more := max(0, p.Reference-reference)
		b.post(e, &p.Hold, p.Worker, []due{{to: b.Requester, amount: min(b.Stake, more), purpose: "default"}})
	}
}

// engageWinner gives the winner its lease.
func (b *Build) engageWinner(e *Env, worker ID, domain string, hold escrow.TransferID) {
	b.State, b.AwardedAt, b.Deadline = Awarded, e.Now, 0
	if b.FirstAwardedAt == 0 || b.FirstAwardedAt < b.OpenedAt { // an award before this auction opened says nothing of its clock
		b.FirstAwardedAt = e.Now
	}
	if b.Earner == (ID{}) {
		b.Earner = b.Auctioneer
	}
	b.assign(e, RoundFirst, 0, Candidate{Domain: domain, Worker: worker}, hold)
}
