package lab

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Splitting a bid over names changes nothing where all pay in proportion, helps
// where only the winner pays or the power is below 1, and hurts above it.
func TestSplittingABid(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 0))
	for i := range games {
		g := Game{Values: randomValues(r, i), Alpha: []float64{0.5, 1.3}[i%2]}
		for _, c := range []struct {
			mechanism string
			utility   naive
			game      Game
			sign      float64
		}{
			{"proportional-all-pay", naiveTullock, Game{Values: g.Values}, 0},
			{"proportional-winner-pays", naiveWinnerPays, g, 1},
			{"tullock", naiveTullock, g, []float64{1, -1}[i%2]},
		} {
			out := solved(t, c.mechanism, c.game)
			if !out.Pure || out.Bids[0] <= 1e-6*g.Values[0] {
				continue
			}
			split := c.game
			split.Values = append([]float64{g.Values[0]}, g.Values...)
			bids := append([]float64{out.Bids[0] / 2, out.Bids[0] / 2}, out.Bids[1:]...)
			gain := c.utility(split, bids, 0) + c.utility(split, bids, 1) - c.utility(c.game, out.Bids, 0)
			if c.sign == 0 && !near(gain, 0, 1e-12*g.Values[0]) || c.sign*gain < 0 {
				t.Fatalf("%s over %+v: splitting gains %v", c.mechanism, c.game, gain)
			}
			if out.SybilProof != (c.sign <= 0) {
				t.Fatalf("%s over %+v: sybil proof %v", c.mechanism, c.game, out.SybilProof)
			}
		}
	}
}

func TestTullockBetweenTwo(t *testing.T) {
	// Nti, Public Choice 1999: shares are as the values' powers, bids α·v·x·(1−x).
	for _, alpha := range []float64{0.3, 0.9, 1, 1.3, 1.6} {
		out := solved(t, "tullock", Game{Values: []float64{3, 2.5}, Alpha: alpha})
		x := math.Pow(3, alpha) / (math.Pow(3, alpha) + math.Pow(2.5, alpha))
		sameList(t, "shares", out.Allocations, []float64{x, 1 - x}, 1e-9)
		sameList(t, "bids", out.Bids, []float64{alpha * 3 * x * (1 - x), alpha * 2.5 * x * (1 - x)}, 1e-9)
	}
}

// n equals have a pure equilibrium with all of them active up to α = n/(n−1):
// each bids α·v·(n−1)/n².
func TestTullockOfEquals(t *testing.T) {
	for n := 2; n <= 6; n++ {
		values, bound := make([]float64, n), float64(n)/float64(n-1)
		for i := range values {
			values[i] = 2
		}
		for _, alpha := range []float64{0.5, 1, (1 + bound) / 2, bound} {
			out := solved(t, "tullock", Game{Values: values, Alpha: alpha})
			for i := range values {
				if !near(out.Bids[i], alpha*2*float64(n-1)/float64(n*n), 1e-9) || !out.Pure {
					t.Errorf("%d equals at alpha %v: %+v", n, alpha, out)
				}
			}
		}
		out := solved(t, "tullock", Game{Values: values, Alpha: bound + 0.01})
		if n == 2 && out.Pure || n > 2 && out.Allocations[n-1] != 0 {
			t.Errorf("%d equals beyond %v: %+v", n, bound, out)
		}
	}
}

func TestSharesColludeAndPoolRefuse(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	var errs []error
	keep := func(_ any, err error) { errs = append(errs, err) }
	for _, bids := range [][]float64{nil, {0, 0}, {-1, 2}, {nan}, {inf}, make([]float64, MaxBidders+1)} {
		keep(Shares(bids, 1))
	}
	for _, alpha := range []float64{0, -1, nan, inf, 2 * MaxAlpha} {
		keep(Shares([]float64{1, 2}, alpha))
	}
	for _, eps := range []float64{-1, nan, inf} {
		keep(Collude([]float64{4, 2}, eps))
		keep(PoolShare(eps, 1, 1))
		keep(PoolShare(1, eps, 0))
		keep(PoolShare(1, 1, eps))
	}
	keep(Collude(nil, 0))
	keep(PoolShare(1, 0, 0))
	keep(PoolShare(1, 1, 2))
	for i, err := range errs {
		if !errors.Is(err, ErrInput) {
			t.Errorf("refusal %d is %v", i, err)
		}
	}
	if x, err := Shares([]float64{1e9, 0, 1e9}, MaxAlpha); err != nil || x[0] != 0.5 || x[1] != 0 {
		t.Errorf("shares at the limits are %v, %v", x, err)
	}
}

