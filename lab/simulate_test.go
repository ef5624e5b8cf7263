package lab

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

const testRounds = 6000

func simulated(t *testing.T, e Experiment) *Report {
	t.Helper()
	if e.Distribution == "" {
		e.Distribution = "uniform"
	}
	if e.Rounds == 0 {
		e.Rounds = testRounds
	}
	if e.Seed == 0 {
		e.Seed = 42
	}
	report, err := Simulate(context.Background(), e)
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	return report
}

// covers tells whether an interval, half as wide again so that a fixed seed is no
// lottery of a hundred assertions, holds x.
func (e Estimate) covers(x float64) bool {
	return math.Abs(e.Mean-x) <= 1.5*(e.High-e.Low)/2+1e-9
}

// Textbook revenues of n values uniform on [0, 1] (Krishna, Auction Theory, 2).
func TestHonestRevenueIsTheTextbooks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		e    Experiment
		want float64
	}{
		{Experiment{Mechanism: "second-price", Bidders: 2}, 1.0 / 3},
		{Experiment{Mechanism: "second-price", Bidders: 5}, 4.0 / 6},
		{Experiment{Mechanism: "second-price", Bidders: 2, Reserve: 0.5}, 5.0 / 12},
		{Experiment{Mechanism: "first-price", Bidders: 2}, 1.0 / 3},
		{Experiment{Mechanism: "first-price", Bidders: 5}, 4.0 / 6},
		{Experiment{Mechanism: "first-price", Bidders: 2, Reserve: 0.5}, 5.0 / 12},
		{Experiment{Mechanism: "gsp-slots", Bidders: 5, Units: 2}, 4.0/6 + 3.0/6},
		{Experiment{Mechanism: "vickrey", Bidders: 5, Reserve: 1}, 2.0 / 6},
		{Experiment{Mechanism: "vcg", Bidders: 5, Units: 2, Reserve: 1}, 2 * 3.0 / 6},
		{Experiment{Mechanism: "uniform", Bidders: 5, Units: 2, Reserve: 1}, 2 * 3.0 / 6},
		{Experiment{Mechanism: "uniform-last", Bidders: 5, Units: 2, Reserve: 1}, 2 * 2.0 / 6},
		{Experiment{Mechanism: "gsp", Bidders: 5, Units: 2, Reserve: 1}, 2.0/6 + 3.0/6},
		{Experiment{Mechanism: "first", Bidders: 5, Units: 2, Reserve: 1}, 1.0/6 + 2.0/6},
		{Experiment{Mechanism: "lottery-winner-pays", Bidders: 5, Reserve: 0.001}, 0.001},
	} {
		report := simulated(t, c.e)
		if !report.HonestRevenue.covers(c.want) || report.Revenue != report.HonestRevenue || report.Gain != (Estimate{}) {
			t.Errorf("%+v: revenue %+v, want %v", c.e, report.HonestRevenue, c.want)
		}
	}
}

// Revenue equivalence holds for other distributions too, which checks the table
// of first-price bids against the second price.
func TestFirstPriceEqualsSecond(t *testing.T) {
	t.Parallel()
	for _, distribution := range Distributions() {
		for _, bidders := range []int{2, 6} {
			first := simulated(t, Experiment{Mechanism: "first-price", Distribution: distribution, Bidders: bidders, Rounds: 20_000}).Revenue
			second := simulated(t, Experiment{Mechanism: "second-price", Distribution: distribution, Bidders: bidders, Rounds: 20_000}).Revenue
			if first.Low > second.High || first.High < second.Low {
				t.Errorf("%s, %d bidders: %+v and %+v", distribution, bidders, first, second)
			}
		}
	}
}

// What the deviator of an experiment gains: above 0, below, or nothing at all.
const (
	pays = iota
	loses
	neither
)

