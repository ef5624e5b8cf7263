package lab

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
)

func TestMeasuresByHand(t *testing.T) {
	for _, c := range []struct {
		x                      []float64
		geometric, gini, shape float64
	}{
		{[]float64{1, 0}, 0, 0.5, 0},
		{[]float64{0.5, 0.5}, 0.5, 0, 1},
		{[]float64{0.8, 0.2}, 0.4, 0.3, 0.7219280948873623},
		{[]float64{1, 2, 4}, 2, 2.0 / 7, 0.869916},
		{[]float64{0, 0, 0}, 0, 0, 1},
		{[]float64{1}, 1, 0, 1},
		{nil, 0, 0, 1},
	} {
		if got := GeometricMean(c.x); !near(got, c.geometric, 1e-12) {
			t.Errorf("GeometricMean(%v) = %v, want %v", c.x, got, c.geometric)
		}
		if got := Gini(c.x); !near(got, c.gini, 1e-12) {
			t.Errorf("Gini(%v) = %v, want %v", c.x, got, c.gini)
		}
		if got := Entropy(c.x); !near(got, c.shape, 1e-6) {
			t.Errorf("Entropy(%v) = %v, want %v", c.x, got, c.shape)
		}
	}
}

func TestMechanismsCoverTheFamily(t *testing.T) {
	names := map[string]Mechanism{}
	for _, m := range Mechanisms() {
		if _, twice := names[m.Name]; twice {
			t.Errorf("%s is listed twice", m.Name)
		}
		names[m.Name] = m
		if slices.Contains([]string{m.Title, m.Controls, m.Sells, m.When, m.Signal, m.Chosen}, "") {
			t.Errorf("%+v says too little", m)
		}
		if !slices.Contains([]string{"spot", "batch", "lease", "lottery", "lab"}, m.Lane) {
			t.Errorf("%s is in no lane: %q", m.Name, m.Lane)
		}
		_, err := Solve(m.Name, Game{Values: []float64{4, 2}, Reserve: 5 * float64(b2i(m.Reverse))})
		if (err == nil) != m.Solvable {
			t.Errorf("%s: solvable %v, yet %v", m.Name, m.Solvable, err)
		}
	}
	for _, name := range strings.Fields(`lottery-all-pay lottery-winner-pays score vickrey second-price vcg candle
		second-price-burn second-price-smooth proportional-all-pay proportional-winner-pays winner-take-all tullock
		all-pay-auction first-price gsp-slots uniform uniform-last gsp first`) {
		if _, ok := names[name]; !ok {
			t.Errorf("no %s", name)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestSolveRefuses(t *testing.T) {
	two := []float64{4, 2}
	for _, c := range []struct {
		mechanism string
		game      Game
		says      string
	}{
		{"auction", Game{Values: two}, "want one of lottery-all-pay"},
		{"", Game{Values: two}, "no such mechanism"},
		{"candle", Game{Values: two}, "see Candle"},
		{"second-price", Game{}, "0 values"},
		{"second-price", Game{Values: make([]float64, MaxBidders+1)}, "1001 values"},
		{"second-price", Game{Values: []float64{4, 0}}, "value 1 is 0"},
		{"second-price", Game{Values: []float64{-1}}, "value 0 is -1"},
		{"second-price", Game{Values: []float64{math.NaN()}}, "value 0 is NaN"},
		{"second-price", Game{Values: []float64{math.Inf(1)}}, "value 0 is +Inf"},
		{"second-price", Game{Values: []float64{2 * MaxAmount}}, "value 0 is 2e+09"},
		{"second-price", Game{Values: two, Reserve: math.NaN()}, "a reserve of NaN"},
		{"second-price", Game{Values: two, Reserve: -1}, "a reserve of -1"},
		{"second-price", Game{Values: two, Units: 2}, "it allocates one"},
		{"second-price", Game{Values: two, Weights: []float64{1}}, "gsp-slots only"},
		{"proportional-all-pay", Game{Values: two, Reserve: 1}, "leave it 0"},
		{"tullock", Game{Values: two, Alpha: math.NaN()}, "an alpha of NaN"},
		{"tullock", Game{Values: two, Alpha: -1}, "an alpha of -1"},
		{"tullock", Game{Values: two, Alpha: math.Inf(1)}, "an alpha of +Inf"},
		{"lottery-all-pay", Game{Values: two, Price: -1}, "ticket price"},
		{"lottery-winner-pays", Game{Values: two, Price: 1e-7}, "ticket price"},
		{"vcg", Game{Values: two}, "no reserve"},
		{"vcg", Game{Values: []float64{-1}, Reserve: 1}, "value 0 is -1"},
		{"vcg", Game{Values: two, Reserve: 5, Units: -1}, "-1 units"},
		{"vcg", Game{Values: two, Reserve: 5, Units: MaxBidders + 1}, "1001 units"},
		{"vickrey", Game{Values: two, Reserve: 5, Units: 2}, "it allocates one"},
		{"gsp-slots", Game{Values: two, Units: 2, Weights: []float64{1}}, "1 weights for 2 slots"},
		{"gsp-slots", Game{Values: two, Units: 2, Weights: []float64{0.5, 0.6}}, "falling"},
	} {
		out, err := Solve(c.mechanism, c.game)
		if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), c.says) || out != nil {
			t.Errorf("%s over %+v: %v, %v, want an error that says %q", c.mechanism, c.game, out, err, c.says)
		}
	}
}

// The extremes of what is accepted are solved, quickly, in numbers that JSON has.
func TestSolveAtTheLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 0))
	many := make([]float64, MaxBidders)
	for i := range many {
		many[i] = math.Exp(math.Log(MinAmount) + r.Float64()*math.Log(MaxAmount/MinAmount))
	}
	equal := slices.Repeat([]float64{3}, MaxBidders)
	for _, values := range [][]float64{{1}, {MinAmount, MaxAmount}, {MaxAmount, MaxAmount}, {MinAmount, MinAmount, MinAmount}, many, equal} {
		for i := range family {
			m := &family[i]
			if m.solve == nil {
				continue
			}
			alphas := []float64{0}
			if m.Name == "tullock" {
				alphas = []float64{MinAlpha, 0.5, 0.999999, 1.000001, 1.001, 1.01, 1.5, 2, MaxAlpha}
			}
			for _, alpha := range alphas {
				g := Game{Values: values, Alpha: alpha}
				if m.Reverse {
					g.Reserve = MaxAmount
				}
				out := solved(t, m.Name, g)
				if _, err := json.Marshal(out); err != nil {
					t.Errorf("%s: %v", m.Name, err)
				}
				if g.Units = 1; out.Pure {
					checkSums(t, g, out)
				}
			}
		}
	}
}

