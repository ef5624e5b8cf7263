package auction

import (
	"fmt"
	"slices"

	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// TicketRule says who pays for lottery tickets. Numbers are append-only.
type TicketRule uint8

// The ticket rules.
const (
	TicketAllPay     TicketRule = 1 // every ticket, when it is bought
	TicketWinnerPays TicketRule = 2 // a ticket, when it is drawn
)

func (r TicketRule) String() string {
	switch r {
	case TicketAllPay:
		return "all-pay"
	case TicketWinnerPays:
		return "winner-pays"
	}
	return fmt.Sprintf("ticket-rule-%d", uint8(r))
}

// Valid says whether there is such a rule.
func (r TicketRule) Valid() bool { return r == TicketAllPay || r == TicketWinnerPays }

// ParseTicketRule reads all-pay or winner-pays.
func ParseTicketRule(text string) (TicketRule, error) {
	for _, r := range []TicketRule{TicketAllPay, TicketWinnerPays} {
		if text == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("ticket rule %q: %w: want all-pay or winner-pays", text, ErrRefused)
}

const (
	// MaxTickets bounds the tickets of one lottery: their count must not overflow.
	MaxTickets = 1 << 40

	// MaxHolders and MaxSlots bound the owners and the slots of one draw, which
	// walks all owners for each slot.
	MaxHolders = 1 << 16
	MaxSlots   = 1 << 12
)

// Holding is how many tickets an owner has.
type Holding struct {
	Owner   [32]byte
	Tickets uint64
	Most    uint64 // slots it can be drawn for: one more and it leaves the draw; 0 is as many as it has tickets
}

// TicketCost is what n tickets cost.
func TicketCost(price escrow.Credits, n uint64) (escrow.Credits, error) {
	if price < 0 || !price.Valid() || n == 0 || n > MaxTickets {
		return 0, fmt.Errorf("pricing %d tickets of %v: %w: want 1 to %d at a price of at least 0", n, price, ErrRefused, uint64(MaxTickets))
	}
	cost, err := price.MulDivFloor(int64(n), 1)
	if err != nil {
		return 0, fmt.Errorf("pricing %d tickets of %v: %w", n, price, err)
	}
	return cost, nil
}

// DrawTicket draws one of all tickets, each with the same chance, and returns
// the place of its owner. Holdings are sorted by owner, each with at least one
// ticket, so that the draw is a function of who holds what. Splitting one's
// tickets over several names changes no odds.
func DrawTicket(seed [32]byte, holdings []Holding) (int, error) {
	places, err := DrawTickets(seed, holdings, 1)
	if err == nil && len(places) == 0 {
		err = fmt.Errorf("drawing ticket: %w: nobody holds one", ErrRefused)
	}
	if err != nil {
		return 0, err
	}
	return places[0], nil
}

// DrawTickets draws the owners of the next n slots in order, from one stream;
// each slot takes a ticket out, and its owner with the last one it can use. Fewer
// tickets than slots fill fewer slots.
func DrawTickets(seed [32]byte, holdings []Holding, n int) ([]int, error) {
	total, err := countTickets(holdings)
	if err != nil {
		return nil, fmt.Errorf("drawing tickets: %w", err)
	}
	if n < 0 || n > MaxSlots {
		return nil, fmt.Errorf("drawing tickets: %w: %d slots, want 0 to %d", ErrRefused, n, MaxSlots)
	}
	stream, left := draw.NewStream(seed), slices.Clone(holdings)
	var places []int
	for len(places) < n && total > 0 {
		place := ownerOf(left, stream.Below(total))
		h := &left[place]
		h.Tickets--
		total--
		if h.Most--; h.Most == 0 { // a limit of 0 wraps, and never comes to 0
			total -= h.Tickets
			h.Tickets = 0
		}
		places = append(places, place)
	}
	return places, nil
}

func countTickets(holdings []Holding) (total uint64, err error) {
	if len(holdings) > MaxHolders {
		return 0, fmt.Errorf("%w: %d owners, want at most %d", ErrRefused, len(holdings), MaxHolders)
	}
	for i, h := range holdings {
		if i > 0 && wire.Compare32(holdings[i-1].Owner, h.Owner) >= 0 {
			return 0, fmt.Errorf("%w: owner %x follows %x, want each once and in ascending order", ErrRefused, h.Owner[:4], holdings[i-1].Owner[:4])
		}
		if h.Tickets == 0 || h.Tickets > MaxTickets-total {
			return 0, fmt.Errorf("%w: owner %x has %d tickets beside %d of others, want at least 1 and %d in all", ErrRefused, h.Owner[:4], h.Tickets, total, uint64(MaxTickets))
		}
		total += h.Tickets
	}
	return total, nil
}

// ownerOf is the place of who has the ticket with so many before it.
func ownerOf(holdings []Holding, before uint64) int {
	for i, h := range holdings {
		if before < h.Tickets {
			return i
		}
		before -= h.Tickets
	}
	panic("auction: broken invariant: a ticket beyond the last")
}
