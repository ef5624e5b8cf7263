package lab

import (
	"fmt"
	"math"
)

// ticketPrice is the price of a ticket: as told, or a hundredth of the highest
// value, so that whole tickets are fine enough not to matter.
func ticketPrice(g *Game) (float64, error) {
	top := 0.0
	for _, v := range g.Values {
		top = math.Max(top, v)
	}
	price := g.Price
	if price == 0 {
		price = top / 100
	}
	if !(price >= top/MaxTicketsEach && price <= MaxAmount) {
		return 0, refuse("a ticket price of %v, want %v to %v", price, top/MaxTicketsEach, MaxAmount)
	}
	return price, nil
}

// solveLotteryAllPay: one ticket of all that are bought is drawn, each has cost
// the price. It is proportional-all-pay in whole tickets. Best responses are
// played in turn from its rounded equilibrium until nobody changes, which is then
// an equilibrium in whole tickets; where that does not end, tickets are divisible
// and the Note says so.
func solveLotteryAllPay(g *Game) (*Outcome, error) {
	price, err := ticketPrice(g)
	if err != nil {
		return nil, err
	}
	tickets, whole := wholeTickets(g.Values, price)
	out := newOutcome(len(g.Values))
	total := 0.0
	for _, n := range tickets {
		total += n
	}
	for i, n := range tickets {
		out.Bids[i], out.Payments[i] = n, n*price
		if total > 0 {
			out.Allocations[i] = n / total
		}
		out.Utilities[i] = g.Values[i]*out.Allocations[i] - n*price
	}
	out.Note = fmt.Sprintf("bids are tickets at %v; in whole tickets there may be other equilibria, a ticket or so away", price)
	if !whole {
		out.Pure = false
		out.Note = fmt.Sprintf("bids are tickets at %v, taken as divisible: in whole tickets no equilibrium was found", price)
	}
	if total == 0 {
		out.Note = fmt.Sprintf("nobody's value exceeds the ticket price %v: no ticket is sold", price)
	}
	return out, nil
}

// turns bounds how often everybody is asked again.
const turns = 1000

// wholeTickets is how many tickets each buys, or, not whole, how many it would of
// divisible ones.
func wholeTickets(values []float64, price float64) (tickets []float64, whole bool) {
	tickets = make([]float64, len(values))
	divisible := make([]float64, len(values))
	total := 0.0
	if len(values) > 1 {
		sum := proportionalSum(values)
		for i, v := range values {
			divisible[i] = math.Max(0, 1-sum/v) * sum / price
			tickets[i] = math.Round(divisible[i])
			total += tickets[i]
		}
	}
	for range turns {
		still := true
		for i, v := range values {
			best := bestTickets(v/price, total-tickets[i])
			if best != tickets[i] {
				total += best - tickets[i]
				tickets[i], still = best, false
			}
		}
		if still {
			return tickets, true
		}
	}
	return divisible, false
}

// bestTickets is the best whole number of tickets for a value of so many tickets
// against others' count: v·n/(n+Y) − n is concave in n, with its maximum at
// √(vY) − Y. The fewer of two that are worth the same.
func bestTickets(v, others float64) float64 {
	if others == 0 {
		if v > 1 {
			return 1
		}
		return 0
	}
	worth := func(n float64) float64 { return v*n/(n+others) - n }
	n := math.Max(0, math.Floor(math.Sqrt(v*others)-others))
	if worth(n+1) > worth(n) {
		n++
	}
	return n
}

// solveLotteryWinnerPays: only the drawn ticket is paid, so holding more costs
// nothing and everybody for whom a slot is worth a ticket holds as many as it may.
func solveLotteryWinnerPays(g *Game) (*Outcome, error) {
	price, err := ticketPrice(g)
	if err != nil {
		return nil, err
	}
	out := newOutcome(len(g.Values))
	holders := 0.0
	for _, v := range g.Values {
		if v >= price {
			holders++
		}
	}
	for i, v := range g.Values {
		if v >= price {
			out.Bids[i], out.Allocations[i], out.Payments[i] = 1, 1/holders, price/holders
			out.Utilities[i] = (v - price) / holders
		}
	}
	if holders == 0 {
		out.Note = fmt.Sprintf("nobody's value reaches the ticket price %v: nobody holds a ticket", price)
		return out, nil
	}
	out.Note = fmt.Sprintf("the drawn ticket pays %v, the others nothing: each holds as many as it may, counted here as 1, supposing the same limit and balance for all; every further name holds as many again", price)
	return out, nil
}
