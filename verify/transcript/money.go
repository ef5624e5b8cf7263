package transcript

import (
	"fmt"
	"math/big"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// movement is a transfer that the rules demand.
type movement struct {
	purpose  string
	from, to [32]byte
	amount   escrow.Credits
	round    build.Round
}

// money recomputes every transfer, PROTOCOL section 9.
func (j *judge) money() {
	b := j.b
	priority := int64(b.Terms.Priority)
	j.between("Build.PriorityCharge", int64(b.PriorityCharge), 0, max(0, priority))
	if b.PriorityCharge > 0 {
		j.notChecked("the charge of %v for the build's place in the queue: it depends on who waited behind it", b.PriorityCharge)
	}
	price := j.payment()
	expect(j, "Build.Payment", price, b.Payment)
	first := j.intoEscrow()
	last := j.settlement(price)
	last = j.reimbursed(last)
	early, settlement := j.split(len(first), len(last))
	j.compare("Build.Transfers", 0, first, b.Transfers[:min(len(first), len(b.Transfers))])
	j.compare("Build.Transfers", len(b.Transfers)-len(settlement), last, settlement)
	j.fines(len(first), early)
	j.balance()
	if len(b.Transfers) > 0 {
		j.proven("all %d transfers: purpose, accounts and amounts; what went into escrow left it", len(b.Transfers))
	}
}

// intoEscrow is what goes into escrow at submission: T + e.
func (j *judge) intoEscrow() []movement {
	t := &j.b.Terms
	if t.Budget+t.Priority == 0 {
		return nil
	}
	return []movement{{"escrow", j.b.Requester, j.escrow, t.Budget + t.Priority, 0}}
}

// split tells what was moved while the build lived from what its settlement moved.
func (j *judge) split(first, last int) (early, settlement []build.Transfer) {
	all := j.b.Transfers
	first = min(first, len(all))
	at := max(first, len(all)-last)
	return all[first:at], all[at:]
}

// compare holds transfers to those demanded, one by one.
func (j *judge) compare(field string, at int, want []movement, got []build.Transfer) {
	if len(want) > len(got) {
		for _, m := range want[len(got):] {
			j.deviate(field, describe(m), "no such transfer")
		}
		want = want[:len(got)]
	}
	for i, m := range want {
		j.transfer(fmt.Sprintf("%s[%d]", field, at+i), m, &got[i])
	}
}

// transfer holds one transfer to the one demanded, its id included:
// H("transfer" ‖ cluster ‖ build ‖ round ‖ purpose ‖ from ‖ to).
func (j *judge) transfer(field string, m movement, t *build.Transfer) {
	expect(j, field+".Purpose", m.purpose, t.Purpose)
	expect(j, field+".From", m.from, t.From)
	expect(j, field+".To", m.to, t.To)
	expect(j, field+".Amount", m.amount, t.Amount)
	expect(j, field+".ID", j.transferID(m), t.ID)
}

func (j *judge) transferID(m movement) [32]byte {
	return wire.NewHasher("transfer").Fixed(j.t.Cluster).Fixed(j.b.ID).U64(uint64(m.round)).Text(m.purpose).Fixed(m.from).Fixed(m.to).Sum()
}

func describe(m movement) string {
	return fmt.Sprintf("%s of %v from %s to %s", m.purpose, m.amount, show(m.from)[:16], show(m.to)[:16])
}

// fee is what an attempt earns its author: f for each build it takes in any case.
func (j *judge) fee(a at) escrow.Credits {
	if j.b.Terms.Vary != 0 && a.Round != build.RoundRecheck && a.Seat != 0 {
		return 2 * j.t.Params.ValidatorFee
	}
	return j.t.Params.ValidatorFee
}

// fees are what the build owes beside the price, in the order in which slashes pay
// it: the auctioneer, validators, rechecks, the panel, the uploader.
func (j *judge) fees() []movement {
	b := j.b
	if j.house {
		return nil
	}
	var dues []movement
	earner := b.Earner
	if earner == ([32]byte{}) && b.Verdict == build.Cancelled && len(b.Bids) > 0 {
		earner = b.Auctioneer
	}
	if earner != ([32]byte{}) {
		dues = append(dues, movement{"auctioneer", j.escrow, earner, j.t.Params.AuctioneerFee, 0})
	}
	slashed := map[[32]byte]bool{}
	for i := range j.ending.slashed {
		slashed[b.Attempts[i].Worker] = true
	}
	for _, kind := range []struct {
		purpose  string
		attempts []at
	}{{"validator", j.attempts.seats}, {"recheck", j.attempts.rechecks}, {"panel", j.attempts.panel}} {
		for _, a := range kind.attempts {
			if (a.opened() || a.State == build.AttemptCommitted) && !slashed[a.Worker] {
				dues = append(dues, movement{kind.purpose, j.escrow, a.Worker, j.fee(a), a.Round})
			}
		}
	}
	if j.ending.delivers && int64(b.Uploader) < int64(len(b.Attempts)) {
		if w := j.attempts.winner; w == nil || w.index != int(b.Uploader) {
			dues = append(dues, movement{"upload", j.escrow, b.Attempts[b.Uploader].Worker, j.t.Params.UploadFee, 0})
		}
	}
	return dues
}

// settlement is what the end of the build moves, in order: slashes pay fees first
// and the treasury with the rest, escrow pays what is still owed, then the price
// or the winner's debt, the place in the queue, and the rest returns.
func (j *judge) settlement(price escrow.Credits) []movement {
	b := j.b
	var out []movement
	move := func(m movement) {
		if m.amount != 0 {
			out = append(out, m)
		}
	}
	dues := j.fees()
	for i := range b.Attempts {
		if !j.ending.slashed[i] || j.house {
			continue
		}
		a, left := &b.Attempts[i], b.Stake
		for k := range dues {
			part := dues[k]
			part.from, part.amount = a.Worker, min(part.amount, left)
			move(part)
			dues[k].amount -= part.amount
			left -= part.amount
		}
		move(movement{"slash", a.Worker, j.treasury, left, a.Round})
	}
	rest := b.Terms.Budget + b.Terms.Priority
	pay := func(m movement) {
		move(m)
		rest -= m.amount
	}
	for _, d := range dues {
		pay(d)
	}
	if b.Verdict == build.Upheld && b.Contest != nil {
		pay(movement{"challenge", j.escrow, j.treasury, b.Contest.Bond, 0})
	}
	if w := j.attempts.winner; w != nil {
		if price > 0 {
			pay(movement{"price", j.escrow, w.Worker, price, 0})
		} else {
			move(movement{"failure", w.Worker, b.Requester, -price, 0})
		}
	}
	if b.FirstAwardedAt > 0 {
		pay(movement{"priority", j.escrow, j.treasury, b.PriorityCharge, 0})
	}
	move(movement{"refund", j.escrow, b.Requester, rest, 0})
	return out
}

// payment is what the winner earns or, below zero, owes.
func (j *judge) payment() escrow.Credits {
	w, b := j.attempts.winner, j.b
	if w == nil || j.house || !w.opened() || j.ending.slashed[w.index] {
		return 0
	}
	switch j.ending.verdict {
	case build.Agreed, build.Unsampled:
		return j.debt(j.earned(*w))
	case build.Judged:
		if w.result() == j.ending.result {
			return j.debt(j.earned(*w))
		}
		return j.debt(-min(b.Terms.Reserve, max(0, b.Reference))) // a limit was hit: it has failed
	case build.NonDeterministic, build.EnvironmentDependent:
		if j.ending.delivers && j.sameShape() {
			return j.metered(b.Price)
		}
	}
	return 0
}

// debt holds what a winner owes to its stake.
func (j *judge) debt(price escrow.Credits) escrow.Credits { return max(price, -j.b.Stake) }

// earned is V(actual) − reference within [−R, R], or what the lane's clearing pays.
func (j *judge) earned(w at) escrow.Credits {
	b := j.b
	if b.Posted {
		return j.metered(b.Share)
	}
	finish := w.CommittedAt - b.OpenedAt - (b.AwardedAt - b.FirstAwardedAt)
	r := b.Terms.Reserve
	return max(-r, min(r, j.value(finish)-b.Reference))
}

// metered is a rate times the median of the times that builder and validators
// measured, in a pool that meters, never more than R.
func (j *judge) metered(rate escrow.Credits) escrow.Credits {
	if !j.b.Posted || j.t.Pool.Lane != build.LaneBatch || !j.t.Pool.Batch.Metered {
		return rate
	}
	var times []int64
	for _, a := range j.firstParties() {
		if a.opened() {
			took := a.Opening.FinishedWallMillis - a.Opening.StartedWallMillis
			times = append(times, max(0, min(took, j.b.Terms.TimeoutMillis)))
		}
	}
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	median := times[(len(times)-1)/2]
	cost := new(big.Int).Mul(big.NewInt(int64(rate)), big.NewInt(median))
	cost.Div(cost, big.NewInt(1000))
	if r := big.NewInt(int64(j.b.Terms.Reserve)); cost.Cmp(r) > 0 {
		cost = r
	}
	j.notProven("the times that builder and validators measured: they are their own words")
	return escrow.Credits(cost.Int64())
}

// sameShape says whether the first results differ in nothing but contents.
func (j *judge) sameShape() bool {
	shapes := map[[32]byte]bool{}
	for _, a := range j.firstParties() {
		if a.opened() {
			shapes[a.Opening.Summary.Shape] = true
		}
	}
	return len(shapes) <= 1
}

// balance holds escrow to zero: what went in has come out.
func (j *judge) balance() {
	var in, out big.Int
	for i := range j.b.Transfers {
		t := &j.b.Transfers[i]
		if t.To == j.escrow {
			in.Add(&in, big.NewInt(int64(t.Amount)))
		}
		if t.From == j.escrow {
			out.Add(&out, big.NewInt(int64(t.Amount)))
		}
		if t.Amount <= 0 {
			j.deviatef(fmt.Sprintf("Build.Transfers[%d].Amount", i), "more than nothing", "%v", t.Amount)
		}
	}
	if in.Cmp(&out) != 0 {
		j.deviatef("Build.Transfers", "as much out of escrow as into it", "%v in, %v out", &in, &out)
	}
}
