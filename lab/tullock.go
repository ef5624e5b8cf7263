package lab

import (
	"fmt"
	"math"
	"sort"
)

// exponent is the game's alpha.
func exponent(g *Game) float64 {
	if g.Alpha == 0 {
		return 1
	}
	return g.Alpha
}

// solveTullock: i gets x = b^α/Σb^α and pays b. Within an active set the first
// order condition is b = α·v·x·(1−x); being active is worth something only where
// x ≥ (α−1)/α, so that at most α/(α−1) bidders can be.
//
//   - α ≤ 1: one pure equilibrium (Szidarovszky, Okuguchi, Games Econ. Behav. 1997);
//     for α < 1 everybody is active.
//   - 1 < α ≤ 2: the pure equilibrium with the most active bidders, by descending
//     value, if there is one (Cornes, Hartley, Econ. Theory 2005). If not even the
//     top two can be, the second bids only sometimes (Wang, B.E. J. Theor. Econ. 2010).
//   - α > 2: no pure equilibrium. There is a mixed one that in chances, bids and
//     payoffs is the all-pay auction's between the top two (Alcalde, Dahm, J. Public
//     Econ. 2010).
func solveTullock(g *Game) (*Outcome, error) {
	alpha := exponent(g)
	if err := checkAlpha(alpha); err != nil {
		return nil, err
	}
	switch {
	case len(g.Values) == 1:
		return alone(g), nil
	case alpha == 1:
		return solveProportionalAllPay(g)
	case alpha > 2:
		return tullockAsAllPay(g), nil
	}
	c := newContest(g.Values, alpha)
	active := c.mostActive()
	if active < 2 {
		return tullockSometimes(g, alpha), nil
	}
	out, err := c.outcome(g, active)
	if err == nil && alpha > 1 {
		out.Note = fmt.Sprintf("%d are active: with an alpha above 1 there can be equilibria with fewer, or with others among equals", active)
	}
	return out, err
}

// contest is a Tullock contest by descending value. Shares are handled as
// y = log(x/(1−x)), since for a small α they and their powers leave the floats.
type contest struct {
	order  []int
	worth  []float64 // log(α·v), by order
	alpha  float64
	bend   float64 // 1 − 1/α
	lowest float64 // log(α−1), the y of the least share worth having; −∞ for α ≤ 1
}

func newContest(values []float64, alpha float64) *contest {
	c := &contest{order: ranked(values, false), alpha: alpha, bend: 1 - 1/alpha, lowest: math.Inf(-1)}
	for _, i := range c.order {
		c.worth = append(c.worth, math.Log(alpha*values[i]))
	}
	if alpha > 1 {
		c.lowest = math.Log(alpha - 1)
	}
	return c
}

// softplus is log(1 + e^y).
func softplus(y float64) float64 { return math.Max(y, 0) + math.Log1p(math.Exp(-math.Abs(y))) }

func logistic(y float64) float64 { return 1 / (1 + math.Exp(-y)) }

// demand is log((1−x)·x^(1−1/α)), which falls in y from lowest on. The condition
// b = αv·x(1−x) with b = (x·Z)^(1/α) is worth + demand = log Z^(1/α).
func (c *contest) demand(y float64) float64 { return -softplus(y) - c.bend*softplus(-y) }

// logit finds the y at which demand is d, by Newton's steps kept inside a bracket.
func (c *contest) logit(d float64) float64 {
	low, high := c.lowest, 1.0
	if math.IsInf(low, -1) {
		for low = -1; c.demand(low) < d; low *= 2 {
		}
	} else if c.demand(low) <= d {
		return low
	}
	for ; c.demand(high) > d; high *= 2 {
	}
	y := (low + high) / 2
	for range bisections {
		off := c.demand(y) - d
		if off > 0 {
			low = y
		} else {
			high = y
		}
		x := logistic(y)
		next := y - off/(c.bend*(1-x)-x)
		if !(next > low && next < high) {
			next = (low + high) / 2
		}
		done := math.Abs(next-y) <= rounding*(1+math.Abs(y))
		if y = next; done {
			break
		}
	}
	return y
}

// rounding is what a step in a search need not go below.
const rounding = 4e-16

// shares sums the first k bidders' at log Z^(1/α), and lists them if asked.
func (c *contest) shares(k int, size float64, list []float64) float64 {
	sum := 0.0
	for j := range k {
		y := c.logit(size - c.worth[j])
		sum += logistic(y)
		if list != nil {
			list[j] = y
		}
	}
	return sum
}

// most is the largest size at which bidder j is active: 1/k of k players, or the
// least share that is worth having.
func (c *contest) most(j, k int) float64 {
	equal := -math.Log(float64(k) - 1)
	return c.worth[j] + c.demand(math.Max(c.lowest, equal))
}