var deviating = []struct {
	e    Experiment
	want int
}{
	// Shading pays exactly where truth is not dominant.
	{Experiment{Mechanism: "first", Bidders: 5, Reserve: 1, Shade: 0.3}, pays},
	{Experiment{Mechanism: "first", Bidders: 5, Units: 4, Capacity: 2, Reserve: 1, Shade: 0.3}, pays},
	{Experiment{Mechanism: "gsp", Bidders: 5, Units: 3, Reserve: 1, Shade: 0.3}, pays},
	{Experiment{Mechanism: "uniform-last", Bidders: 4, Units: 3, Reserve: 1, Shade: 0.2}, pays},
	{Experiment{Mechanism: "uniform", Bidders: 4, Units: 5, Capacity: 2, Reserve: 1, Shade: 0.2}, pays},
	{Experiment{Mechanism: "gsp-slots", Bidders: 5, Units: 3, Shade: 0.3}, pays},
	{Experiment{Mechanism: "vickrey", Bidders: 4, Reserve: 1, Shade: 0.3}, loses},
	{Experiment{Mechanism: "vcg", Bidders: 4, Units: 5, Capacity: 2, Reserve: 1, Shade: 0.3}, loses},
	{Experiment{Mechanism: "vcg", Distribution: "pareto", Bidders: 4, Units: 5, Capacity: 3, Reserve: 3, Shade: 0.5}, loses},
	{Experiment{Mechanism: "uniform", Bidders: 4, Units: 3, Reserve: 1, Shade: 0.3}, loses}, // one unit each: truth is dominant
	{Experiment{Mechanism: "second-price", Bidders: 4, Shade: 0.3}, loses},
	{Experiment{Mechanism: "first-price", Bidders: 4, Shade: 0.5}, loses}, // the equilibrium is 1/4
	{Experiment{Mechanism: "first-price", Distribution: "exponential", Bidders: 3, Shade: 0.1}, loses},
	{Experiment{Mechanism: "proportional-all-pay", Bidders: 4, Shade: 0.3}, loses},
	{Experiment{Mechanism: "proportional-winner-pays", Bidders: 4, Shade: 0.3}, loses},

	// Sybils.
	{Experiment{Mechanism: "uniform", Bidders: 4, Units: 5, Capacity: 2, Reserve: 1, Sybils: 1}, pays},
	{Experiment{Mechanism: "uniform-last", Bidders: 3, Units: 4, Capacity: 2, Reserve: 1, Sybils: 1}, pays},
	{Experiment{Mechanism: "gsp", Bidders: 4, Units: 5, Capacity: 2, Reserve: 1, Sybils: 1}, pays},
	{Experiment{Mechanism: "first", Bidders: 4, Units: 5, Capacity: 3, Reserve: 1, Sybils: 2}, pays},
	{Experiment{Mechanism: "vcg", Bidders: 4, Units: 5, Capacity: 2, Reserve: 1, Sybils: 1}, loses},
	{Experiment{Mechanism: "vickrey", Bidders: 4, Reserve: 2, Sybils: 1}, neither},
	{Experiment{Mechanism: "second-price", Bidders: 4, Sybils: 2}, loses},
	{Experiment{Mechanism: "first-price", Bidders: 4, Sybils: 2}, neither},
	{Experiment{Mechanism: "gsp-slots", Bidders: 4, Units: 2, Sybils: 1}, loses},
	{Experiment{Mechanism: "proportional-all-pay", Bidders: 4, Sybils: 3}, neither},
	{Experiment{Mechanism: "proportional-winner-pays", Bidders: 4, Sybils: 3}, pays},
	{Experiment{Mechanism: "lottery-winner-pays", Bidders: 4, Sybils: 1}, pays},

	// Rings.
	{Experiment{Mechanism: "second-price", Bidders: 4, Ring: 3}, pays},
	{Experiment{Mechanism: "first-price", Bidders: 4, Ring: 3}, pays},
	{Experiment{Mechanism: "proportional-all-pay", Bidders: 4, Ring: 3}, pays},
	{Experiment{Mechanism: "proportional-winner-pays", Bidders: 4, Ring: 3}, pays},
	{Experiment{Mechanism: "vickrey", Bidders: 4, Reserve: 1, Ring: 3}, pays},
	{Experiment{Mechanism: "vcg", Bidders: 5, Units: 2, Reserve: 1, Ring: 4}, pays},

	// The other side's false bids.
	{Experiment{Mechanism: "second-price", Bidders: 2, Shills: 1}, pays},
	{Experiment{Mechanism: "vickrey", Bidders: 2, Reserve: 2, Shills: 1}, loses}, // a unit worth 2 is lost half of the time
}

