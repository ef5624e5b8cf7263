package auction

import (
	"errors"
	"math/big"
	"math/bits"
	"math/rand"
	"testing"

	"gavel/raftfsm/escrow"
)

// naiveOdds draws every set of k seats and every panel there is, as bit sets
// of domains of which the first c collude.
func naiveOdds(n, c, k, panel int) (odds [4]*big.Rat) {
	var ways [4]int64
	total := int64(0)
	colluders := uint(1)<<c - 1
	for seats := range uint(1) << n {
		if bits.OnesCount(seats) != k {
			continue
		}
		for jury := range uint(1) << n {
			if bits.OnesCount(jury) != panel || jury&seats != 0 {
				continue
			}
			total++
			bad := bits.OnesCount(jury & colluders)
			switch {
			case seats&^colluders == 0:
				ways[0]++
			case panel == 0:
				ways[3]++
			case 3*bad >= 2*panel:
				ways[1]++
			case 3*(panel-bad) >= 2*panel:
				ways[2]++
			default:
				ways[3]++
			}
		}
	}
	for i := range odds {
		odds[i] = big.NewRat(ways[i], total)
	}
	return odds
}

func TestOddsAgainstEnumeration(t *testing.T) {
	for n := 1; n <= 8; n++ {
		for c := 0; c <= n; c++ {
			for k := 1; k <= n; k++ {
				panel := PanelSize(n, k)
				got, err := OddsOf(n, c, k, panel)
				if err != nil {
					t.Fatal(err)
				}
				want := naiveOdds(n, c, k, panel)
				for i, p := range []*big.Rat{got.PAll, got.PFlip, got.PSlash, got.PSplit} {
					if p.Cmp(want[i]) != 0 {
						t.Fatalf("n=%d c=%d k=%d panel=%d: chance %d is %v, enumerated %v", n, c, k, panel, i, p, want[i])
					}
				}
				if all := AllColluding(c, k, n); all.Cmp(want[0]) != 0 {
					t.Fatalf("n=%d c=%d k=%d: all colluding %v, enumerated %v", n, c, k, all, want[0])
				}
			}
		}
	}
}

// naiveStake is the formula of the design, in fractions.
func naiveStake(odds Odds, reserve, atRisk escrow.Credits, samplePPM uint64) *big.Int {
	rat := func(x escrow.Credits) *big.Rat { return new(big.Rat).SetInt64(int64(x)) }
	a := big.NewRat(int64(samplePPM), PPM)
	gain := new(big.Rat).Add(rat(reserve), rat(atRisk))
	free := new(big.Rat).Add(odds.PAll, odds.PFlip)
	free.Mul(free, a).Add(free, big.NewRat(1, 1)).Sub(free, a)
	loss := new(big.Rat).Mul(gain, free)
	split := new(big.Rat).Mul(rat(reserve), odds.PSplit)
	loss.Add(loss, split.Mul(split, a))
	loss.Mul(loss, big.NewRat(2, 1)).Quo(loss, new(big.Rat).Mul(a, odds.PSlash))
	stake := new(big.Int).Add(loss.Num(), loss.Denom())
	stake.Sub(stake, big.NewInt(1)).Quo(stake, loss.Denom()) // ⌈ ⌉ of what is not negative
	if floor := big.NewInt(int64(reserve)); stake.Cmp(floor) < 0 {
		return floor
	}
	return stake
}

func TestStakeAgainstFormula(t *testing.T) {
	const seed = 20260921
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	overflows, sampled := 0, 0
	for range 20_000 {
		k := 1 + r.Intn(5)
		n := k + 3 + r.Intn(40)
		c := r.Intn(n / 2)
		panel := PanelSize(n, k)
		reserve, atRisk := escrow.Credits(r.Int63n(1<<r.Intn(62)+1)), escrow.Credits(r.Int63n(1<<r.Intn(62)+1))
		rate := uint64(PPM)
		if r.Intn(2) == 0 {
			rate = 1 + uint64(r.Intn(PPM))
			sampled++
		}
		odds, err := OddsOf(n, c, k, panel)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Stake(n, c, k, panel, reserve, atRisk, rate)
		if gain := new(big.Int).Add(big.NewInt(int64(reserve)), big.NewInt(int64(atRisk))); gain.Cmp(big.NewInt(int64(escrow.MaxCredits))) > 0 {
			if !errors.Is(err, escrow.ErrOverflow) {
				t.Fatalf("gain of %v: %v", gain, err)
			}
			continue
		}
		if reserve+atRisk == 0 {
			if got != 0 || err != nil {
				t.Fatalf("nothing at stake: %v, %v", got, err)
			}
			continue
		}
		if odds.PSlash.Sign() == 0 {
			if !errors.Is(err, ErrNoStake) {
				t.Fatalf("nobody is convicted: %v, %v", got, err)
			}
			continue
		}
		want := naiveStake(odds, reserve, atRisk, rate)
		if want.Cmp(big.NewInt(int64(escrow.MaxCredits))) > 0 {
			overflows++
			if !errors.Is(err, escrow.ErrOverflow) {
				t.Fatalf("stake %v, %v; exactly it is %v", got, err, want)
			}
			continue
		}
		if err != nil || want.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("n=%d c=%d k=%d panel=%d R=%d X=%d a=%d: stake %d, %v; want %v", n, c, k, panel, reserve, atRisk, rate, got, err, want)
		}
	}
	if overflows < 50 || sampled < 1000 {
		t.Errorf("%d overflows, %d sampled: too few to mean anything", overflows, sampled)
	}
}

