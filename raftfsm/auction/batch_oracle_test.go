package auction

import (
	"bytes"
	"cmp"
	"math/rand"
	"slices"
	"testing"

	"gavel/raftfsm/escrow"
)

// sold compares entries as their order is defined, by its own code.
func sold(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Price, b.Price), bytes.Compare(a.Tie[:], b.Tie[:]), bytes.Compare(a.ID[:], b.ID[:]))
}

func saleOrder(entries []Entry) []Entry {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, sold)
	return sorted
}

// leastCost tries every way to take up to units from entries, those above the
// reserve left out, and returns the least cost where what is missing costs the
// reserve; and of the ways that cost so little the one that takes most of the
// first entry, then of the second, and so on.
func leastCost(entries []Entry, units uint64, reserve escrow.Credits) (escrow.Credits, []uint64) {
	if len(entries) == 0 {
		return reserve * escrow.Credits(units), nil
	}
	first, least, way := entries[0], escrow.Credits(-1), []uint64(nil)
	for take := uint64(0); take <= min(units, first.Units); take++ {
		if take > 0 && first.Price > reserve {
			break
		}
		cost, rest := leastCost(entries[1:], units-take, reserve)
		if cost += first.Price * escrow.Credits(take); least < 0 || cost <= least {
			least, way = cost, append([]uint64{take}, rest...)
		}
	}
	return least, way
}

// greedyCost is leastCost of entries in the order of sale, without trying
// everything: TestBatchAgainstOracle holds one to the other.
func greedyCost(entries []Entry, units uint64, reserve escrow.Credits) (cost escrow.Credits, way []uint64) {
	for _, e := range entries {
		take := uint64(0)
		if e.Price <= reserve {
			take = min(units, e.Units)
		}
		units -= take
		cost += e.Price * escrow.Credits(take)
		way = append(way, take)
	}
	return cost + reserve*escrow.Credits(units), way
}

// naiveClearing clears entries by the definitions: Clarke's from the least
// costs with and without, the others from a list of units one by one.
func naiveClearing(entries []Entry, units uint64, reserve escrow.Credits, pricing Pricing,
	least func([]Entry, uint64, escrow.Credits) (escrow.Credits, []uint64)) Clearing {
	sorted := saleOrder(entries)
	with, way := least(sorted, units, reserve)
	var queue []escrow.Credits // prices of units within the reserve
	for _, e := range sorted {
		for range e.Units {
			if e.Price <= reserve {
				queue = append(queue, e.Price)
			}
		}
	}
	priceOf := func(unit uint64) escrow.Credits {
		if unit < uint64(len(queue)) {
			return queue[unit]
		}
		return reserve
	}
	var out Clearing
	for i, take := range way {
		if take == 0 {
			continue
		}
		w := Win{Entry: sorted[i], Allocation: take}
		for unit := out.Units; unit < out.Units+take; unit++ {
			switch pricing {
			case PricingUniform:
				w.Payment += priceOf(units)
			case PricingUniformLast:
				w.Payment += priceOf(min(units, uint64(len(queue))) - 1)
			case PricingGSP:
				w.Payment += priceOf(unit + 1)
			case PricingFirst:
				w.Payment += priceOf(unit)
			}
		}
		if pricing == PricingVCG {
			others := append(slices.Clone(sorted[:i]), sorted[i+1:]...)
			without, _ := least(others, units, reserve)
			w.Payment = without - (with - w.Entry.Price*escrow.Credits(take))
		}
		out.Wins, out.Units, out.Strike = append(out.Wins, w), out.Units+take, w.Entry.Price
	}
	return out
}

func sameClearing(a, b Clearing) bool {
	return slices.Equal(a.Wins, b.Wins) && a.Units == b.Units && a.Strike == b.Strike
}

// randomTie is one of four: the last bytes decide where the first are equal.
func randomTie(n int) [32]byte { return [32]byte{0: byte(n & 1), 31: byte(n >> 1)} }

// randomEntries draws few different prices and ties, so that both are shared.
func randomEntries(r *rand.Rand, most int, reserve escrow.Credits) []Entry {
	entries := make([]Entry, r.Intn(most+1))
	for i := range entries {
		entries[i] = Entry{ID: key(byte(i)), Tie: randomTie(r.Intn(4)), Price: escrow.Credits(r.Int63n(int64(reserve) + 3)), Units: 1 + uint64(r.Intn(3))}
	}
	r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	return entries
}

// tally counts what random cases met, so that a test that met too little fails.
type tally map[string]int

func (c tally) atLeast(t *testing.T, want int, what ...string) {
	t.Helper()
	for _, name := range what {
		if c[name] < want {
			t.Errorf("%d cases of %q, want %d: too few to mean anything", c[name], name, want)
		}
	}
	t.Logf("%v", c)
}

// Each rule pays what its definition says, from a Standing and from a list.
func TestBatchAgainstOracle(t *testing.T) {
	const seed = 20260930
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for n := range 100_000 {
		reserve := escrow.Credits(r.Int63n(1 << r.Intn(6)))
		entries, units := randomEntries(r, 4, reserve), 1+uint64(r.Intn(7))
		pricing := Pricing(1 + n%5)
		want := naiveClearing(entries, units, reserve, pricing, leastCost)
		if quick := naiveClearing(entries, units, reserve, pricing, greedyCost); !sameClearing(quick, want) {
			t.Fatalf("%v of %+v, %d units within %d: greedily %+v, trying everything %+v", pricing, entries, units, reserve, quick, want)
		}
		s, err := NewStanding(entries)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Clear(units, reserve, pricing)
		if err != nil || !sameClearing(got, want) {
			t.Fatalf("%v of %+v, %d units within %d: %+v, %v; oracle %+v", pricing, entries, units, reserve, got, err, want)
		}
		// A list's place stands for the id, so it is laid out in that order.
		slices.SortFunc(entries, func(a, b Entry) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		var asks []Ask
		for _, e := range entries {
			asks = append(asks, Ask{Tie: e.Tie, Price: e.Price, Capacity: e.Units})
		}
		batch, err := ClearBatch(asks, units, reserve, pricing)
		if err != nil || batch.Strike != want.Strike {
			t.Fatalf("%v of %+v, %d units within %d: %+v, %v; oracle %+v", pricing, asks, units, reserve, batch, err, want)
		}
		for i, e := range entries {
			var w Win
			if at := slices.IndexFunc(want.Wins, func(w Win) bool { return w.Entry.ID == e.ID }); at >= 0 {
				w = want.Wins[at]
			}
			if batch.Allocation[i] != w.Allocation || batch.Payments[i] != w.Payment {
				t.Fatalf("%v of %+v, %d units within %d: %+v; oracle %+v", pricing, asks, units, reserve, batch, want)
			}
		}
		met.clearing(want, entries, units, pricing)
	}
	met.atLeast(t, 1000, "tie", "full tie", "short", "partial win", "vcg", "uniform", "uniform-last", "gsp", "first")
}

// clearing counts what makes a case worth having.
func (c tally) clearing(got Clearing, entries []Entry, units uint64, pricing Pricing) {
	sorted := saleOrder(entries)
	n := len(got.Wins)
	if n == 0 {
		c["no win"]++
		return
	}
	c[pricing.String()]++
	if n < len(sorted) && sorted[n].Price == got.Strike { // at the margin
		c["tie"]++
		if sorted[n].Tie == sorted[n-1].Tie {
			c["full tie"]++
		}
	}
	if got.Units < units {
		c["short"]++
	}
	if w := got.Wins[n-1]; w.Allocation < w.Entry.Units {
		c["partial win"]++
	}
}
