package auction

import (
	"errors"
	"math/big"
	"math/rand"
	"testing"

	"gavel/raftfsm/escrow"
)

// randomAsks draws few different prices and ties, so that both are shared.
func randomAsks(r *rand.Rand, most int, reserve escrow.Credits) []Ask {
	var asks []Ask
	for _, e := range randomEntries(r, most, reserve) {
		asks = append(asks, Ask{Tie: e.Tie, Price: e.Price, Capacity: e.Units})
	}
	return asks
}

func mustClear(t *testing.T, asks []Ask, units uint64, reserve escrow.Credits, pricing Pricing) BatchOutcome {
	t.Helper()
	out, err := ClearBatch(asks, units, reserve, pricing)
	if err != nil {
		t.Fatalf("%v of %+v, %d units within %d: %v", pricing, asks, units, reserve, err)
	}
	return out
}

// Whoever sells is paid at least its price and at most the reserve a unit; a
// higher reserve takes no unit and no credit from anybody; and rules pay in the
// order first ≤ gsp ≤ uniform ≤ vcg and first ≤ uniform-last ≤ uniform.
func TestBatchProperties(t *testing.T) {
	const seed = 20261013
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 50_000 { // of each rule
		reserve := escrow.Credits(r.Intn(12))
		asks, units, more := randomAsks(r, 6, reserve), 1+uint64(r.Intn(9)), escrow.Credits(r.Intn(3))
		var payments [PricingFirst + 1][]escrow.Credits
		for pricing := PricingVCG; pricing.Valid(); pricing++ {
			out := mustClear(t, asks, units, reserve, pricing)
			payments[pricing] = out.Payments
			raised := mustClear(t, asks, units, reserve+more, pricing)
			sold, cost, paid := uint64(0), escrow.Credits(0), escrow.Credits(0)
			for i, a := range asks {
				n := escrow.Credits(out.Allocation[i])
				if out.Payments[i] < a.Price*n || out.Payments[i] > reserve*n {
					t.Fatalf("%v of %+v, %d units within %d: ask %d is paid %d for %d", pricing, asks, units, reserve, i, out.Payments[i], n)
				}
				if raised.Allocation[i] < out.Allocation[i] || raised.Payments[i] < out.Payments[i] {
					t.Fatalf("%v of %+v, %d units: ask %d gets %d for %d within %d, %d for %d within %d", pricing, asks, units, i,
						out.Payments[i], n, reserve, raised.Payments[i], raised.Allocation[i], reserve+more)
				}
				if raised.Payments[i] > out.Payments[i] {
					met["raised "+pricing.String()]++
				}
				sold, cost, paid = sold+out.Allocation[i], cost+a.Price*n, paid+out.Payments[i]
			}
			if sold > units || paid < cost || paid > reserve*escrow.Credits(units) {
				t.Fatalf("%v of %+v, %d units within %d: %d units that cost %d for %d", pricing, asks, units, reserve, sold, cost, paid)
			}
		}
		for _, order := range [][2]Pricing{{PricingFirst, PricingGSP}, {PricingGSP, PricingUniform}, {PricingUniform, PricingVCG}, {PricingFirst, PricingUniformLast}, {PricingUniformLast, PricingUniform}} {
			for i := range asks {
				less, more := payments[order[0]][i], payments[order[1]][i]
				if less > more {
					t.Fatalf("%+v, %d units within %d: ask %d is paid %d under %v, %d under %v", asks, units, reserve, i, less, order[0], more, order[1])
				}
				if less < more {
					met[order[0].String()+" < "+order[1].String()]++
				}
			}
		}
	}
	met.atLeast(t, 1000, "raised vcg", "raised uniform", "raised uniform-last", "raised gsp",
		"first < gsp", "gsp < uniform", "uniform < vcg", "first < uniform-last", "uniform-last < uniform")
}

// exactClearing is each rule in integers without bounds, for amounts that credits cannot sum.
func exactClearing(sorted []Entry, units uint64, reserve escrow.Credits, pricing Pricing) (payments []*big.Int) {
	price := func(unit uint64) escrow.Credits { // of the unit with so many before it
		for _, e := range sorted {
			if e.Price > reserve {
				break
			}
			if unit < e.Units {
				return e.Price
			}
			unit -= e.Units
		}
		return reserve
	}
	cost := func(without int) *big.Int {
		sum, left := new(big.Int), units
		for i, e := range sorted {
			if i != without && e.Price <= reserve {
				take := min(left, e.Units)
				left -= take
				sum.Add(sum, times(e.Price, take))
			}
		}
		return sum.Add(sum, times(reserve, left))
	}
	sold := uint64(0)
	for i, e := range sorted {
		if e.Price > reserve || sold == units {
			break
		}
		take := min(units-sold, e.Units)
		sold += take
		switch pricing {
		case PricingVCG:
			without := cost(i)
			payments = append(payments, without.Sub(without, cost(-1)).Add(without, times(e.Price, take)))
		case PricingUniform:
			payments = append(payments, times(price(units), take))
		case PricingGSP:
			payments = append(payments, new(big.Int).Add(times(e.Price, take-1), times(price(sold), 1)))
		case PricingFirst:
			payments = append(payments, times(e.Price, take))
		}
	}
	return payments
}

func times(price escrow.Credits, units uint64) *big.Int {
	return new(big.Int).Mul(big.NewInt(int64(price)), new(big.Int).SetUint64(units))
}

// Sums that do not fit 64 bits on the way are exact, and a payment that is out of
// range in the end refuses the whole.
func TestBatchLargeAmounts(t *testing.T) {
	const seed = 20261014
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for n := range 100_000 {
		pricing := []Pricing{PricingVCG, PricingUniform, PricingGSP, PricingFirst}[n%4]
		reserve := escrow.Credits(r.Int63n(1<<(20+r.Intn(43)) + 1))
		entries := make([]Entry, r.Intn(6))
		for i := range entries {
			entries[i] = Entry{ID: key(byte(i)), Price: escrow.Credits(r.Int63n(int64(reserve) + 1)), Units: 1 + uint64(r.Int63n(1<<r.Intn(41)))}
		}
		units := 1 + uint64(r.Int63n(1<<r.Intn(41)))
		s, err := NewStanding(entries)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Clear(units, reserve, pricing)
		want, fits := exactClearing(saleOrder(entries), units, reserve, pricing), true
		for _, p := range want {
			fits = fits && p.Cmp(big.NewInt(int64(escrow.MaxCredits))) <= 0
		}
		if !fits {
			if met["overflow"]++; !errors.Is(err, escrow.ErrOverflow) {
				t.Fatalf("%v of %+v, %d units within %d: %v, exactly %v", pricing, entries, units, reserve, err, want)
			}
			continue
		}
		if err != nil || len(got.Wins) != len(want) {
			t.Fatalf("%v of %+v, %d units within %d: %+v, %v; exactly %v", pricing, entries, units, reserve, got, err, want)
		}
		for i, w := range got.Wins {
			if want[i].Cmp(big.NewInt(int64(w.Payment))) != 0 {
				t.Fatalf("%v of %+v, %d units within %d: %+v; exactly %v", pricing, entries, units, reserve, got, want)
			}
			met["exact"]++
		}
	}
	met.atLeast(t, 10_000, "overflow", "exact")
}
