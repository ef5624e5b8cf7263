package lab

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const games = 1000 // of each mechanism

// naive is a mechanism read from its definition: what bidder i makes of bids.
type naive func(g Game, bids []float64, i int) float64

func total(bids []float64) (sum float64) {
	for _, b := range bids {
		sum += b
	}
	return sum
}

// place is how many bids go before bidder i's: better ones, and equal ones of who
// values it more, since who does bids an epsilon more.
func place(g Game, bids []float64, i int, ascending bool) int {
	n := 0
	for j := range bids {
		less := func(a, b float64) bool { return a < b == ascending && a != b }
		if less(bids[j], bids[i]) || bids[j] == bids[i] &&
			(less(g.Values[j], g.Values[i]) || g.Values[j] == g.Values[i] && j < i) {
			n++
		}
	}
	return n
}

// kth is the k-th bid from 0 in order, or otherwise.
func kth(bids []float64, k int, ascending bool, otherwise float64) float64 {
	var room [8]float64
	sorted := append(room[:0], bids...)
	slices.Sort(sorted)
	if !ascending {
		slices.Reverse(sorted)
	}
	if k >= len(sorted) {
		return otherwise
	}
	return sorted[k]
}

func naiveTullock(g Game, bids []float64, i int) float64 {
	alpha, sum := exponent(&g), 0.0
	for _, b := range bids {
		sum += math.Pow(b, alpha)
	}
	if sum == 0 {
		return 0
	}
	return g.Values[i]*math.Pow(bids[i], alpha)/sum - bids[i]
}

func naiveWinnerPays(g Game, bids []float64, i int) float64 {
	if total(bids) == 0 {
		return 0
	}
	return bids[i] / total(bids) * (g.Values[i] - bids[i])
}

func naiveTickets(g Game, bids []float64, i int) float64 {
	if total(bids) == 0 {
		return 0
	}
	return g.Values[i]*bids[i]/total(bids) - bids[i]*g.Price
}

func naiveFirst(g Game, bids []float64, i int) float64 {
	if bids[i] < g.Reserve || place(g, bids, i, false) > 0 {
		return 0
	}
	return g.Values[i] - bids[i]
}

func naiveSecond(g Game, bids []float64, i int) float64 {
	if bids[i] < g.Reserve || place(g, bids, i, false) > 0 {
		return 0
	}
	return g.Values[i] - math.Max(g.Reserve, kth(bids, 1, false, 0))
}

func naiveSmooth(g Game, bids []float64, i int) float64 {
	price := math.Max(g.Reserve, kth(bids, 1, false, 0))
	if kth(bids, 0, false, 0) < g.Reserve {
		price = 0
	}
	return naiveSecond(g, bids, i) + price/float64(len(bids))
}

func naiveSlots(g Game, bids []float64, i int) float64 {
	j := place(g, bids, i, false)
	if j >= g.Units {
		return 0
	}
	return g.Values[i]*weight(&g, j) - kth(bids, j+1, false, 0)
}

// naiveReverse sells one unit to each of the lowest bids, at a price that depends
// on the place.
func naiveReverse(price func(g Game, valid []float64, j int) float64) naive {
	return func(g Game, bids []float64, i int) float64 {
		var valid []float64
		for _, b := range bids {
			if b <= g.Reserve {
				valid = append(valid, b)
			}
		}
		j := place(g, bids, i, true)
		if bids[i] > g.Reserve || j >= g.Units {
			return 0
		}
		return price(g, valid, j) - g.Values[i]
	}
}

func losing(g Game, valid []float64, _ int) float64 { return kth(valid, g.Units, true, g.Reserve) }

var oracles = []struct {
	mechanism string
	utility   naive
	game      func(r *rand.Rand, g *Game)
}{
	{"proportional-all-pay", naiveTullock, nil},
	{"proportional-winner-pays", naiveWinnerPays, nil},
	{"tullock", naiveTullock, func(r *rand.Rand, g *Game) { g.Alpha = 0.2 + 1.8*r.Float64() }},
	{"lottery-all-pay", naiveTickets, func(r *rand.Rand, g *Game) { g.Price = []float64{0.03, 0.4, 2}[r.IntN(3)] }},
	{"winner-take-all", naiveFirst, maybeReserve},
	{"first-price", naiveFirst, maybeReserve},
	{"second-price", naiveSecond, maybeReserve},
	{"second-price-burn", naiveSecond, maybeReserve},
	{"second-price-smooth", naiveSmooth, maybeReserve},
	{"gsp-slots", naiveSlots, func(r *rand.Rand, g *Game) {
		g.Units = 1 + r.IntN(7)
		w := 1.0
		for range g.Units * r.IntN(2) {
			g.Weights = append(g.Weights, w)
			w *= r.Float64()*0.9 + 0.1
		}
	}},
	{"vickrey", naiveReverse(losing), func(r *rand.Rand, g *Game) { g.Reserve, g.Units = 4+4*r.Float64(), 1 }},
	{"vcg", naiveReverse(losing), buying},
	{"uniform", naiveReverse(losing), buying},
	{"uniform-last", naiveReverse(func(g Game, valid []float64, _ int) float64 {
		return kth(valid, min(g.Units, len(valid))-1, true, 0)
	}), buying},
	{"gsp", naiveReverse(func(g Game, valid []float64, j int) float64 { return kth(valid, j+1, true, g.Reserve) }), buying},
	{"first", naiveReverse(func(_ Game, valid []float64, j int) float64 { return kth(valid, j, true, 0) }), buying},
}