// mostActive is the largest number of the highest values that can be active
// together, below 2 for none. Shares are fitting for k where they sum to at most 1
// at the size at which bidder k would leave; that sum grows with k, since each
// bidder more adds one and lowers the size.
func (c *contest) mostActive() int {
	n := len(c.order)
	if c.alpha < 1 {
		return n
	}
	limit := min(n, int(c.alpha/(c.alpha-1)+residual))
	return 1 + sort.Search(max(0, limit-1), func(i int) bool {
		k := i + 2
		return c.shares(k, c.worth[k-1]+c.demand(c.lowest), nil) > 1+residual
	})
}

// outcome solves for the size at which k bidders' shares sum to 1.
func (c *contest) outcome(g *Game, k int) (*Outcome, error) {
	low, high := c.most(k-1, k), c.most(0, k) // all shares at least, and at most, 1/k
	if c.alpha > 1 {
		high = math.Min(high, c.worth[k-1]+c.demand(c.lowest))
	}
	for range bisections {
		mid := (low + high) / 2
		if mid <= low || mid >= high {
			break
		}
		if c.shares(k, mid, nil) > 1 {
			low = mid
		} else {
			high = mid
		}
	}
	y := make([]float64, k)
	sum := c.shares(k, high, y)
	if !(math.Abs(sum-1) <= residual) {
		return nil, refuse("shares sum to %v; bring the values closer together", sum)
	}
	if k < len(c.order) && c.enters(k, high) {
		return nil, refuse("no pure equilibrium at an alpha of %v, and no mixed one is known; lower alpha", c.alpha)
	}
	out := newOutcome(len(g.Values))
	for j, i := range c.order[:k] {
		x, rest := logistic(y[j]), logistic(-y[j])
		out.Allocations[i], out.Bids[i] = x/sum, c.alpha*g.Values[i]*x*rest
		out.Payments[i] = out.Bids[i]
		out.Utilities[i] = g.Values[i]*out.Allocations[i] - out.Bids[i]
	}
	return out, nil
}

// enters says whether the bidder after k active ones gains by joining them: with
// others' Z below (1−x)·Z′, where Z′ is the size at which it would leave, at the
// least share x = (α−1)/α.
func (c *contest) enters(k int, size float64) bool {
	leaves := c.worth[k] + c.demand(c.lowest)
	return size < leaves-math.Log(c.alpha)/c.alpha-residual
}

// topTwo are the places of the two highest values.
func topTwo(g *Game) (first, second int) {
	order := ranked(g.Values, false)
	return order[0], order[1]
}

// tullockSometimes: the second bidder bids v·m, m = (α−1)/α, with chance q and
// else nothing; the first always bids v·m·(α−1)^(−1/α), against which the second's
// bid just earns nothing. The first's condition gives q = b₁/(v₁·m), which is
// below 1 exactly where the two have no pure equilibrium (Wang 2010). Whoever
// values it less than the second stays out.
func tullockSometimes(g *Game, alpha float64) *Outcome {
	out := newOutcome(len(g.Values))
	out.Pure = false
	first, second := topTwo(g)
	v1, v2, m := g.Values[first], g.Values[second], (alpha-1)/alpha
	bid := v2 * m * math.Pow(alpha-1, -1/alpha)
	q := math.Min(1, bid/(v1*m))
	out.Bids[first], out.Bids[second] = bid, q*v2*m
	out.Allocations[first], out.Allocations[second] = 1-q*m, q*m
	copy(out.Payments, out.Bids)
	out.Utilities[first] = v1*out.Allocations[first] - bid
	out.Note = fmt.Sprintf("no pure equilibrium: the second bidder bids %v with chance %v and else nothing", v2*m, q)
	return out
}

// tullockAsAllPay: against a mix µ over bids, with which two bidders of value v₂
// earn nothing (Baye, Kovenock, de Vries, Public Choice 1994), the first plays µ and
// the second µ with chance v₂/v₁, else 0. Bids in µ average v₂/2. Whoever values it
// no more than the second cannot gain against µ either.
func tullockAsAllPay(g *Game) *Outcome {
	out := newOutcome(len(g.Values))
	out.Pure = false
	first, second := topTwo(g)
	v1, v2 := g.Values[first], g.Values[second]
	q := v2 / v1
	out.Bids[first], out.Bids[second] = v2/2, q*v2/2
	out.Allocations[first], out.Allocations[second] = 1-q/2, q/2
	copy(out.Payments, out.Bids)
	out.Utilities[first] = v1 - v2
	out.Note = "no pure equilibrium: this mixed one equals the all-pay auction's in chances, bids and payoffs; others than the first two bid nothing"
	return out
}
