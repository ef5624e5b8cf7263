package lab

import (
	"math"
	"math/rand/v2"
	"testing"
)

// secondCDF is G, leaderCDF F.
func (m *allPayMix) secondCDF(x float64) float64 {
	return math.Pow((m.top-m.second+x)/m.top, 1/float64(len(m.seconds)))
}

func (m *allPayMix) leaderCDF(x float64) float64 {
	if x == 0 {
		return 0
	}
	return x / m.second * math.Pow(m.secondCDF(x), float64(1-len(m.seconds)))
}

// wins is the chance that a bid of x beats all others' mixes in an all-pay
// auction.
func (m *allPayMix) wins(values []float64, i int, x float64) float64 {
	chance := 1.0
	if i != m.leader {
		chance = m.leaderCDF(x)
	}
	for _, j := range m.seconds {
		if j != i {
			chance *= m.secondCDF(x)
		}
	}
	return chance
}

// Every bid in the support earns the same, none outside earns more, and the
// expected bids and chances are the integrals of the mixes.
func TestAllPayMixHolds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(11, 0))
	for i := range games {
		values := randomValues(r, 2*i+r.IntN(2))
		out := solved(t, "all-pay-auction", Game{Values: values})
		checkSums(t, Game{Values: values}, out)
		m := newAllPayMix(values)
		active := map[int]bool{m.leader: true}
		for _, j := range m.seconds {
			active[j] = true
		}
		tolerance := 1e-9 * m.top
		for j, v := range values {
			for k := range 200 {
				x := m.second * (float64(k) + 0.5) / 160 // beyond the support too
				u := v*m.wins(values, j, math.Min(x, m.second)) - x
				if u > out.Utilities[j]+tolerance {
					t.Fatalf("%v: bidder %d gains %v by bidding %v", values, j, u-out.Utilities[j], x)
				}
				if active[j] && x < m.second && !near(u, out.Utilities[j], tolerance) {
					t.Fatalf("%v: bidder %d earns %v by bidding %v in the support, not %v", values, j, u, x, out.Utilities[j])
				}
			}
		}
		checkMixIntegrals(t, m, out)
		if out.Pure {
			t.Fatal("a mixed equilibrium is called pure")
		}
	}
}

func checkMixIntegrals(t *testing.T, m *allPayMix, out *Outcome) {
	t.Helper()
	const points = 4000
	leader, second := 0.0, 0.0
	for k := range points {
		x := m.second * math.Pow((float64(k)+0.5)/points, 3) // G is steep at 0 where V = v
		step := m.second * (math.Pow(float64(k+1)/points, 3) - math.Pow(float64(k)/points, 3))
		leader += (1 - m.leaderCDF(x)) * step
		second += (1 - m.secondCDF(x)) * step
	}
	if !near(leader, out.Bids[m.leader], 1e-4*m.second) || !near(second, out.Bids[m.seconds[0]], 1e-4*m.second) {
		t.Fatalf("bids average %v and %v, reported %v", leader, second, out.Bids)
	}
	if !near(total(out.Allocations), 1, 1e-12) {
		t.Fatalf("chances %v", out.Allocations)
	}
}

func TestAllPayAuctionClosedForms(t *testing.T) {
	out := solved(t, "all-pay-auction", Game{Values: []float64{1, 5, 2}})
	sameList(t, "chances", out.Allocations, []float64{0, 1 - 2.0/10, 2.0 / 10}, 1e-12)
	sameList(t, "bids", out.Bids, []float64{0, 1, 4.0 / 10}, 1e-12)
	out = solved(t, "all-pay-auction", Game{Values: []float64{3, 3, 3, 1}})
	third := 1.0 / 3
	sameList(t, "chances of equals", out.Allocations, []float64{third, third, third, 0}, 1e-12)
	sameList(t, "bids of equals", out.Bids, []float64{1, 1, 1, 0}, 1e-12)
}

