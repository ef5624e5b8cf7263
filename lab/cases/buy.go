package cases

import (
	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

// most is what a case pays at most, its reserve, or no limit.
func (c *Case) most() (escrow.Credits, error) {
	return optional(c.Reserve, "reserve", escrow.MaxCredits)
}

// vickrey is the score auction with one value, the reserve.
func vickrey(c *Case) (Result, error) {
	if err := needOne("seller_bids", c.Sellers, price); err != nil {
		return nil, err
	}
	reserve, err := c.most()
	if err != nil {
		return nil, err
	}
	r, err := rank(c.Sellers, func(*Bid) escrow.Credits { return reserve })
	if err != nil {
		return nil, err
	}
	if r.winner == nil {
		return Result{"winner": nil}, nil
	}
	if c.Reserve == nil && r.reference == 0 {
		return nil, refuse("malformed", "reserve is missing, and nobody's bid but the winner's says what it is paid")
	}
	paid, err := auction.Payment(reserve, r.reference, reserve)
	if err != nil {
		return nil, err
	}
	return Result{"winner": r.winner.ID, "payment": paid}, nil
}

// batch buys many units.
func batch(c *Case) (Result, error) {
	if err := needOne("seller_bids", c.Sellers, price); err != nil {
		return nil, err
	}
	reserve, err := c.most()
	if err != nil {
		return nil, err
	}
	units, err := count(c.Units, "units")
	if err != nil {
		return nil, err
	}
	pricing := auction.PricingVCG
	if c.Pricing != "" {
		if pricing, err = auction.ParsePricing(c.Pricing); err != nil {
			return nil, err
		}
	}
	entries, who := make([]auction.Entry, len(c.Sellers)), make(map[[32]byte]string, len(c.Sellers))
	for i := range c.Sellers {
		b := &c.Sellers[i]
		entries[i] = auction.Entry{ID: bidderKey(i), Price: *b.Price, Units: 1}
		who[entries[i].ID] = b.ID
		if b.Capacity == nil {
			continue
		}
		if entries[i].Units, err = count(b.Capacity, "the capacity of "+b.ID); err != nil {
			return nil, err
		}
	}
	standing, err := auction.NewStanding(entries)
	if err != nil {
		return nil, renamed(err, who)
	}
	cleared, err := standing.Clear(units, reserve, pricing)
	if err != nil {
		return nil, renamed(err, who)
	}
	allocation, payments := map[string]uint64{}, map[string]escrow.Credits{}
	for _, w := range cleared.Wins {
		allocation[who[w.Entry.ID]], payments[who[w.Entry.ID]] = w.Allocation, w.Payment
	}
	return Result{"allocation": allocation, "payments": payments}, nil
}

// assignment buys builds that differ, one from each worker at most.
func assignment(c *Case) (Result, error) {
	if err := needOne("builds", c.Builds, price); err != nil {
		return nil, err
	}
	if err := needOne("seller_bids", c.Sellers); err != nil {
		return nil, err
	}
	if len(c.Builds) > auction.MaxAssigned || len(c.Sellers) > auction.MaxAssigned {
		return nil, refuse("out-of-range", "%d builds and %d workers, want at most %d of each", len(c.Builds), len(c.Sellers), auction.MaxAssigned)
	}
	reserves, place := make([]escrow.Credits, len(c.Builds)), map[string]int{}
	for i := range c.Builds {
		reserves[i], place[c.Builds[i].ID] = *c.Builds[i].Price, i
	}
	prices := make([][]escrow.Credits, len(c.Sellers))
	for w := range c.Sellers {
		row, err := c.Sellers[w].row(place)
		if err != nil {
			return nil, err
		}
		prices[w] = row
	}
	cleared, err := auction.Assign(reserves, prices)
	if err != nil {
		return nil, err
	}
	done, payments := map[string]any{}, map[string]escrow.Credits{}
	for b, w := range cleared.Worker {
		done[c.Builds[b].ID] = nil
		if w >= 0 {
			done[c.Builds[b].ID], payments[c.Sellers[w].ID] = c.Sellers[w].ID, cleared.Payments[w]
		}
	}
	return Result{"assignment": done, "payments": payments, "cost": cleared.Cost}, nil
}

// cannot is the price of a build that a worker does not bid for.
const cannot = -1

// row is a worker's price of each build by place.
func (b *Bid) row(place map[string]int) ([]escrow.Credits, error) {
	row := make([]escrow.Credits, len(place))
	for i := range row {
		row[i] = cannot
	}
	for build, x := range b.Prices {
		at, ok := place[build]
		if !ok {
			return nil, refuse("malformed", "%q bids for %q, which is none of the builds", b.ID, build)
		}
		if err := inRange(&x, "the price of %q for %q", b.ID, build); err != nil {
			return nil, err
		}
		row[at] = x
	}
	return row, nil
}
