package lab

import "math"

// play is how a contest is played that everybody sees into: bids are the
// equilibrium of the values drawn.
type play struct {
	bids    func(s *session, values []float64) []float64
	respond func(s *session, value, others float64) float64 // the best bid against others' sum
	split   func(bid float64, names, j int) float64         // what name j of a bid's names bids
	over    string                                          // the same in words, before the number of names
}

func equalParts(bid float64, names, _ int) float64 { return bid / float64(names) }

var proportionalPlay = play{
	bids: func(_ *session, values []float64) []float64 {
		if len(values) == 1 {
			return []float64{MinAmount} // the least that is a bid
		}
		sum := proportionalSum(values)
		bids := make([]float64, len(values))
		for i, v := range values {
			bids[i] = math.Max(0, 1-sum/v) * sum
		}
		return bids
	},
	respond: func(_ *session, v, others float64) float64 {
		return math.Max(MinAmount, math.Sqrt(v*others)-others) // the root of vB = (b+B)²
	},
	split: equalParts,
	over:  "splits its bid equally over",
}

var winnerPaysPlay = play{
	bids: func(_ *session, values []float64) []float64 {
		if len(values) == 1 {
			return []float64{MinAmount}
		}
		sum := winnerPaysSum(values)
		bids := make([]float64, len(values))
		for i, v := range values {
			x, _ := winnerPaysShare(v / sum)
			bids[i] = x * sum
		}
		return bids
	},
	respond: func(_ *session, v, others float64) float64 {
		if others == 0 {
			return MinAmount
		}
		return winnerPaysResponse(v, others)
	},
	split: equalParts,
	over:  "splits its bid equally over",
}

// ticketPlay rounds divisible tickets where whole ones have no equilibrium.
var ticketPlay = play{
	bids: func(s *session, values []float64) []float64 {
		tickets, whole := wholeTickets(values, s.ticket)
		for i := range tickets {
			if !whole {
				tickets[i] = math.Round(tickets[i])
			}
		}
		return tickets
	},
	respond: func(s *session, v, others float64) float64 { return bestTickets(v/s.ticket, others) },
	split: func(bid float64, names, j int) float64 {
		return math.Floor((bid + float64(names-1-j)) / float64(names)) // the first names take what is left over
	},
	over: "splits its tickets over",
}

// freeTicketPlay holds all one name may, counted as 1, where it is worth the price.
var freeTicketPlay = play{
	bids: func(s *session, values []float64) []float64 {
		tickets := make([]float64, len(values))
		for i, v := range values {
			tickets[i] = freeTicket(s, v, 0)
		}
		return tickets
	},
	respond: freeTicket,
	split:   func(bid float64, _, _ int) float64 { return bid },
	over:    "holds as many tickets under each of",
}

func freeTicket(s *session, v, _ float64) float64 {
	if v >= s.ticket {
		return 1
	}
	return 0
}
