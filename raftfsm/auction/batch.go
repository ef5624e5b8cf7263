package auction

import (
	"encoding/binary"
	"fmt"

	"gavel/raftfsm/escrow"
)

// Ask offers up to Capacity units at Price each.
type Ask struct {
	Tie      [32]byte // lower goes first among equal prices, then the place in the list
	Price    escrow.Credits
	Capacity uint64
}

// BatchOutcome is a cleared multi-unit auction; lists are by place of the ask.
type BatchOutcome struct {
	Allocation []uint64
	Payments   []escrow.Credits // for all units of the ask together
	// Strike is the price of the last winning unit, 0 where nothing is sold.
	Strike escrow.Credits
}

// ClearBatch buys up to units, cheapest first, from asks that are at or below
// the reserve, and pays them by a rule. Units nobody offers stay unbought; where
// a rule asks for a price that nobody bids, it is the reserve. It takes
// O(n log n) in the number of asks, whatever the units. Who asks it does not
// know: two asks of one worker are two bidders, which a Standing would refuse.
// Errors wrap ErrRefused or escrow.ErrOverflow.
func ClearBatch(asks []Ask, units uint64, reserve escrow.Credits, pricing Pricing) (BatchOutcome, error) {
	entries, err := asEntries(asks, units, reserve, pricing)
	if err != nil {
		return BatchOutcome{}, fmt.Errorf("clearing batch: %w", err)
	}
	c, err := newLadder(entries).clear(units, reserve, pricing)
	if err != nil {
		return BatchOutcome{}, fmt.Errorf("clearing batch: %w", err)
	}
	out := BatchOutcome{Allocation: make([]uint64, len(asks)), Payments: make([]escrow.Credits, len(asks)), Strike: c.Strike}
	for i := range c.Wins {
		at := placeOf(c.Wins[i].Entry.ID)
		out.Allocation[at], out.Payments[at] = c.Wins[i].Allocation, c.Wins[i].Payment
	}
	return out, nil
}

// asEntries checks the asks and names those within the reserve by their places.
func asEntries(asks []Ask, units uint64, reserve escrow.Credits, pricing Pricing) ([]Entry, error) {
	if err := checkPurchase(units, reserve, pricing); err != nil {
		return nil, err
	}
	if len(asks) > MaxAsks {
		return nil, fmt.Errorf("%w: %d asks, want at most %d", ErrRefused, len(asks), MaxAsks)
	}
	entries := make([]Entry, 0, len(asks))
	for i := range asks {
		a := &asks[i]
		if err := checkOffer(a.Price, a.Capacity); err != nil {
			return nil, fmt.Errorf("ask %d: %w", i, err)
		}
		if a.Price <= reserve {
			entries = append(entries, Entry{ID: placeID(i), Tie: a.Tie, Price: a.Price, Units: a.Capacity})
		}
	}
	return entries, nil
}

// checkPurchase holds what is to be bought to its ranges.
func checkPurchase(units uint64, reserve escrow.Credits, pricing Pricing) error {
	switch {
	case !pricing.Valid():
		return fmt.Errorf("%w: unknown %v, want a pricing rule of 1 to %d", ErrRefused, pricing, uint8(PricingFirst))
	case units == 0 || units > MaxUnits:
		return fmt.Errorf("%w: %d units, want 1 to %d", ErrRefused, units, uint64(MaxUnits))
	case reserve < 0 || !reserve.Valid():
		return fmt.Errorf("%w: a reserve of %v, want 0 to %v", ErrRefused, reserve, escrow.MaxCredits)
	}
	return nil
}

// placeID is an id that is ordered as places are.
func placeID(place int) (id [32]byte) {
	binary.BigEndian.PutUint64(id[24:], uint64(place))
	return id
}

func placeOf(id [32]byte) int { return int(binary.BigEndian.Uint64(id[24:])) }