func TestDeviationsPayWhereRulesAreNotProof(t *testing.T) {
	t.Parallel()
	for _, c := range deviating {
		report := simulated(t, c.e)
		ok := false
		switch c.want {
		case pays:
			ok = report.Gain.Low > 0
		case loses:
			ok = report.Gain.High < 0
		case neither:
			ok = near(report.Gain.Mean, 0, 1e-9)
		}
		if !ok {
			t.Errorf("%+v: gain %+v, want case %d (%s)", c.e, report.Gain, c.want, report.Strategy)
		}
		if !near(report.Gain.Mean, report.Utility.Mean-report.HonestUtility.Mean, 1e-8) {
			t.Errorf("%+v: %+v", c.e, report)
		}
		if report.Strategy == "" || report.Strategy == "nobody deviates" {
			t.Errorf("%+v: strategy %q", c.e, report.Strategy)
		}
	}
}

// Splitting tickets changes no odds: on the same draws it may change who wins,
// on average nothing.
func TestTicketsOverNamesGainNothing(t *testing.T) {
	report := simulated(t, Experiment{Mechanism: "lottery-all-pay", Bidders: 4, Sybils: 4, Rounds: 20_000})
	if !report.Gain.covers(0) {
		t.Errorf("%+v", report.Gain)
	}
}

func TestRingsLowerAndShillsRaiseRevenue(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"second-price", "first-price", "gsp-slots", "proportional-all-pay", "lottery-all-pay"} {
		report := simulated(t, Experiment{Mechanism: mechanism, Bidders: 4, Ring: 3})
		if report.Revenue.High >= report.HonestRevenue.Low {
			t.Errorf("%s: a ring moves revenue from %+v to %+v", mechanism, report.HonestRevenue, report.Revenue)
		}
	}
	for _, e := range []Experiment{
		{Mechanism: "second-price", Bidders: 2, Shills: 1}, {Mechanism: "second-price", Bidders: 4, Shills: 1}, {Mechanism: "second-price", Distribution: "exponential", Bidders: 3, Shills: 1},
	} {
		report := simulated(t, e)
		if report.Gain.Low <= 0 || report.Revenue.Mean <= report.HonestRevenue.Mean {
			t.Errorf("%+v: shills move revenue from %+v to %+v", e, report.HonestRevenue, report.Revenue)
		}
	}
	// A shill at the median does to one honest buyer what a reserve there does.
	report := simulated(t, Experiment{Mechanism: "second-price", Bidders: 2, Shills: 1})
	if !report.Revenue.covers(5.0 / 12) {
		t.Errorf("revenue with a shill at 1/2 is %+v, want 5/12", report.Revenue)
	}
}

// The report is a function of the experiment, on one processor or on many.
func TestSimulationIsDeterministic(t *testing.T) {
	e := Experiment{Mechanism: "uniform", Distribution: "lognormal", Bidders: 4, Units: 5, Capacity: 2, Reserve: 3, Sybils: 1, Rounds: 5000, Seed: 9}
	first := simulated(t, e)
	before := runtime.GOMAXPROCS(1)
	second := simulated(t, e)
	runtime.GOMAXPROCS(7)
	third := simulated(t, e)
	runtime.GOMAXPROCS(before)
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(first, third) {
		t.Errorf("reports differ:\n%+v\n%+v\n%+v", first, second, third)
	}
	e.Seed = 10
	if other := simulated(t, e); other.Revenue == first.Revenue {
		t.Error("another seed gives the same revenue")
	}
}

func TestEveryMarketRuns(t *testing.T) {
	for _, name := range SimulatedMechanisms() {
		for _, distribution := range Distributions() {
			e := Experiment{Mechanism: name, Distribution: distribution, Bidders: 3, Ring: 2, Shills: 1, Rounds: 300}
			for i := range markets {
				if m := &markets[i]; m.name == name && m.reverse {
					e.Reserve = 1.5
				}
			}
			report := simulated(t, e)
			text, err := json.Marshal(report)
			if err != nil || !strings.Contains(string(text), `"honest_revenue":{"mean":`) || !strings.Contains(string(text), `"mechanism":"`) {
				t.Errorf("%s: %s, %v", name, text, err)
			}
			if e := report.Efficiency; e.Mean < 0 || e.Mean > 1 {
				t.Errorf("%s: efficiency %+v", name, e)
			}
		}
		// Alone there is nothing to compete for, and nothing breaks.
		e := Experiment{Mechanism: name, Bidders: 1, Rounds: 2}
		if m, _ := solvable(name); m.Reverse {
			e.Reserve = 1
		}
		simulated(t, e)
	}
}

