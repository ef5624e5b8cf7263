package auction

import (
	"bytes"
	"fmt"

	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// MaxPeriods is how many periods one candle auction sells at most: the ranges
// among them, and so the partitions to search, grow with its square.
const MaxPeriods = 4

// RangeCount is how many ranges of one period or more there are: n·(n+1)/2. Of
// a number of periods that no auction has there are none.
func RangeCount(periods int) int {
	if periods < 1 || periods > MaxPeriods {
		return 0
	}
	return periods * (periods + 1) / 2
}

// CandleBid offers an amount for each of a range of periods.
type CandleBid struct {
	Bidder      [32]byte
	First, Last uint8 // from 1, inclusive
	PerPeriod   escrow.Credits
}

// Total is what the bid costs if it wins.
func (b CandleBid) Total() (escrow.Credits, error) {
	if err := b.Validate(MaxPeriods); err != nil {
		return 0, fmt.Errorf("pricing candle bid: %w", err)
	}
	return b.total(), nil
}

// total is Total of a bid that is valid.
func (b CandleBid) total() escrow.Credits {
	return b.PerPeriod * escrow.Credits(b.Last-b.First+1)
}

// Validate holds a bid to its shape: a range of an auction of so many periods,
// an amount above 0 of which all periods' sum stays in range.
func (b CandleBid) Validate(periods uint8) error {
	switch {
	case periods < 1 || periods > MaxPeriods:
		return fmt.Errorf("%w: an auction of %d periods, want 1 to %d", ErrRefused, periods, MaxPeriods)
	case b.First < 1 || b.Last < b.First || b.Last > periods:
		return fmt.Errorf("%w: periods %d to %d, want a range of 1 to %d", ErrRefused, b.First, b.Last, periods)
	case b.PerPeriod <= 0 || !b.PerPeriod.Valid():
		return fmt.Errorf("%w: %v a period, want more than 0", ErrRefused, b.PerPeriod)
	case b.PerPeriod > escrow.MaxCredits/MaxPeriods:
		return fmt.Errorf("%v a period: %w", b.PerPeriod, escrow.ErrOverflow)
	}
	return nil
}

// Code is the canonical encoding; decoding refuses a bid that no auction takes.
func (b *CandleBid) Code(c *wire.Coder) {
	c.Bytes32(&b.Bidder)
	c.U8(&b.First)
	c.U8(&b.Last)
	b.PerPeriod.Code(c)
	if !c.Decoding() || c.Err() != nil {
		return
	}
	if err := b.Validate(MaxPeriods); err != nil {
		c.Refuse("%v", err)
	}
}

// touches says whether two ranges share a period or follow each other.
func (b CandleBid) touches(o CandleBid) bool {
	return int(b.First) <= int(o.Last)+1 && int(o.First) <= int(b.Last)+1
}

// CandleBook is a candle auction as it stands: the best bid of each range. What
// was once the best and is not any more it forgets, so it keeps at most ten.
type CandleBook struct {
	Periods uint8
	Best    []CandleBid // sorted by First, then Last; one for each range that has a bid
}

// NewCandleBook is an auction of so many periods, 1 to MaxPeriods, without bids.
func NewCandleBook(periods uint8) CandleBook { return CandleBook{Periods: periods} }

// Clone is a copy that shares nothing.
func (k *CandleBook) Clone() CandleBook {
	return CandleBook{Periods: k.Periods, Best: append([]CandleBid(nil), k.Best...)}
}

func compareRange(a, b CandleBid) int {
	if a.First != b.First {
		return int(a.First) - int(b.First)
	}
	return int(a.Last) - int(b.Last)
}

// Code is the canonical encoding; decoding refuses a book that no bids could
// have made. A book of no periods, the zero value, has no bids.
func (k *CandleBook) Code(c *wire.Coder) {
	c.U8(&k.Periods)
	wire.Records(c, &k.Best, RangeCount(MaxPeriods))
	if !c.Decoding() || c.Err() != nil {
		return
	}
	if k.Periods > MaxPeriods {
		c.Refuse("a candle auction of %d periods, at most %d", k.Periods, MaxPeriods)
		return
	}
	for i, b := range k.Best {
		if err := b.Validate(k.Periods); err != nil {
			c.Refuse("%v", err)
			return
		}
		if i > 0 && compareRange(k.Best[i-1], b) >= 0 {
			c.Refuse("a candle auction's ranges out of order")
			return
		}
		for _, o := range k.Best[:i] {
			if o.Bidder == b.Bidder && !b.touches(o) {
				c.Refuse("a candle auction's bidder holds periods %d to %d and %d to %d, with a gap", o.First, o.Last, b.First, b.Last)
				return
			}
		}
	}
}

// Place takes a bid. It must be above the best bid of exactly its range, and
// intersect or touch every other range of which its bidder holds the best bid:
// so what one bidder wins has no gap, though what one person wins under two
// names may. Errors wrap ErrRefused or escrow.ErrOverflow.
func (k *CandleBook) Place(b CandleBid) error {
	if err := b.Validate(k.Periods); err != nil {
		return fmt.Errorf("placing candle bid: %w", err)
	}
	at, found := len(k.Best), false
	for i, o := range k.Best {
		switch order := compareRange(o, b); {
		case order == 0:
			if b.PerPeriod <= o.PerPeriod {
				return fmt.Errorf("placing candle bid: %w: %v a period does not beat %v for periods %d to %d", ErrRefused, b.PerPeriod, o.PerPeriod, b.First, b.Last)
			}
			at, found = i, true
		case order > 0 && at == len(k.Best):
			at = i
		}
		if o.Bidder == b.Bidder && !b.touches(o) {
			return fmt.Errorf("placing candle bid: %w: periods %d to %d leave a gap to %d to %d, which this bidder is winning", ErrRefused, b.First, b.Last, o.First, o.Last)
		}
	}
	if found {
		k.Best[at] = b
		return nil
	}
	k.Best = append(k.Best[:at], append([]CandleBid{b}, k.Best[at:]...)...)
	return nil
}

// Winners are the bids of the partition of the periods, gaps allowed, that pays
// most in all; of equal totals the one whose serialisation is lowest: First,
// Last and Bidder of its bids, in order.
func (k *CandleBook) Winners() ([]CandleBid, escrow.Credits) {
	return best(k.Best, 1)
}

// RunnerUp is the best partition without any of the bids that won.
func (k *CandleBook) RunnerUp() ([]CandleBid, escrow.Credits) {
	winners, _ := k.Winners()
	var others []CandleBid
	for _, b := range k.Best {
		won := false
		for _, w := range winners {
			won = won || w == b
		}
		if !won {
			others = append(others, b)
		}
	}
	return best(others, 1)
}

// best searches the partitions of the periods from next on.
func best(bids []CandleBid, next uint8) (winners []CandleBid, total escrow.Credits) {
	for _, b := range bids {
		if b.First < next {
			continue
		}
		rest, sum := best(bids, b.Last+1)
		sum += b.total() // Place and Code have held it in range, and the sum too
		found := append([]CandleBid{b}, rest...)
		if winners == nil || sum > total || sum == total && bytes.Compare(serialised(found), serialised(winners)) < 0 {
			winners, total = found, sum
		}
	}
	return winners, total
}

func serialised(bids []CandleBid) []byte {
	var out []byte
	for _, b := range bids {
		out = append(append(out, b.First, b.Last), b.Bidder[:]...)
	}
	return out
}

// CloseSample is the sample, from 0, of the ending period at which the auction
// had closed: uniform, by a seed made after the last. Fewer samples than 1 panic:
// there is nothing to choose from.
func CloseSample(seed [32]byte, samples int) int {
	if samples < 1 {
		panic(fmt.Sprintf("auction: closing at one of %d samples, want at least 1", samples))
	}
	return int(draw.NewStream(seed).Below(uint64(samples)))
}

// CommunitySlots splits slots: a fifth, rounded down, for community projects.
func CommunitySlots(slots uint64) (community, auctioned uint64) {
	return slots / 5, slots - slots/5
}
