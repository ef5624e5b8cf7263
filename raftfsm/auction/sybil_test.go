package auction

import (
	"math/rand"
	"testing"

	"gavel/raftfsm/escrow"
)

// randomSplit spreads at most so many units, 2 or more, over two or three names.
func randomSplit(r *rand.Rand, capacity uint64, price func() escrow.Credits, tie func() [32]byte) []Ask {
	first := 1 + uint64(r.Intn(int(capacity-1)))
	second := 1 + uint64(r.Intn(int(capacity-first)))
	names := []Ask{{tie(), price(), first}, {tie(), price(), second}}
	if rest := capacity - first - second; rest > 0 && r.Intn(2) == 0 {
		names = append(names, Ask{tie(), price(), rest})
	}
	return names
}

// Under VCG no set of names with any prices gets more than one name that tells
// the truth, as long as together they offer no more than there is: replacing the
// units of one name costs less the more the others of the same person still offer
// (Yokoo, Sakurai, Matsubara, GEB 46, 2004, for falling marginal values).
func TestVCGNamesNeverHelp(t *testing.T) {
	const seed = 20261017
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 150_000 {
		s := randomSeller(r, 4)
		s.capacity++
		price := func() escrow.Credits { return escrow.Credits(r.Intn(int(s.reserve) + 3)) }
		if r.Intn(3) == 0 {
			price = func() escrow.Credits { return s.cost }
		}
		tie := func() [32]byte { return key(byte(r.Intn(3))) }
		names := randomSplit(r, s.capacity, price, tie)
		honest := s.utility(t, PricingVCG, Ask{Tie: tie(), Price: s.cost, Capacity: s.capacity})
		split := s.utility(t, PricingVCG, names...)
		if split > honest {
			t.Fatalf("%+v gets %d, as %+v %d", s, honest, names, split)
		}
		switch {
		case split < honest:
			met["names cost"]++
		case split > 0:
			met["names are as good"]++
		}
	}
	met.atLeast(t, 10_000, "names cost", "names are as good")
}

// What VCG pays two who cost the same it pays one who is both, and often more: it
// is proof against splitting, not against merging. An operator with several
// machines does best under one name.
func TestVCGRewardsMerging(t *testing.T) {
	const seed = 20261018
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	more := 0
	for range 100_000 {
		s, tie := randomSeller(r, 4), key(byte(r.Intn(3)))
		apart := s.utility(t, PricingVCG, Ask{Tie: tie, Price: s.cost, Capacity: 1}, Ask{Tie: tie, Price: s.cost, Capacity: s.capacity})
		merged := s.utility(t, PricingVCG, Ask{Tie: tie, Price: s.cost, Capacity: s.capacity + 1})
		if merged < apart {
			t.Fatalf("%+v and one more unit gets %d under two names, %d under one", s, apart, merged)
		}
		if merged > apart {
			more++
		}
	}
	if more < 10_000 {
		t.Errorf("merging paid %d times: too few to mean anything", more)
	}
}

var namelessRules = []Pricing{PricingUniform, PricingUniformLast, PricingGSP, PricingFirst}

// The other rules look at units, not at whose they are: names that ask the same
// price, one after the other in the order of sale, are together given and paid
// what one name is.
func TestNamesAtOnePriceChangeNothing(t *testing.T) {
	const seed = 20261019
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 40_000 {
		s, tie := randomSeller(r, 4), key(byte(r.Intn(3)))
		s.capacity++
		price := escrow.Credits(r.Intn(int(s.reserve) + 2))
		names := randomSplit(r, s.capacity, func() escrow.Credits { return price }, func() [32]byte { return tie })
		all := uint64(0)
		for _, a := range names {
			all += a.Capacity
		}
		for _, pricing := range namelessRules {
			one := s.utility(t, pricing, Ask{Tie: tie, Price: price, Capacity: all})
			if many := s.utility(t, pricing, names...); many != one {
				t.Fatalf("%v of %+v: one name at %d gets %d, %+v get %d", pricing, s, price, one, names, many)
			}
			if one != 0 {
				met["gains and losses"]++
			}
		}
	}
	met.atLeast(t, 20_000, "gains and losses")
}

// Nor do two names at different prices get more than the best lie under one name
// that has the same place among equal prices. But the truth they do beat.
func TestNamesGainNoMoreThanLies(t *testing.T) {
	const seed = 20261020
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 400 {
		s, tie := randomSeller(r, 4), key(byte(r.Intn(3)))
		s.capacity = 2 + uint64(r.Intn(2))
		for _, pricing := range namelessRules {
			honest := s.utility(t, pricing, Ask{Tie: tie, Price: s.cost, Capacity: s.capacity})
			best := max(honest, 0) // by asking alone, or not at all
			for capacity := uint64(1); capacity <= s.capacity; capacity++ {
				for price := escrow.Credits(0); price <= s.reserve; price++ {
					best = max(best, s.utility(t, pricing, Ask{Tie: tie, Price: price, Capacity: capacity}))
				}
			}
			for first := uint64(1); first < s.capacity; first++ {
				for price := escrow.Credits(0); price <= s.reserve+1; price++ {
					for second := escrow.Credits(0); second <= s.reserve+1; second++ {
						names := []Ask{{tie, price, first}, {tie, second, s.capacity - first}}
						got := s.utility(t, pricing, names...)
						if got > best {
							t.Fatalf("%v of %+v: the best under one name gets %d, %+v get %d", pricing, s, best, names, got)
						}
						met["names"]++
						if got > honest {
							met[pricing.String()+" beats the truth"]++
						}
					}
				}
			}
		}
	}
	met.atLeast(t, 100_000, "names")
	met.atLeast(t, 1000, "uniform beats the truth", "uniform-last beats the truth", "gsp beats the truth", "first beats the truth")
}