// The closed form beats a fine grid of every α that is a chance.
func TestCandleBestIsBest(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 0))
	for range games {
		c := Candle{Bidders: 2 + r.IntN(200), Value: 10 * (0.01 + r.Float64()), Rival: 11 * r.Float64()}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		alpha, utility := c.Best()
		never := 1 / float64(c.Bidders+1)
		if alpha < never-1e-15 || alpha > 1 || !near(c.Utility(alpha), utility, 1e-9) {
			t.Fatalf("%+v: best %v, %v", c, alpha, utility)
		}
		for k := range 2000 {
			a := never + (1-never)*float64(k)/2000
			if u := c.Utility(a); u > utility+1e-9 {
				t.Fatalf("%+v: %v earns %v, the best %v only %v", c, a, u, alpha, utility)
			}
		}
	}
	for _, c := range []Candle{{1, 1, 0}, {MaxBidders + 1, 1, 0}, {2, 0, 0}, {2, math.NaN(), 0}, {2, 1, -1}, {2, 1, math.Inf(1)}, {2, math.Inf(1), 1}} {
		if err := c.Validate(); !errors.Is(err, ErrInput) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestLotteriesByHand(t *testing.T) {
	out := solved(t, "lottery-all-pay", Game{Values: []float64{4, 2}})
	sameList(t, "tickets", out.Bids, []float64{22, 11}, 0) // of 4/100 each, out of 22.2 and 11.1
	out = solved(t, "lottery-all-pay", Game{Values: []float64{4, 2}, Price: 1})
	sameList(t, "tickets", out.Bids, []float64{1, 0}, 0) // the second would win half of 2 for 1
	out = solved(t, "lottery-all-pay", Game{Values: []float64{4, 2}, Price: 5})
	if out.Revenue != 0 || !strings.Contains(out.Note, "no ticket is sold") {
		t.Errorf("too dear a ticket: %+v", out)
	}
	out = solved(t, "lottery-winner-pays", Game{Values: []float64{4, 2, 1}, Price: 1.5})
	sameList(t, "chances", out.Allocations, []float64{0.5, 0.5, 0}, 0)
	sameList(t, "utilities", out.Utilities, []float64{1.25, 0.25, 0}, 1e-12)
	if out.SybilProof || out.Revenue != 1.5 {
		t.Errorf("%+v", out)
	}
}

func TestUnsoldAndUnbought(t *testing.T) {
	for _, mechanism := range []string{"second-price", "second-price-burn", "first-price", "winner-take-all", "second-price-smooth"} {
		out := solved(t, mechanism, Game{Values: []float64{4, 2}, Reserve: 9})
		if out.Revenue != 0 || out.Efficiency != 0 || out.Fairness != 0 || out.Note == "" {
			t.Errorf("%+v", out)
		}
	}
	out := solved(t, "vcg", Game{Values: []float64{4, 2}, Reserve: 1})
	if out.Revenue != 0 || out.Efficiency != 1 || out.Note == "" {
		t.Errorf("%+v", out)
	}
	// A unit more than there are sellers is paid the reserve.
	out = solved(t, "vcg", Game{Values: []float64{0, 2}, Reserve: 3, Units: 3})
	sameList(t, "payments", out.Payments, []float64{3, 3}, 0)
	sameList(t, "utilities", out.Utilities, []float64{3, 1}, 0)
}

// Where no bid gains, the least that is said to win nothing used to win -8.7e-18.
func TestHopelessCandle(t *testing.T) {
	for n := 2; n <= MaxBidders; n++ {
		for _, rival := range []float64{60, 99.95, 100, 600} {
			c := Candle{Bidders: n, Value: 100, Rival: rival}
			alpha, utility := c.Best()
			if c.Hopeless() != (utility == 0) || c.Utility(alpha) != utility || c.Chance(alpha) < 0 || c.Hopeless() && c.Chance(alpha) != 0 {
				t.Fatalf("%+v: α %v with a chance of %v earns %v, %v", c, alpha, c.Chance(alpha), utility, c.Utility(alpha))
			}
			if math.Signbit(c.Utility(alpha)) {
				t.Fatalf("%+v earns %v", c, c.Utility(alpha))
			}
		}
	}
}

// Refusals are sentences: that they are ErrInput is for programs.
func TestRefusalsAreSentences(t *testing.T) {
	for _, says := range []struct {
		mechanism string
		game      Game
		want      string
	}{
		{"tullock", Game{Values: []float64{4, 2}, Units: 2}, "solving tullock: 2 units, but it allocates one; take gsp-slots"},
		{"vickrey", Game{Values: []float64{4, 2}, Reserve: 5, Units: 2}, "solving vickrey: 2 units, but it allocates one; take vcg, uniform, uniform-last, gsp or first"},
		{"vcg", Game{Values: []float64{4, 2}}, "solving vcg: no reserve; say the most that is paid for a unit"},
	} {
		if _, err := Solve(says.mechanism, says.game); !errors.Is(err, ErrInput) || err.Error() != says.want {
			t.Errorf("%v, want %s", err, says.want)
		}
	}
}