// Where not even the top two have a pure equilibrium at 1 < α ≤ 2, the second
// bidder is indifferent, the first at its best, and others stay out.
func TestTullockSometimesHolds(t *testing.T) {
	t.Parallel()
	r, mixed := rand.New(rand.NewPCG(13, 0)), 0
	for i := 0; mixed < games; i++ {
		g := Game{Values: randomValues(r, i), Alpha: 1.2 + 0.8*r.Float64()}
		out := solved(t, "tullock", g)
		if out.Pure {
			continue
		}
		mixed++
		checkSums(t, g, out)
		first, second := topTwo(&g)
		high := g.Values[second] * (1 - 1/g.Alpha)
		chance := out.Bids[second] / high
		power := func(b float64) float64 { return math.Pow(b, g.Alpha) }
		share := func(b, other float64) float64 { return power(b) / (power(b) + power(other)) }
		tolerance := 1e-9 * g.Values[first]
		earn := func(j int, b float64) float64 {
			if j == first {
				return g.Values[j]*(chance*share(b, high)+1-chance) - b
			}
			// Others face the first alone when the second sits out: the best case.
			return g.Values[j]*share(b, out.Bids[first]) - b
		}
		if !near(earn(first, out.Bids[first]), out.Utilities[first], tolerance) || !near(earn(second, high), 0, tolerance) {
			t.Fatalf("%+v over %+v: earn %v and %v", out, g, earn(first, out.Bids[first]), earn(second, high))
		}
		for _, b := range deviations(r, g, out.Bids, false)[1:] {
			for j := range g.Values {
				if earn(j, b) > out.Utilities[j]+tolerance {
					t.Fatalf("%+v over %+v: %d gains by bidding %v", out, g, j, b)
				}
			}
		}
	}
}

// Above α = 2 the equilibrium rests on a mix with which two equals earn nothing.
// The contest of two equals is a constant-sum game but for terms no player
// controls, so regret matching finds its mix on a grid.
func TestTullockAboveTwoEqualsAllPay(t *testing.T) {
	for _, alpha := range []float64{2.5, 4} {
		const points = 80
		share := func(b, other float64) float64 {
			if b == 0 && other == 0 {
				return 0.5
			}
			return math.Pow(b, alpha) / (math.Pow(b, alpha) + math.Pow(other, alpha))
		}
		mix, grid := regretMix(points, share)
		mean := 0.0
		for k, p := range mix {
			mean += p * grid[k]
		}
		if !near(mean, 0.5, 0.02) {
			t.Errorf("alpha %v: two equals of value 1 bid %v on average, so they do not earn nothing", alpha, mean)
		}
		// The first plays the mix, the second only half of the time.
		out := solved(t, "tullock", Game{Values: []float64{2, 1, 0.7}, Alpha: alpha})
		for b := 0.01; b < 1.5; b += 0.01 {
			against := 0.0
			for k, p := range mix {
				against += p * share(b, grid[k])
			}
			if u := 2*(0.5*against+0.5) - b; u > out.Utilities[0]+0.03 {
				t.Errorf("alpha %v: the first earns %v by bidding %v, reported %v", alpha, u, b, out.Utilities[0])
			}
			if u := against - b; u > 0.03 {
				t.Errorf("alpha %v: the second earns %v by bidding %v", alpha, u, b)
			}
		}
		sameList(t, "chances", out.Allocations, []float64{0.75, 0.25, 0}, 1e-12)
	}
}

// regretMix is the average play of regret matching between two players of value 1.
func regretMix(points int, share func(b, other float64) float64) (mix, grid []float64) {
	grid, mix = make([]float64, points), make([]float64, points)
	gain := make([][]float64, points) // of bidding j against k
	for j := range grid {
		grid[j] = 1.1 * float64(j) / float64(points)
	}
	for j := range gain {
		for k := range grid {
			gain[j] = append(gain[j], share(grid[j], grid[k])-grid[j])
		}
	}
	regrets, play := make([]float64, points), make([]float64, points)
	for round := range 6000 {
		positive := 0.0
		for _, x := range regrets {
			positive += x
		}
		for j := range play {
			play[j] = 1 / float64(points)
			if positive > 0 {
				play[j] = regrets[j] / positive
			}
			mix[j] += play[j] * float64(round)
		}
		mean, value := 0.0, make([]float64, points)
		for j := range value {
			for k, p := range play {
				value[j] += p * gain[j][k]
			}
			mean += play[j] * value[j]
		}
		for j := range regrets {
			regrets[j] = math.Max(0, regrets[j]+value[j]-mean)
		}
	}
	sum := total(mix)
	for j := range mix {
		mix[j] /= sum
	}
	return mix, grid
}