func TestSimulateRefuses(t *testing.T) {
	good := Experiment{Mechanism: "vcg", Distribution: "uniform", Bidders: 4, Units: 2, Capacity: 2, Reserve: 1, Rounds: 100}
	for says, spoil := range map[string]func(e *Experiment){
		"nothing simulates": func(e *Experiment) { e.Mechanism = "candle" },
		"no distribution":   func(e *Experiment) { e.Distribution = "normal" },
		"0 bidders":         func(e *Experiment) { e.Bidders = 0 },
		"-1 bidders":        func(e *Experiment) { e.Bidders = -1 },
		"1001 bidders":      func(e *Experiment) { e.Bidders = MaxBidders + 1 },
		"0 rounds":          func(e *Experiment) { e.Rounds = 0 },
		"1 rounds":          func(e *Experiment) { e.Rounds = 1 },
		"10000001 rounds":   func(e *Experiment) { e.Rounds = MaxRounds + 1 },
		"run fewer rounds":  func(e *Experiment) { e.Rounds, e.Bidders = MaxRounds, 100 },
		"-1 units":          func(e *Experiment) { e.Units = -1 },
		"units of capacity": func(e *Experiment) { e.Capacity = MaxCapacity + 1 },
		"a ring of 1":       func(e *Experiment) { e.Ring = 1 },
		"a ring of 5":       func(e *Experiment) { e.Ring = 5 },
		"-1 sybil names":    func(e *Experiment) { e.Sybils = -1 },
		"must have a unit":  func(e *Experiment) { e.Sybils = 2 },
		"-1 shills":         func(e *Experiment) { e.Shills = -1 },
		"no reserve":        func(e *Experiment) { e.Reserve = 0 },
		"a reserve of NaN":  func(e *Experiment) { e.Reserve = math.NaN() },
		"a reserve of +Inf": func(e *Experiment) { e.Reserve = math.Inf(1) },
		"a reserve of -1":   func(e *Experiment) { e.Reserve = -1 },
		"a shade of NaN":    func(e *Experiment) { e.Shade = math.NaN() },
		"a shade of -1":     func(e *Experiment) { e.Shade = -1 },
		"a shade of 2, want 0 to 1": func(e *Experiment) {
			*e = Experiment{Mechanism: "second-price", Distribution: "uniform", Bidders: 2, Rounds: 9, Shade: 2}
		},
		"knows no least price": func(e *Experiment) { e.Mechanism = "gsp-slots" },
		"allocates one":        func(e *Experiment) { e.Mechanism = "vickrey" },
		"nobody has more":      func(e *Experiment) { e.Mechanism, e.Units = "vickrey", 1 },
	} {
		e := good
		spoil(&e)
		if report, err := Simulate(context.Background(), e); !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, %v, want an error that says %q", e, report, err, says)
		}
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Simulate(stopped, good); !errors.Is(err, context.Canceled) {
		t.Errorf("a stopped simulation returns %v", err)
	}
}

func TestEstimate(t *testing.T) {
	var all, left, right moments
	for i, x := range []float64{1, 2, 3, 4, 10} {
		all.add(x)
		if i < 2 {
			left.add(x)
		} else {
			right.add(x)
		}
	}
	left.merge(right)
	left.merge(moments{})
	// The mean is 4, the variance 12.5, the half width 1.96·√(12.5/5).
	e := left.estimate()
	half := 1.959963984540054 * math.Sqrt(2.5)
	if !near(e.Mean, 4, 1e-12) || !near(e.Low, 4-half, 1e-12) || !near(e.High, 4+half, 1e-12) || !near(all.estimate().Low, e.Low, 1e-12) {
		t.Errorf("%+v and %+v", e, all.estimate())
	}
}