func TestStakeEdges(t *testing.T) {
	if got, err := Stake(4, 1, 3, 0, 0, 0, PPM); got != 0 || err != nil {
		t.Errorf("a house pool without panel: %v, %v; want 0", got, err)
	}
	if _, err := Stake(20, 6, 3, 7, 1000, 0, 0); !errors.Is(err, ErrNoStake) {
		t.Errorf("never sampled: %v", err)
	}
	if got, err := Stake(20, 0, 3, 7, 1000, 0, PPM); got != 1000 || err != nil {
		t.Errorf("nobody colludes: %v, %v; want the reserve", got, err)
	}
	for name, err := range map[string]error{
		"negative reserve":      stakeError(20, 6, 3, 7, -1, 5, PPM),
		"negative value":        stakeError(20, 6, 3, 7, 5, -1, PPM),
		"rate above all":        stakeError(20, 6, 3, 7, 5, 5, PPM+1),
		"no seats":              stakeError(20, 6, 0, 7, 5, 5, PPM),
		"more seats than n":     stakeError(2, 1, 3, 0, 5, 5, PPM),
		"more colluders than n": stakeError(5, 6, 1, 3, 5, 5, PPM),
		"panel beyond the rest": stakeError(7, 1, 3, 5, 5, 5, PPM),
		"panel beyond 2k+1":     stakeError(20, 1, 1, 5, 5, 5, PPM),
		"too many validators":   stakeError(1000, 1, MaxValidators+1, 3, 5, 5, PPM),
		"too many domains":      stakeError(MaxDomains+1, 1, 3, 7, 5, 5, PPM),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func stakeError(n, c, k, panel int, reserve, atRisk escrow.Credits, samplePPM uint64) error {
	_, err := Stake(n, c, k, panel, reserve, atRisk, samplePPM)
	return err
}

func TestPanelSize(t *testing.T) {
	for _, c := range []struct{ n, k, want int }{
		{20, 3, 7}, {7, 2, 5}, {6, 2, 3}, {5, 2, 3}, {4, 2, 0}, {4, 1, 3}, {3, 1, 0}, {8, 3, 5}, {9, 3, 5}, {10, 3, 7}, {1, 3, 0},
	} {
		if got := PanelSize(c.n, c.k); got != c.want {
			t.Errorf("panel of n=%d, k=%d is %d, want %d", c.n, c.k, got, c.want)
		}
	}
}

func TestColluders(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	for range 10_000 {
		gamma, m := uint64(r.Intn(PPM+1)), r.Intn(1<<r.Intn(40)+1)
		product := new(big.Int).Mul(new(big.Int).SetUint64(gamma), big.NewInt(int64(m)))
		want := product.Add(product, big.NewInt(PPM-1)).Quo(product, big.NewInt(PPM)).Int64()
		if got := Colluders(gamma, m); int64(got) != want {
			t.Fatalf("%d ppm of %d: %d, want %d", gamma, m, got, want)
		}
	}
	for _, c := range []struct {
		gammaPPM uint64
		m, want  int
	}{{250_000, 7, 2}, {250_000, 20, 5}, {250_000, 0, 0}, {250_000, -1, 0}, {0, 9, 0}, {1, 9, 1}, {PPM, 9, 9}, {PPM * 9, 9, 9}, {1<<64 - 1, 9, 9}} {
		if got := Colluders(c.gammaPPM, c.m); got != c.want {
			t.Errorf("%d ppm of %d: %d, want %d", c.gammaPPM, c.m, got, c.want)
		}
	}
}

func TestAcceptableOdds(t *testing.T) {
	for _, c := range []struct {
		c, k, m  int
		pMaxPPM  uint64
		accepted bool
	}{
		{1, 1, 10, 100_000, true}, {1, 1, 10, 99_999, false}, {2, 2, 7, 100_000, true}, {0, 1, 4, 0, true},
		{5, 1, 5, PPM - 1, false}, {1, 3, 2, PPM - 1, false}, {9, 0, 20, PPM - 1, false}, {1, MaxValidators + 1, 1000, PPM - 1, false}, {-1, 1, 5, 0, true},
	} {
		if got := AcceptableOdds(c.c, c.k, c.m, c.pMaxPPM); got != c.accepted {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// The largest question a submit may ask is answered while the others wait: it must stay cheap.
func BenchmarkStakeLargest(b *testing.B) {
	for b.Loop() {
		if _, err := Stake(1000, 250, MaxValidators, PanelSize(1000, MaxValidators), 1000, 1_000_000, PPM); err != nil && !errors.Is(err, escrow.ErrOverflow) {
			b.Fatal(err)
		}
	}
}
