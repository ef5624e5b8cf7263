package auction

import (
	"math/rand"
	"slices"
	"testing"

	"gavel/raftfsm/escrow"
)

// randomPrices draws few different prices, so that ties abound.
func randomPrices(r *rand.Rand, most int) []escrow.Credits {
	prices := make([]escrow.Credits, r.Intn(most+1))
	for i := range prices {
		prices[i] = escrow.Credits(r.Intn(6))
	}
	return prices
}

// Slots and the second price come from taking the highest of what is left, again and again.
func TestForwardAgainstOracle(t *testing.T) {
	const seed = 20261003
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 120_000 {
		prices, reserve, slots := randomPrices(r, 6), escrow.Credits(r.Intn(6)), 1+r.Intn(7)
		left := slices.Clone(prices)
		var ranking []int // places, highest first
		for range prices {
			best := slices.Index(left, slices.Max(left))
			ranking, left[best] = append(ranking, best), -1
		}
		bid := func(rank int) escrow.Credits {
			if rank < len(ranking) {
				return prices[ranking[rank]]
			}
			return 0
		}
		winner, payment, err := SellOne(prices, reserve)
		want, pays := -1, escrow.Credits(0)
		if len(prices) > 0 && bid(0) >= reserve {
			want, pays = ranking[0], max(reserve, bid(1))
			met["sale"]++
		}
		if err != nil || winner != want || payment != pays {
			t.Fatalf("one of %v from %d: place %d pays %d, %v; want %d, %d", prices, reserve, winner, payment, err, want, pays)
		}
		order, payments, err := SellSlots(prices, slots)
		if n := min(slots, len(prices)); err != nil || !slices.Equal(order, ranking[:n]) || len(payments) != n {
			t.Fatalf("%d slots of %v: %v pay %v, %v; want %v", slots, prices, order, payments, err, ranking[:n])
		}
		for i, got := range payments {
			if got != bid(i+1) || got > bid(i) {
				t.Fatalf("slot %d of %d for %v pays %d, want %d", i, slots, prices, got, bid(i+1))
			}
		}
		if len(prices) > 1 && bid(0) == bid(1) {
			met["tie"]++
		}
	}
	met.atLeast(t, 20_000, "sale", "tie")
}

// Among buyers of one unit nobody gains by another bid than what it is worth to
// them, nor by a second bid under another name.
func TestForwardTruthIsNeverBeaten(t *testing.T) {
	const seed = 20261004
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 120_000 {
		others, reserve, worth := randomPrices(r, 5), escrow.Credits(r.Intn(6)), escrow.Credits(r.Intn(7))
		first := r.Intn(2) == 0 // before or after the others, for ties
		utility := func(mine ...escrow.Credits) escrow.Credits {
			from, prices := 0, append(slices.Clone(mine), others...)
			if !first {
				from, prices = len(others), append(slices.Clone(others), mine...)
			}
			winner, pays, err := SellOne(prices, reserve)
			if err != nil {
				t.Fatal(err)
			}
			if winner < from || winner >= from+len(mine) {
				return 0
			}
			return worth - pays
		}
		honest := utility(worth)
		lie, second := escrow.Credits(r.Intn(8)), escrow.Credits(r.Intn(8))
		if got := utility(lie); got > honest || honest < 0 {
			t.Fatalf("worth %d, bidding %d gets %d, truth %d against %v from %d", worth, lie, got, honest, others, reserve)
		} else if got < honest {
			met["lie costs"]++
		}
		if got := utility(lie, second); got > honest {
			t.Fatalf("worth %d, bidding %d and %d gets %d, truth %d against %v from %d", worth, lie, second, got, honest, others, reserve)
		} else if got < honest {
			met["two names cost"]++
		}
	}
	met.atLeast(t, 10_000, "lie costs", "two names cost")
}

// Generalised second price is not truthful with two slots or more: who is sure to
// get one may prefer the cheaper (Edelman, Ostrovsky, Schwarz, section 2).
func TestSlotsRewardUnderbidding(t *testing.T) {
	truth := []escrow.Credits{10, 9, 1}
	_, payments, err := SellSlots(truth, 2)
	if err != nil || payments[0] != 9 {
		t.Fatalf("%v, %v", payments, err)
	}
	order, payments, err := SellSlots([]escrow.Credits{8, 9, 1}, 2)
	if err != nil || order[1] != 0 || payments[1] != 1 {
		t.Fatalf("%v pay %v, %v", order, payments, err)
	}
}
