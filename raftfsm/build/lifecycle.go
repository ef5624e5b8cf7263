package build

import "slices"

// The table of transitions. Every state names what leads out of it; a state
// that waits for a coordinator's duty is safe as long as t coordinators live,
// and every other has a deadline in NextDeadline.
//
//	state                input                     next
//	Queued               dispatch, beacon, open    Bidding (house: Awarded)
//	                     deadline                  Expired
//	                     cancel                    Cancelled
//	Bidding              close                     Revealing; without bids NoBids or Queued
//	                     auctioneer's deadline     same state, another draw
//	Revealing            all open, or deadline     beacon, then clear: Awarded or NoBids
//	Awarded              start                     Running
//	                     lease lapses              successor Awarded, or Failed
//	Running              commit                    Committed
//	                     lease lapses              successor Awarded, or Failed
//	Committed            beacon                    Drawn; unsampled: Opening; no names: TooFew
//	Drawn, Validating    seat lapses               next name; none left: TooFew
//	                     all seats committed       Opening
//	Opening              all opened or mismatched  Agreed, Recheck or Unsampled
//	Recheck              all opened or silent      NonDeterministic or Panel
//	Panel                all opened or silent      Judged, NonDeterministic, EnvironmentDependent, Unverified
//	Challenged           beacon                    Panel; too few there: Undecided
//	Panel of a challenge all opened or silent      Upheld, Refuted or Undecided
//	with a result        stored                    Settled; batch: Pricing until the epoch is cleared
//	                     uploader's lease lapses   next holder; none left: Failed
//	all other verdicts   at once                   Settled

// NextDeadline is the farm time at which Expire has something to do; ok is
// false where the build waits for inputs alone.
func (b *Build) NextDeadline() (at int64, ok bool) {
	earliest := func(t int64) {
		if t > 0 && (!ok || t < at) {
			at, ok = t, true
		}
	}
	earliest(b.Deadline)
	earliest(b.ActDeadline)
	if b.State == Queued && !b.Dispatched {
		earliest(b.NotBefore)
	}
	for i := range b.Attempts {
		if a := &b.Attempts[i]; a.Active() {
			earliest(min(a.LeaseUntil, a.BoundUntil))
		}
	}
	if b.State.Delivering() {
		a := &b.Attempts[b.Uploader]
		earliest(min(a.LeaseUntil, a.BoundUntil))
	}
	return at, ok
}

// Expire does what the passing of time demands. Each call does at least one
// thing that is due, and the caller repeats it until nothing is.
func (b *Build) Expire(e *Env) {
	switch {
	case b.Deadline > 0 && b.Deadline <= e.Now:
		b.expireState(e)
	case b.ActDeadline > 0 && b.ActDeadline <= e.Now:
		// The auctioneer let its deadline pass: another is drawn, and it earns nothing.
		b.Auctioneer, b.ActDeadline = ID{}, 0
		b.AuctioneerRound++
	case b.State == Queued && !b.Dispatched && b.NotBefore > 0 && b.NotBefore <= e.Now:
		b.NotBefore = 0
	case b.State.Delivering():
		b.nextUploader(e)
	default:
		for i := range b.Attempts {
			if a := &b.Attempts[i]; a.Active() && min(a.LeaseUntil, a.BoundUntil) <= e.Now {
				b.lapse(e, a)
				return
			}
		}
	}
}

func (b *Build) expireState(e *Env) {
	b.Deadline = 0
	switch b.State {
	case Queued:
		b.conclude(e, Expired, "no award was made before the deadline")
	case Bidding:
		b.BiddingDone = true
		b.arm(e)
	case Revealing:
		b.endReveals(e)
	case Panel:
		b.seatPanel(e)
	}
}

// Cancel withdraws the build before its award: free before the first bid, for
// the auctioneer's fee after it.
func (b *Build) Cancel(e *Env, requester ID) Outcome {
	switch {
	case b.Requester != requester:
		return Refuse(CodeNotAllowed, "only its requester may cancel a build")
	case b.Verdict == Cancelled:
		return Outcome{Subject: b.ID}
	case b.State != Queued && b.State != Bidding && b.State != Revealing:
		return Refuse(CodeWrongState, "the build is %v: it can be cancelled only before its award", b.State)
	case b.Allotted != ID{}:
		return Refuse(CodeWrongState, "the build is allotted to a worker, which is its award: it can no longer be cancelled")
	}
	b.conclude(e, Cancelled, "cancelled by its requester")
	return Outcome{Subject: b.ID}
}

// Dispatch lets a queued build go on to its auction, or its draw. Others are
// those that still wait behind it.
func (b *Build) Dispatch(others []*Build) {
	b.Dispatched = true
	b.chargeBehind(others)
}

// chargeBehind fixes what the build's place in the queue costs, if it is awarded:
// the highest extra still waiting behind it, the generalised second price.
func (b *Build) chargeBehind(others []*Build) {
	b.PriorityCharge = 0
	for _, o := range others {
		if o != b {
			b.PriorityCharge = max(b.PriorityCharge, min(b.Terms.Priority, o.Terms.Priority))
		}
	}
}

// Before orders the queue: the higher extra first, then the earlier submission.
func (b *Build) Before(o *Build) bool {
	if b.Terms.Priority != o.Terms.Priority {
		return b.Terms.Priority > o.Terms.Priority
	}
	return b.Sequence < o.Sequence
}

// Clone copies the record, so that a reader may keep it while the state moves on.
func (b *Build) Clone() *Build {
	c := *b
	c.Terms.Value.Steps = slices.Clone(b.Terms.Value.Steps)
	c.Eligible = slices.Clone(b.Eligible)
	c.Bids = slices.Clone(b.Bids)
	c.Penalties = slices.Clone(b.Penalties)
	c.Names = slices.Clone(b.Names)
	c.Attempts = slices.Clone(b.Attempts)
	c.Draws = slices.Clone(b.Draws)
	c.Terms.Expect = slices.Clone(b.Terms.Expect)
	c.Transfers = slices.Clone(b.Transfers)
	c.Used = slices.Clone(b.Used)
	if b.Contest != nil {
		contest := *b.Contest
		c.Contest = &contest
	}
	return &c
}
