package cases

import (
	"math/bits"
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

// prices are what buyers bid.
func prices(bids []Bid) []escrow.Credits {
	out := make([]escrow.Credits, len(bids))
	for i := range bids {
		out[i] = *bids[i].Price
	}
	return out
}

// forward sells one unit at the second price. Without a reserve it is 0.
func forward(c *Case) (Result, error) {
	if err := needOne("buyer_bids", c.Buyers, price); err != nil {
		return nil, err
	}
	reserve, err := optional(c.Reserve, "reserve", 0)
	if err != nil {
		return nil, err
	}
	winner, payment, err := auction.SellOne(prices(c.Buyers), reserve)
	if err != nil {
		return nil, err
	}
	if winner < 0 {
		return Result{"winner": nil}, nil
	}
	return Result{"winner": c.Buyers[winner].ID, "payment": payment}, nil
}

// slots sells places in a queue, the first to the highest bid.
func slots(c *Case) (Result, error) {
	if err := needOne("buyer_bids", c.Buyers, price); err != nil {
		return nil, err
	}
	n, err := count(c.Slots, "slots")
	if err != nil {
		return nil, err
	}
	order, paid, err := auction.SellSlots(prices(c.Buyers), int(n))
	if err != nil {
		return nil, err
	}
	names, payments := make([]string, len(order)), map[string]escrow.Credits{}
	for slot, at := range order {
		names[slot] = c.Buyers[at].ID
		payments[names[slot]] = paid[slot]
	}
	return Result{"order": names, "payments": payments}, nil
}

// blind sells a supply to sealed bids that were paid for beforehand, and shows
// both prices: each its own, and the last winner's for all.
func blind(c *Case) (Result, error) {
	bids, err := c.blindBids()
	if err != nil {
		return nil, err
	}
	supply, err := count(c.Supply, "supply")
	if err != nil {
		return nil, err
	}
	first, err := auction.FillBlind(bids, supply, false)
	if err != nil {
		return nil, err
	}
	uniform, err := auction.FillBlind(bids, supply, true)
	if err != nil {
		return nil, err
	}
	var filled []int
	payments, last := map[string]escrow.Credits{}, map[string]escrow.Credits{}
	refunds, refundsLast, forfeited := map[string]escrow.Credits{}, map[string]escrow.Credits{}, map[string]escrow.Credits{}
	for i := range bids {
		id := c.Buyers[i].ID
		if first.Filled[i] {
			filled = append(filled, i)
			payments[id], last[id] = first.Payments[i], uniform.Payments[i]
		}
		if first.Forfeited[i] > 0 {
			forfeited[id] = first.Forfeited[i]
		} else {
			refunds[id], refundsLast[id] = first.Refunds[i], uniform.Refunds[i]
		}
	}
	slices.SortStableFunc(filled, func(x, y int) int { return perUnit(bids[y], bids[x]) })
	names := make([]string, len(filled)) // as they are filled: best ratio first
	for i, at := range filled {
		names[i] = c.Buyers[at].ID
	}
	return Result{
		"filled": names, "payments_first": payments, "payments_uniform_last": last,
		"refunds_first": refunds, "refunds_uniform_last": refundsLast, "forfeited": forfeited,
	}, nil
}

// blindBids lays out the buyers' bids. What is prepaid is above 0, so that a
// forfeit shows.
func (c *Case) blindBids() ([]auction.BlindBid, error) {
	if err := needOne("buyer_bids", c.Buyers, prepaid); err != nil {
		return nil, err
	}
	bids := make([]auction.BlindBid, len(c.Buyers))
	for i := range c.Buyers {
		b := &c.Buyers[i]
		bids[i] = auction.BlindBid{Prepaid: *b.Prepaid, Revealed: b.Revealed == nil || *b.Revealed}
		if *b.Prepaid == 0 {
			return nil, refuse("out-of-range", "%q has prepaid 0: want more", b.ID)
		}
		if !bids[i].Revealed {
			continue
		}
		if b.PriceTotal == nil || b.Quantity == nil {
			return nil, refuse("malformed", "%q has no price_total and quantity: want both, or revealed false", b.ID)
		}
		var err error
		if bids[i].Quantity, err = count(b.Quantity, "the quantity of "+b.ID); err != nil {
			return nil, err
		}
		bids[i].Total = *b.PriceTotal
	}
	return bids, nil
}

// perUnit compares what two bids offer a unit, exactly.
func perUnit(a, b auction.BlindBid) int {
	aHigh, aLow := bits.Mul64(uint64(a.Total), b.Quantity)
	bHigh, bLow := bits.Mul64(uint64(b.Total), a.Quantity)
	return slices.Compare([]uint64{aHigh, aLow}, []uint64{bHigh, bLow})
}
