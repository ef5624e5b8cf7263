package build

import (
	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

// conclude ends a build that delivers nothing.
func (b *Build) conclude(e *Env, verdict State, reason string) {
	b.Verdict, b.Reason, b.VerdictAt = verdict, reason, e.Now
	b.Delivers = false
	b.settle(e)
}

// settle moves all money of the build, exactly once, and ends its life. Slashes
// pay this build's fees first and the treasury with the rest; escrow pays what
// is still owed; what is left of escrow returns to the requester.
func (b *Build) settle(e *Env) {
	if b.State == Settled {
		panic("build: broken invariant: settled twice")
	}
	b.dismiss(e)
	if b.awaitsPrice() {
		b.State, b.Deadline, b.ActDeadline = Pricing, 0, 0
		return
	}
	price := b.winnerPayment(e)
	if e.house() {
		price = 0
	}
	dues := b.payFromSlashes(e, b.fees(e))
	var fees escrow.Credits
	for _, d := range dues {
		b.pay(e, d)
		fees += d.amount
	}
	if b.Contest != nil {
		b.settleBond(e, fees)
	}
	b.Payment = price
	if price > 0 && !b.Priced { // an epoch's clearing has quoted its own
		e.quote(QuotePaid, price, 1)
	}
	if a := b.Builder(); a != nil {
		switch {
		case price > 0:
			b.pay(e, due{to: a.Worker, amount: price, purpose: "price"})
		case price < 0:
			owed := min(-price, b.Stake)
			b.Payment = -owed
			b.post(e, &a.Hold, a.Worker, []due{{to: b.Requester, amount: owed, purpose: "failure"}})
		}
	}
	if b.FirstAwardedAt > 0 && b.PriorityCharge > 0 {
		b.pay(e, due{to: e.Treasury, amount: b.PriorityCharge, purpose: "priority"})
		e.quote(QuotePriority, b.PriorityCharge, 1)
	}
	b.closeBooks(e)
}

// closeBooks returns every hold and the rest of escrow, closes it, and lets the
// ledger forget the build's transfers.
func (b *Build) closeBooks(e *Env) {
	for i := range b.Bids {
		b.void(e, &b.Bids[i].Bond)
	}
	b.payPenalties(e, 0)
	for i := range b.Attempts {
		b.void(e, &b.Attempts[i].Hold)
		b.Attempts[i].Lodged = nil
	}
	esc := EscrowID(b.ID)
	a, _ := e.Ledger.Account(esc)
	b.pay(e, due{to: b.Requester, amount: a.Available, purpose: "refund"})
	must(e.Ledger.Close(esc))
	must(e.Ledger.Retire(b.Used...))
	b.Used = nil
	b.State, b.SettledAt = Settled, e.Now
	b.Deadline, b.ActDeadline = 0, 0
}

// fees lists what this build owes beside the price, in the order in which
// slashes pay it: the auctioneer, validators by round and seat, the uploader.
func (b *Build) fees(e *Env) []due {
	if e.house() {
		return nil
	}
	var dues []due
	earner := b.Earner
	if earner == (ID{}) && b.Verdict == Cancelled && len(b.Bids) > 0 {
		earner = b.Auctioneer
	}
	if earner != (ID{}) {
		dues = append(dues, due{to: earner, amount: e.Params.AuctioneerFee, purpose: "auctioneer"})
	}
	slashed := map[ID]bool{}
	for i := range b.Attempts {
		if b.Attempts[i].Slashed {
			slashed[b.Attempts[i].Worker] = true
		}
	}
	for _, round := range []Round{RoundFirst, RoundRecheck, RoundPanel} {
		purpose := map[Round]string{RoundFirst: "validator", RoundRecheck: "recheck", RoundPanel: "panel"}[round]
		for _, a := range b.Round(round) {
			worked := a.State == AttemptOpened || a.State == AttemptCommitted
			paidByPrice := round == RoundFirst && a.Seat == 0
			if worked && !paidByPrice && !slashed[a.Worker] {
				dues = append(dues, due{to: a.Worker, amount: b.seatFee(e.Params, round, a.Seat), purpose: purpose, round: round})
			}
		}
	}
	if b.Delivers {
		if a := &b.Attempts[b.Uploader]; a.Stored && !(a.Round == RoundFirst && a.Seat == 0) {
			dues = append(dues, due{to: a.Worker, amount: e.Params.UploadFee, purpose: "upload"})
		}
	}
	return dues
}

// payFromSlashes lets each slashed hold pay dues, in order, and the treasury
// with what is over. It returns what is still owed.
func (b *Build) payFromSlashes(e *Env, dues []due) []due {
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if !a.Slashed || a.Hold == noHold {
			continue
		}
		left := b.Stake
		var parts []due
		for left > 0 && len(dues) > 0 {
			part := dues[0]
			part.amount = min(part.amount, left)
			parts = append(parts, part)
			left -= part.amount
			if dues[0].amount -= part.amount; dues[0].amount == 0 {
				dues = dues[1:]
			}
		}
		parts = append(parts, due{to: e.Treasury, amount: left, purpose: "slash", round: a.Round})
		b.post(e, &a.Hold, a.Worker, parts)
	}
	return dues
}

// winnerPayment is what the winner earns (or, negative, owes) by the verdict.
func (b *Build) winnerPayment(e *Env) escrow.Credits {
	a := b.Builder()
	if a == nil || a.Slashed || a.State != AttemptOpened || e.house() {
		return 0
	}
	switch b.Verdict {
	case Agreed, Unsampled:
		return b.earned(e, a)
	case Judged:
		if a.Result() == b.Delivered {
			return b.earned(e, a)
		}
		// Judged wrong but not slashed, because a limit was hit: it has failed.
		owed, err := auction.FailurePayment(b.Reference, b.Terms.Reserve)
		must(err)
		return owed
	case NonDeterministic, EnvironmentDependent:
		if b.Delivers && b.sameShape() {
			return b.metered(e, b.Price)
		}
	}
	return 0
}

// earned is V(actual) − reference within [−R, R]. A successor's clock starts
// with its own award: the time its predecessors lost is not its lateness.
func (b *Build) earned(e *Env, a *Attempt) escrow.Credits {
	if b.Posted {
		return b.metered(e, b.Share)
	}
	finish := a.CommittedAt - b.OpenedAt - (b.AwardedAt - b.FirstAwardedAt)
	paid, err := auction.Payment(b.Terms.Value.At(uint64(max(0, finish))), b.Reference, b.Terms.Reserve)
	must(err)
	return paid
}

// sameShape says whether the first results differ in nothing but contents.
func (b *Build) sameShape() bool {
	var shapes []ID
	for _, a := range b.parties() {
		if a.State == AttemptOpened {
			shapes = append(shapes, a.Opening.Summary.Shape)
		}
	}
	for _, s := range shapes {
		if s != shapes[0] {
			return false
		}
	}
	return true
}
