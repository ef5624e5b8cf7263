package auction

import (
	"fmt"

	"gavel/raftfsm/escrow"
)

// Entry is a standing bid: up to Units at Price each, by whoever ID names.
// Entries are sold in order of price, then tie, then id.
type Entry struct {
	ID    [32]byte
	Tie   [32]byte
	Price escrow.Credits
	Units uint64
}

// Standing keeps standing bids in the order of sale, one a bidder. Looking up an
// id takes constant time, every other operation O(log n), clearing O(w · log n)
// for w winners. All answers are functions of the set of entries; the order they
// came in leaves no trace. It belongs to one goroutine. Errors wrap ErrRefused
// or escrow.ErrOverflow, and an operation that fails changes nothing.
type Standing struct {
	ladder *ladder
	byID   map[[32]byte]int32 // places in the arena; never ranged over
}

// Purchase is the cheapest units of what stands.
type Purchase struct {
	Units  uint64 // fewer than asked for where no more stand
	Cost   escrow.Credits
	Strike escrow.Credits // price of the last unit; 0 for none
}

// NewStanding is a Standing of entries, made in O(n log n).
func NewStanding(entries []Entry) (*Standing, error) {
	if len(entries) > MaxAsks {
		return nil, fmt.Errorf("standing bids: %w: %d of them, want at most %d", ErrRefused, len(entries), MaxAsks)
	}
	s := &Standing{byID: make(map[[32]byte]int32, len(entries))}
	for i := range entries {
		if err := s.check(&entries[i]); err != nil {
			return nil, fmt.Errorf("standing bids: %w", err)
		}
		s.byID[entries[i].ID] = 0
	}
	s.ladder = newLadder(entries)
	for at := 1; at < len(s.ladder.rungs); at++ {
		s.byID[s.ladder.rungs[at].entry.ID] = int32(at)
	}
	return s, nil
}

// check refuses an entry that is not valid or whose bidder has one already.
func (s *Standing) check(e *Entry) error {
	if err := checkOffer(e.Price, e.Units); err != nil {
		return fmt.Errorf("bid of %x: %w", e.ID[:4], err)
	}
	if _, ok := s.byID[e.ID]; ok {
		return fmt.Errorf("bid of %x: %w: it has one already, remove that first", e.ID[:4], ErrRefused)
	}
	return nil
}

// checkOffer holds the price and the units of a bid to their ranges.
func checkOffer(price escrow.Credits, units uint64) error {
	switch {
	case price < 0 || !price.Valid():
		return fmt.Errorf("%w: a price of %v, want 0 to %v", ErrRefused, price, escrow.MaxCredits)
	case units == 0 || units > MaxUnits:
		return fmt.Errorf("%w: %d units, want 1 to %d", ErrRefused, units, uint64(MaxUnits))
	}
	return nil
}

// Insert adds a bid of somebody who has none.
func (s *Standing) Insert(e Entry) error {
	if s.Len() >= MaxAsks {
		return fmt.Errorf("inserting bid: %w: %d stand already, at most %d do", ErrRefused, s.Len(), MaxAsks)
	}
	if err := s.check(&e); err != nil {
		return fmt.Errorf("inserting %w", err)
	}
	s.byID[e.ID] = s.ladder.add(e)
	return nil
}

// Remove takes a bidder's entry out and returns it, false where it has none.
func (s *Standing) Remove(id [32]byte) (Entry, bool) {
	at, ok := s.byID[id]
	if !ok {
		return Entry{}, false
	}
	e := s.ladder.rungs[at].entry
	s.ladder.drop(at)
	delete(s.byID, id)
	return e, true
}

// Reduce uses up units of a bidder's entry, which is removed with its last one.
func (s *Standing) Reduce(id [32]byte, units uint64) error {
	e, ok := s.Get(id)
	switch {
	case !ok:
		return fmt.Errorf("reducing bid of %x: %w: it has none", id[:4], ErrRefused)
	case units == 0 || units > e.Units:
		return fmt.Errorf("reducing bid of %x: %w: %d units, want 1 to the %d it has left", id[:4], ErrRefused, units, e.Units)
	case units == e.Units:
		s.Remove(id)
	default:
		s.ladder.reduce(s.byID[id], units)
	}
	return nil
}

// Get is a bidder's entry.
func (s *Standing) Get(id [32]byte) (Entry, bool) {
	at, ok := s.byID[id]
	if !ok {
		return Entry{}, false
	}
	return s.ladder.rungs[at].entry, true
}

// Len is how many bids stand.
func (s *Standing) Len() int { return len(s.byID) }

// Units are those of all bids together.
func (s *Standing) Units() uint64 { return s.ladder.rungs[s.ladder.root].units }

// Rank is how many entries come before a bidder's.
func (s *Standing) Rank(id [32]byte) (int, bool) {
	at, ok := s.byID[id]
	if !ok {
		return 0, false
	}
	return s.ladder.rank(at), true
}

// At is the entry with so many before it.
func (s *Standing) At(rank int) (Entry, bool) {
	if rank < 0 || rank >= s.Len() {
		return Entry{}, false
	}
	return *s.ladder.at(rank), true
}

// First is the entry that sells next.
func (s *Standing) First() (Entry, bool) { return s.At(0) }

// Prefix is what the cheapest units cost; fewer where fewer stand. A cost out of
// range is escrow.ErrOverflow.
func (s *Standing) Prefix(units uint64) (Purchase, error) {
	bought, sum, strike := s.ladder.prefix(units)
	cost, err := sum.credits()
	if err != nil {
		return Purchase{}, fmt.Errorf("pricing the cheapest %d units: %w", bought, err)
	}
	return Purchase{Units: bought, Cost: cost, Strike: strike}, nil
}

// Strike is the price of the cheapest unit but units − 1, false where fewer stand
// or none is asked for.
func (s *Standing) Strike(units uint64) (escrow.Credits, bool) {
	bought, _, last := s.ladder.prefix(units)
	return last, units > 0 && bought == units
}

// CountWithin is how many entries ask for a price or less.
func (s *Standing) CountWithin(price escrow.Credits) int {
	count, _ := s.ladder.within(price)
	return count
}

// UnitsWithin is how many units are to be had at a price or less.
func (s *Standing) UnitsWithin(price escrow.Credits) uint64 {
	_, units := s.ladder.within(price)
	return units
}

// Clear buys up to units, cheapest first, from bids at or below the reserve, and
// prices them by a rule, as ClearBatch does. The bids stand as before: Reduce
// uses them up.
func (s *Standing) Clear(units uint64, reserve escrow.Credits, pricing Pricing) (Clearing, error) {
	if err := checkPurchase(units, reserve, pricing); err != nil {
		return Clearing{}, fmt.Errorf("clearing standing bids: %w", err)
	}
	c, err := s.ladder.clear(units, reserve, pricing)
	if err != nil {
		return Clearing{}, fmt.Errorf("clearing standing bids: %w", err)
	}
	return c, nil
}
