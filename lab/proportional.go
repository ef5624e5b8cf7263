package lab

import (
	"math"
)

// residual is how far from a best response a numeric equilibrium may be, as a
// part of the highest value.
const residual = 1e-9

// alone is the outcome of a contest without a rival: bids have no least positive
// amount, so nothing is bid in the limit.
func alone(g *Game) *Outcome {
	out := newOutcome(1)
	out.Allocations[0], out.Utilities[0] = 1, g.Values[0]
	out.Note = "a sole bidder gets it for the least it can bid, taken as 0"
	return out
}

// solveProportionalAllPay: i gets x = b/Σb and pays b, so in equilibrium, over
// the active set of k bidders, S = Σb = (k−1)/Σ(1/v), x = 1 − S/v, b = S·x. The
// set grows by descending value while a bidder's x is positive. It is the one
// equilibrium (Szidarovszky, Okuguchi, Games Econ. Behav. 1997), and Kelly's for a
// divisible unit of linear worth.
func solveProportionalAllPay(g *Game) (*Outcome, error) {
	if len(g.Values) == 1 {
		return alone(g), nil
	}
	out := newOutcome(len(g.Values))
	sum := proportionalSum(g.Values)
	for i, v := range g.Values {
		x := math.Max(0, 1-sum/v)
		out.Allocations[i], out.Bids[i], out.Payments[i] = x, sum*x, sum*x
		out.Utilities[i] = v*x - sum*x
	}
	return out, nil
}

// proportionalSum is S of at least two bidders.
func proportionalSum(values []float64) float64 {
	order := ranked(values, false)
	inverse := 1/values[order[0]] + 1/values[order[1]]
	sum := 1 / inverse
	for k := 2; k < len(order) && values[order[k]] > sum; k++ {
		inverse += 1 / values[order[k]]
		sum = float64(k) / inverse
	}
	return sum
}

// solveProportionalWinnerPays: i is drawn with chance x = b/Σb and only then pays
// b. With B the others' sum the best response is b = −B + √(B² + vB), the root of
// (v−2b)(b+B) = b(v−b), and worth something to everybody.
func solveProportionalWinnerPays(g *Game) (*Outcome, error) {
	if len(g.Values) == 1 {
		return alone(g), nil
	}
	out := newOutcome(len(g.Values))
	sum := winnerPaysSum(g.Values)
	total := 0.0
	for i, v := range g.Values {
		x, rest := winnerPaysShare(v / sum)
		b := x * sum
		others := rest * sum
		if off := math.Abs(winnerPaysResponse(v, others) - b); !(off <= residual*v) {
			return nil, refuse("bidder %d is %v off its best response; bring the values closer together", i, off)
		}
		out.Allocations[i], out.Bids[i] = x, b
		total += x
	}
	if !(math.Abs(total-1) <= residual) {
		return nil, refuse("chances sum to %v; bring the values closer together", total)
	}
	for i, v := range g.Values {
		x := out.Allocations[i] / total
		out.Allocations[i], out.Payments[i] = x, x*out.Bids[i]
		out.Utilities[i] = x * (v - out.Bids[i])
	}
	out.Note = "solved numerically; a bid split over several names has the same chance and pays a part of itself"
	return out, nil
}

// winnerPaysResponse is the best bid against others' sum, −B + √(B² + vB)
// without its cancellation.
func winnerPaysResponse(v, others float64) float64 {
	return v * others / (others + math.Sqrt(others*(others+v)))
}

// winnerPaysShare solves the best response for x = b/S, given r = v/S:
// x = (2 + r − √(4+r²))/2. It returns 1 − x too, each without cancellation.
func winnerPaysShare(r float64) (x, rest float64) {
	root := math.Hypot(2, r)
	return 2 * r / (2 + r + root), 2 / (r + root)
}

// winnerPaysSum is S = Σb of at least two bidders: the one at which shares sum
// to 1, since each falls in S. x ≤ r/2 bounds it from above, the top two
// having half each at r = 3/2 from below.
func winnerPaysSum(values []float64) float64 {
	first, second, sum := 0.0, 0.0, 0.0
	for _, v := range values {
		sum += v
		switch {
		case v > first:
			first, second = v, first
		case v > second:
			second = v
		}
	}
	low, high := second/1.5, sum/2
	for range bisections {
		mid := math.Sqrt(low * high) // values may lie orders of magnitude apart
		if mid <= low || mid >= high {
			break
		}
		shares := 0.0
		for _, v := range values {
			x, _ := winnerPaysShare(v / mid)
			shares += x
		}
		if shares > 1 {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Sqrt(low * high)
}

// bisections end every search: two hundred halvings of any interval of floats
// leave nothing between its ends.
const bisections = 200
