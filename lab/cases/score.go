package cases

import (
	"cmp"
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// ranked is a cleared score auction with names.
type ranked struct {
	scores    map[string]escrow.Credits
	winner    *Bid // nil: the empty solution
	reference escrow.Credits
}

// rank clears a score auction. Bids of different value are laid out as promises
// to finish at different times under one value function, which is how a build's
// bids differ in worth; it may have more steps than a requester may sign. A case
// has no beacon to break ties with, so keys are given out in the order in which
// they win ties: of equal scores the first bid listed wins.
func rank(bids []Bid, value func(*Bid) escrow.Credits) (*ranked, error) {
	values := make([]escrow.Credits, len(bids))
	for i := range bids {
		values[i] = value(&bids[i])
	}
	worth := slices.Clone(values)
	slices.SortFunc(worth, dearer)
	worth = slices.Compact(worth)
	var v auction.ValueFunction
	for i, x := range worth {
		v.Steps = append(v.Steps, auction.Step{StartMillis: uint64(i), Value: x})
	}
	keys := keysByTie(len(bids))
	list, at := make([]auction.Bid, len(bids)), make(map[[32]byte]*Bid, len(bids))
	for i := range bids {
		b := &bids[i]
		at[keys[i]] = b
		step, _ := slices.BinarySearchFunc(worth, values[i], dearer)
		list[i] = auction.Bid{Worker: keys[i], Operator: keys[i], Domain: cmp.Or(b.Domain, b.ID), FinishMillis: uint64(step)}
		if b.Price != nil {
			list[i].Price = *b.Price
		}
	}
	cleared, err := auction.Clear(list, v, nil)
	if err != nil {
		who := make(map[[32]byte]string, len(at))
		for key, b := range at {
			who[key] = b.ID
		}
		return nil, renamed(err, who)
	}
	r := &ranked{scores: map[string]escrow.Credits{}, reference: cleared.Reference}
	for _, x := range cleared.Ranking {
		r.scores[at[x.Worker].ID] = x.Score
	}
	if winner, ok := cleared.Winner(); ok {
		r.winner = at[winner.Worker]
	}
	return r, nil
}

func dearer(a, b escrow.Credits) int { return cmp.Compare(b, a) }

// keysByTie are n operators' keys, those first that win ties where the beacon is
// silent.
func keysByTie(n int) [][32]byte {
	type ticket struct{ key, tie [32]byte }
	list := make([]ticket, n)
	for i := range list {
		key := bidderKey(i)
		list[i] = ticket{key, wire.NewHasher("tie").Var(nil).Fixed(key).Sum()}
	}
	slices.SortFunc(list, func(a, b ticket) int { return wire.Compare32(a.tie, b.tie) })
	keys := make([][32]byte, n)
	for i := range list {
		keys[i] = list[i].key
	}
	return keys
}

// result lays out what every score auction tells.
func (r *ranked) result() Result {
	out := Result{"scores": r.scores, "winner": nil}
	if r.winner != nil {
		out["winner"], out["reference"] = r.winner.ID, r.reference
	}
	return out
}

// limits are the case's floor and cap of a payment; c_l is a floor too, since no
// failure costs more than it.
func (c *Case) limits() (floor, limit escrow.Credits, err error) {
	floor, limit = -escrow.MaxCredits, escrow.MaxCredits
	if c.Cap != nil {
		limit = *c.Cap
	}
	if c.Floor != nil {
		floor = *c.Floor
	}
	if err := cmp.Or(inRange(c.Cap, "cap"), inRange(c.FailureCap, "c_l")); err != nil {
		return 0, 0, err
	}
	if c.FailureCap != nil {
		floor = max(floor, -*c.FailureCap)
	}
	if !floor.Valid() || floor > limit {
		return 0, 0, refuse("out-of-range", "payments of %d to %d micro-credits: want a floor of at most the cap, and within 2^62", int64(floor), int64(limit))
	}
	return floor, limit, nil
}

// contest ranks the case's bids and reads what its payments are bounded by.
func (c *Case) contest() (r *ranked, floor, limit escrow.Credits, err error) {
	if floor, limit, err = c.limits(); err != nil {
		return nil, 0, 0, err
	}
	r, err = rank(c.Sellers, offered)
	return r, floor, limit, err
}

func offered(b *Bid) escrow.Credits { return *b.Value }

func score(c *Case) (Result, error) {
	if err := needOne("seller_bids", c.Sellers, value, price); err != nil {
		return nil, err
	}
	r, floor, limit, err := c.contest()
	if err != nil {
		return nil, err
	}
	out := r.result()
	if r.winner == nil {
		return out, nil
	}
	uncapped, err := auction.Payment(*r.winner.Value, r.reference, escrow.MaxCredits)
	if err != nil {
		return nil, err
	}
	paid, err := auction.PaymentWithin(*r.winner.Value, r.reference, floor, limit)
	if err != nil {
		return nil, err
	}
	out["payment"] = paid
	if c.Cap != nil || c.Floor != nil {
		out["payment_uncapped"], out["net_of_true_cost"] = uncapped, paid-*r.winner.Price
	}
	return out, nil
}

// realized pays by what came of it: the realized value, or null for a failure.
func realized(c *Case) (Result, error) {
	if c.Reported != nil {
		return reported(c)
	}
	if err := needOne("seller_bids", c.Sellers, value, price); err != nil {
		return nil, err
	}
	if !c.Realized.given {
		return nil, refuse("malformed", "realized is missing: want what the result is worth, null for a failure")
	}
	if err := inRange(c.Realized.value, "realized"); err != nil {
		return nil, err
	}
	r, floor, limit, err := c.contest()
	if err != nil {
		return nil, err
	}
	out := r.result()
	if r.winner == nil {
		return out, nil
	}
	covered := c.Rule == "score-realized-cost-covered"
	var worth escrow.Credits // of what came of it, with a failure's price given back or not
	switch {
	case c.Realized.value != nil:
		worth = *c.Realized.value
	case covered:
		worth = *r.winner.Price
	}
	paid, err := auction.PaymentWithin(worth, r.reference, floor, limit)
	if err != nil {
		return nil, err
	}
	out["payment"] = paid
	if covered && c.Realized.value == nil {
		out["winner_total_loss"] = *r.winner.Price - paid
	}
	return out, nil
}

// reported clears by scores that bidders scaled with their own risk.
func reported(c *Case) (Result, error) {
	worth, err := given(c.WinnerValue, "winner_value")
	if err != nil {
		return nil, err
	}
	cost, err := given(c.WinnerCost, "winner_cost")
	if err != nil {
		return nil, err
	}
	floor, limit, err := c.limits()
	if err != nil {
		return nil, err
	}
	bids := make([]Bid, 0, len(c.Reported))
	for _, id := range wire.SortedKeys(c.Reported, compareText) {
		if !c.Reported[id].Valid() {
			return nil, refuse("out-of-range", "the score of %q is %d micro-credits: want at most 2^62 either way", id, int64(c.Reported[id]))
		}
		// A score below 0 is a bid that costs more than it is worth.
		worth, cost := max(0, c.Reported[id]), max(0, -c.Reported[id])
		bids = append(bids, Bid{ID: id, Value: &worth, Price: &cost})
	}
	if err := need("reported_scores", bids, value, price); err != nil {
		return nil, err
	}
	r, err := rank(bids, offered)
	if err != nil {
		return nil, err
	}
	out := r.result()
	if r.winner == nil {
		return out, nil
	}
	success, err := auction.PaymentWithin(worth, r.reference, floor, limit)
	if err != nil {
		return nil, err
	}
	failure, err := auction.PaymentWithin(cost, r.reference, floor, limit)
	if err != nil {
		return nil, err
	}
	out["payment_on_success"], out["payment_on_failure"] = success, failure
	return out, nil
}