// One market in which two names beat the truth under each rule but vcg.
func TestNamesBeatTheTruth(t *testing.T) {
	market := seller{others: []Ask{{Price: 9, Capacity: 2}}, units: 2, reserve: 10, cost: 2, capacity: 3}
	for _, c := range []struct {
		pricing       Pricing
		names         []Ask
		honest, split escrow.Credits
	}{
		{PricingUniform, []Ask{{Price: 2, Capacity: 2}, {Price: 10, Capacity: 1}}, 0, 14},
		{PricingUniformLast, []Ask{{Price: 2, Capacity: 1}, {Price: 8, Capacity: 2}}, 0, 12},
		{PricingGSP, []Ask{{Price: 2, Capacity: 1}, {Price: 8, Capacity: 1}}, 0, 13},
		{PricingFirst, []Ask{{Price: 7, Capacity: 1}, {Price: 8, Capacity: 1}}, 0, 11},
		{PricingVCG, []Ask{{Price: 2, Capacity: 1}, {Price: 2, Capacity: 1}}, 14, 14},
		{PricingVCG, []Ask{{Price: 2, Capacity: 2}, {Price: 2, Capacity: 1}}, 14, 7},
	} {
		honest, split := market.utility(t, c.pricing, Ask{Price: 2, Capacity: 3}), market.utility(t, c.pricing, c.names...)
		if honest != c.honest || split != c.split {
			t.Errorf("%v: the truth gets %d, %+v get %d; want %d and %d", c.pricing, honest, c.names, split, c.honest, c.split)
		}
	}
}

// Among equal prices each name draws a place of its own: two are more often first
// than one. Under vcg that place is worth nothing to who asks its cost.
func TestNamesAreMoreOftenFirst(t *testing.T) {
	const seed = 20261021
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	won, wonSplit := 0, 0
	for range 30_000 {
		a, b, other := key(byte(r.Intn(250))), key(byte(r.Intn(250))), Ask{Tie: key(byte(r.Intn(250))), Price: 5, Capacity: 2}
		s := seller{others: []Ask{other}, units: 1, reserve: 10, cost: 2, capacity: 2}
		if s.utility(t, PricingFirst, Ask{a, 5, 2}) > 0 {
			won++
		}
		if s.utility(t, PricingFirst, Ask{a, 5, 1}, Ask{b, 5, 1}) > 0 {
			wonSplit++
		}
		s.cost = 5
		if got := s.utility(t, PricingVCG, Ask{a, 5, 1}, Ask{b, 5, 1}); got != 0 {
			t.Fatalf("a tie under vcg is worth %d", got)
		}
	}
	// One in two, and two in three.
	if won < 14_500 || won > 15_500 || wonSplit < 19_500 || wonSplit > 20_500 {
		t.Errorf("one name is first %d times, two are %d times of 30000", won, wonSplit)
	}
}

// In an auction of one build a second bid gains nothing, be it from one's own
// domain, where it is no reference, or from another, where it is.
func TestSecondBidNeverHelps(t *testing.T) {
	const seed = 20261022
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 120_000 {
		reserve := escrow.Credits(1 + r.Int63n(1<<r.Intn(10)))
		v, others, sigma := randomValue(r, reserve), randomBids(r, reserve), []byte{byte(r.Intn(256))}
		price := func() escrow.Credits { return escrow.Credits(r.Int63n(int64(reserve) + 3)) }
		truth := Bid{Worker: key(50), Operator: key(51), Domain: "me", Price: price(), FinishMillis: uint64(r.Intn(12))}
		lie, second := truth, truth
		lie.Price, lie.FinishMillis = price(), uint64(r.Intn(12))
		second.Worker, second.Operator, second.Price, second.FinishMillis = key(60), key(61), price(), uint64(r.Intn(12))
		where := "own domain"
		if r.Intn(2) == 0 {
			second.Domain, where = "mine too", "another domain"
		}
		honest := utility(t, append([]Bid{truth}, others...), v, sigma, reserve, truth.Price, truth.FinishMillis)
		// Whichever of the two wins, the same machine does the work.
		both := []Bid{lie, second}
		got := escrow.Credits(0)
		for i := range both {
			bids := append([]Bid{both[i], both[1-i]}, others...)
			got += utility(t, bids, v, sigma, reserve, truth.Price, truth.FinishMillis)
		}
		if got > honest {
			t.Fatalf("%+v gets %d, as %+v %d against %+v under %v", truth, honest, both, got, others, v)
		}
		if got < honest {
			met[where+" costs"]++
		}
	}
	met.atLeast(t, 10_000, "own domain costs", "another domain costs")
}