func maybeReserve(r *rand.Rand, g *Game) {
	if r.IntN(2) == 0 {
		g.Reserve = 0.1 + 8*r.Float64()
	}
}

func buying(r *rand.Rand, g *Game) { g.Reserve, g.Units = 4+4*r.Float64(), 1+r.IntN(6) }

// randomValues has ties in half of the games, and orders of magnitude in a few.
func randomValues(r *rand.Rand, i int) []float64 {
	values := make([]float64, 2+r.IntN(5))
	for j := range values {
		switch {
		case i%2 == 0:
			values[j] = float64(1+r.IntN(8)) / 2
		case i%9 == 0:
			values[j] = math.Exp(10 * (r.Float64() - 0.5))
		default:
			values[j] = 0.05 + 8*r.Float64()
		}
	}
	return values
}

// deviations of a bidder: a grid, random bids, and bids close to all there are.
func deviations(r *rand.Rand, g Game, bids []float64, whole bool) []float64 {
	top := slices.Max(g.Values) + g.Reserve
	if whole {
		list := []float64{}
		for n := range 2 + int(min(400, top/g.Price)) {
			list = append(list, float64(n))
		}
		return list
	}
	list := []float64{0}
	for k := range 120 {
		list = append(list, 1.2*top*float64(k+1)/120)
	}
	for range 15 {
		list = append(list, top*r.Float64(), math.Exp(-12*r.Float64())*top)
	}
	for _, b := range bids {
		list = append(list, b, b*0.999, b*1.001, b*(1-1e-6), b*(1+1e-6))
	}
	return list
}

// Nobody gains by any deviation, and what is reported is what the rule does with
// the bids.
func TestPureEquilibriaHold(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.mechanism, func(t *testing.T) {
			t.Parallel()
			r, pure := rand.New(rand.NewPCG(7, 0)), 0
			for i := range games {
				g := Game{Values: randomValues(r, i)}
				if o.game != nil {
					o.game(r, &g)
				}
				if o.mechanism == "lottery-all-pay" {
					g.Price = max(g.Price, slices.Max(g.Values)/300)
				}
				out := solved(t, o.mechanism, g)
				if !out.Pure {
					continue
				}
				pure++
				if g.Units == 0 {
					g.Units = 1
				}
				checkNoDeviation(t, r, g, out, o.utility)
				checkSums(t, g, out)
			}
			if pure < games/2 {
				t.Errorf("only %d of %d games have a pure equilibrium", pure, games)
			}
		})
	}
}

func checkNoDeviation(t *testing.T, r *rand.Rand, g Game, out *Outcome, utility naive) {
	t.Helper()
	tolerance := 1e-8 * (slices.Max(g.Values) + g.Reserve)
	for i := range g.Values {
		bids := slices.Clone(out.Bids)
		if got := utility(g, bids, i); !near(got, out.Utilities[i], tolerance) {
			t.Fatalf("%s over %+v: utility of %d is %v, reported %v", out.Mechanism, g, i, got, out.Utilities[i])
		}
		for _, bids[i] = range deviations(r, g, out.Bids, out.Mechanism == "lottery-all-pay") {
			if got := utility(g, bids, i); got > out.Utilities[i]+tolerance {
				t.Fatalf("%s over %+v: %d gains %v by bidding %v instead of %v", out.Mechanism, g, i, got-out.Utilities[i], bids[i], out.Bids[i])
			}
		}
	}
}

// checkSums holds an outcome to its own sums.
func checkSums(t *testing.T, g Game, out *Outcome) {
	t.Helper()
	m, err := solvable(out.Mechanism)
	if err != nil {
		t.Fatal(err)
	}
	allocated, paid, utilities, surplus := 0.0, 0.0, 0.0, 0.0
	for i, x := range out.Allocations {
		allocated, paid, utilities = allocated+x, paid+out.Payments[i], utilities+out.Utilities[i]
		if m.Reverse {
			surplus += (g.Reserve - g.Values[i]) * x
		} else {
			surplus += g.Values[i] * x
		}
		if x < 0 || x > 1+1e-12 || out.Payments[i] < 0 {
			t.Fatalf("%+v over %+v: an allocation or payment out of range", out, g)
		}
	}
	tolerance := 1e-9 * (slices.Max(g.Values) + g.Reserve) * float64(len(g.Values))
	returned := 0.0
	if out.Mechanism == "second-price-smooth" {
		returned = out.Revenue
	}
	switch {
	case !near(paid, out.Revenue, tolerance):
		t.Fatalf("%+v: payments sum to %v", out, paid)
	case allocated > float64(max(1, g.Units))+1e-9:
		t.Fatalf("%+v: %v of %d units are allocated", out, allocated, g.Units)
	case m.Reverse && !near(utilities+g.Reserve*allocated-out.Revenue, surplus, tolerance):
		t.Fatalf("%+v over %+v: sellers and buyer gain %v, the surplus is %v", out, g, utilities+g.Reserve*allocated-out.Revenue, surplus)
	case !m.Reverse && !near(utilities+out.Revenue-returned, surplus, tolerance):
		t.Fatalf("%+v over %+v: utilities and revenue sum to %v, the surplus is %v", out, g, utilities+out.Revenue-returned, surplus)
	case out.Efficiency < 0 || out.Efficiency > 1 || out.Gini < 0 || out.Gini >= 1 || out.Entropy < 0 || out.Entropy > 1:
		t.Fatalf("%+v: a measure out of range", out)
	}
}