// What the laboratory says of sealed rules is what the farm's own rules do with
// the equilibrium's bids.
func TestEquilibriaClearAsTheFarmDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 0))
	for range games {
		values := make([]float64, 2+r.IntN(5))
		for i := range values {
			values[i] = float64(1+r.IntN(12)) / 2
		}
		g := Game{Values: values, Reserve: float64(1 + r.IntN(6)), Units: 1 + r.IntN(5)}
		for p := auction.PricingVCG; p <= auction.PricingFirst; p++ {
			out := solved(t, p.String(), g)
			asks := make([]auction.Ask, len(values))
			for i, b := range out.Bids {
				// An epsilon less, which the winners' bids stand for.
				asks[i] = auction.Ask{Price: credits(b), Capacity: 1, Tie: [32]byte{byte(255 * (1 - out.Allocations[i]))}}
			}
			cleared, err := auction.ClearBatch(asks, uint64(g.Units), credits(g.Reserve), p)
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range cleared.Allocation {
				if float64(n) != out.Allocations[i] || amount(cleared.Payments[i]) != out.Payments[i] {
					t.Fatalf("%v over %+v: the farm allocates %v and pays %v, the laboratory says %+v", p, g, cleared.Allocation, cleared.Payments, out)
				}
			}
		}
		checkForward(t, g)
	}
}

func checkForward(t *testing.T, g Game) {
	t.Helper()
	out := solved(t, "second-price", Game{Values: g.Values, Reserve: g.Reserve})
	winner, payment, err := auction.SellOne(inCredits(out.Bids), credits(g.Reserve))
	if err != nil || winner >= 0 && (out.Allocations[winner] != 1 || out.Payments[winner] != amount(payment)) || winner < 0 && out.Revenue != 0 {
		t.Fatalf("over %+v the farm sells to %d for %v, the laboratory says %+v", g, winner, payment, out)
	}
	out = solved(t, "gsp-slots", Game{Values: g.Values, Units: g.Units})
	order, payments, err := auction.SellSlots(inCredits(out.Bids), g.Units)
	if err != nil {
		t.Fatal(err)
	}
	revenue := 0.0
	for _, p := range payments {
		revenue += amount(p)
	}
	if revenue != out.Revenue || len(order) != int(total(out.Allocations)) {
		t.Fatalf("over %+v the farm sells slots to %v for %v, the laboratory says %+v", g, order, payments, out)
	}
}

func inCredits(bids []float64) []escrow.Credits {
	list := make([]escrow.Credits, len(bids))
	for i, b := range bids {
		list[i] = credits(b)
	}
	return list
}
