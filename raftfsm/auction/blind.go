package auction

import (
	"fmt"
	"math/bits"
	"slices"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// BlindOpening is what a seal hides: a total for a quantity, and a nonce that
// keeps them from being guessed.
type BlindOpening struct {
	Total    escrow.Credits
	Quantity uint64
	Nonce    [32]byte
}

// Seal is the commitment to the opening, of one bidder in one auction:
//
//	H("blind" ‖ auction ‖ bidder ‖ total ‖ quantity ‖ nonce)
func (o BlindOpening) Seal(auction, bidder [32]byte) [32]byte {
	return wire.NewHasher("blind").Fixed(auction).Fixed(bidder).I64(int64(o.Total)).U64(o.Quantity).Fixed(o.Nonce).Sum()
}

// OpenBlind is the bid that FillBlind takes, of a bidder who sealed it and
// prepaid. It counts as revealed only if the opening matches the seal and is an
// amount for a quantity: what is sealed nobody has checked, and a seal over
// nonsense must cost its author the prepayment, not everybody the auction.
func OpenBlind(seal, auction, bidder [32]byte, prepaid escrow.Credits, opening BlindOpening) BlindBid {
	hidden := BlindBid{Prepaid: prepaid}
	if opening.Seal(auction, bidder) != seal {
		return hidden
	}
	bid := BlindBid{Prepaid: prepaid, Revealed: true, Total: opening.Total, Quantity: opening.Quantity}
	if bid.check() != nil {
		return hidden
	}
	return bid
}

// BlindBid is a buyer's sealed bid with the amount it has prepaid, an upper
// bound on what it hides: Total for Quantity units.
type BlindBid struct {
	Prepaid  escrow.Credits
	Revealed bool
	Total    escrow.Credits
	Quantity uint64
}

// BlindOutcome is a cleared blind auction; lists are by place of the bid.
type BlindOutcome struct {
	Filled    []bool
	Payments  []escrow.Credits
	Refunds   []escrow.Credits // the rest of what was prepaid
	Forfeited []escrow.Credits // all that was prepaid, of a bid that was not revealed as it had to be
}

// MaxBlindQuantity keeps the product of an amount and a quantity within 128 bits.
const MaxBlindQuantity = 1 << 40

// FillBlind sells supply to the bids that pay most a unit, each whole or not at
// all: one that does not fit any more is passed over. Of equal ratios the
// earlier place goes first. With uniform every winner pays the last winning
// ratio for its quantity, rounded up; otherwise each pays its own total. A bid
// that is not revealed, or reveals more than it prepaid or no quantity, forfeits
// what it prepaid: a seal must not be an option to see the others first.
func FillBlind(bids []BlindBid, supply uint64, uniform bool) (BlindOutcome, error) {
	n := len(bids)
	if supply == 0 || supply > MaxBlindQuantity || n > MaxAsks {
		return BlindOutcome{}, fmt.Errorf("filling blind bids: %w: a supply of %d for %d bids, want 1 to %d for at most %d", ErrRefused, supply, n, uint64(MaxBlindQuantity), MaxAsks)
	}
	out := BlindOutcome{Filled: make([]bool, n), Payments: make([]escrow.Credits, n), Refunds: make([]escrow.Credits, n), Forfeited: make([]escrow.Credits, n)}
	var order []int
	for i := range bids {
		b := &bids[i]
		if err := b.check(); err != nil {
			return BlindOutcome{}, fmt.Errorf("filling blind bids: bid %d: %w", i, err)
		}
		if !b.Revealed || b.Total > b.Prepaid || b.Quantity == 0 {
			out.Forfeited[i] = b.Prepaid
			continue
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(x, y int) int { return compareRatio(&bids[y], &bids[x]) })
	last := -1
	for _, i := range order {
		if bids[i].Quantity <= supply {
			supply -= bids[i].Quantity
			out.Filled[i], last = true, i
		}
	}
	for _, i := range order {
		b := &bids[i]
		if out.Filled[i] {
			pays := b.Total
			if uniform {
				var err error
				// At most its own total, because its ratio is at least the last one's.
				if pays, err = bids[last].Total.MulDivCeil(int64(b.Quantity), int64(bids[last].Quantity)); err != nil {
					return BlindOutcome{}, fmt.Errorf("filling blind bids: bid %d: %w", i, err)
				}
			}
			out.Payments[i] = pays
		}
		out.Refunds[i] = b.Prepaid - out.Payments[i]
	}
	return out, nil
}

// check holds a bid to its ranges, whether or not it may win.
func (b *BlindBid) check() error {
	if b.Prepaid < 0 || !b.Prepaid.Valid() || b.Total < 0 || !b.Total.Valid() || b.Quantity > MaxBlindQuantity {
		return fmt.Errorf("%w: %v for %d units, prepaid %v: want amounts of 0 to %v and at most %d units", ErrRefused, b.Total, b.Quantity, b.Prepaid, escrow.MaxCredits, uint64(MaxBlindQuantity))
	}
	return nil
}

// compareRatio compares totals a unit by cross-multiplication, exactly.
func compareRatio(a, b *BlindBid) int {
	ahi, alo := bits.Mul64(uint64(a.Total), b.Quantity)
	bhi, blo := bits.Mul64(uint64(b.Total), a.Quantity)
	switch {
	case ahi != bhi && ahi < bhi, ahi == bhi && alo < blo:
		return -1
	case ahi == bhi && alo == blo:
		return 0
	}
	return 1
}
