package auction

import (
	"fmt"

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

// MaxTickets bounds the tickets of one lottery: their count must not overflow.
const MaxTickets = 1 << 40

// Holding is how many tickets an owner has.
type Holding struct {
	Owner   [32]byte
	Tickets uint64
}

// TicketCost is what n tickets cost.
func TicketCost(price escrow.Credits, n uint64) (escrow.Credits, error) {
	if price < 0 || !price.Valid() || n == 0 || n > MaxTickets {
		return 0, fmt.Errorf("pricing %d tickets of %v: %w: want 1 to %d at a price of at least 0", n, price, ErrRefused, uint64(MaxTickets))
	}
	return price.MulDivFloor(int64(n), 1)
}

// DrawTicket draws one of all tickets, each with the same chance, and returns
// the place of its owner. Holdings are sorted by owner, each with at least one
// ticket, so that the draw is a function of who holds what. Splitting one's
// tickets over several names changes no odds.
func DrawTicket(seed [32]byte, holdings []Holding) (int, error) {
	return drawTicket(draw.NewStream(seed), holdings)
}

func drawTicket(stream *draw.Stream, holdings []Holding) (int, error) {
	total := uint64(0)
	for i, h := range holdings {
		if i > 0 && wire.Compare32(holdings[i-1].Owner, h.Owner) >= 0 {
			return 0, fmt.Errorf("drawing ticket: %w: owners out of order or twice", ErrRefused)
		}
		if h.Tickets == 0 || h.Tickets > MaxTickets || total+h.Tickets > MaxTickets {
			return 0, fmt.Errorf("drawing ticket: %w: %d tickets, want 1 to %d in all", ErrRefused, h.Tickets, uint64(MaxTickets))
		}
		total += h.Tickets
	}
	if total == 0 {
		return 0, fmt.Errorf("drawing ticket: %w: nobody holds one", ErrRefused)
	}
	at := stream.Below(total)
	for i, h := range holdings {
		if at < h.Tickets {
			return i, nil
		}
		at -= h.Tickets
	}
	panic("auction: broken invariant: a ticket beyond the last")
}

// DrawTickets draws the owners of the next n slots in order, from one stream;
// each slot takes a ticket out. Fewer tickets than slots fill fewer slots.
func DrawTickets(seed [32]byte, holdings []Holding, n int) ([]int, error) {
	stream := draw.NewStream(seed)
	left := append([]Holding(nil), holdings...)
	places := make([]int, len(left))
	for i := range places {
		places[i] = i
	}
	var out []int
	for range n {
		if len(left) == 0 {
			break
		}
		i, err := drawTicket(stream, left)
		if err != nil {
			return nil, err
		}
		out = append(out, places[i])
		if left[i].Tickets--; left[i].Tickets == 0 {
			left = append(left[:i], left[i+1:]...)
			places = append(places[:i], places[i+1:]...)
		}
	}
	return out, nil
}
