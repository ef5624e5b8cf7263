package auction

import (
	"cmp"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"
	"time"

	"gavel/raftfsm/escrow"
)

// benchEntries are bids of n bidders at prices and ties in no order, each for
// one unit: the case with the most winners.
func benchEntries(n int) []Entry {
	r := rand.New(rand.NewSource(int64(n)))
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{ID: placeID(i), Price: escrow.Credits(r.Intn(n)), Units: 1}
		r.Read(entries[i].ID[:8])
		r.Read(entries[i].Tie[:])
	}
	return entries
}

// BenchmarkClearStanding buys 10⁴ units from 10⁵ bids of one unit each. x-sort
// is the time as a multiple of the limit, in turns in the same run: sorting the
// same bids, by the sort that ClearBatch uses. What stands in a tree need not be
// sorted again and should stay below 1; a list has to be, and is above it.
func BenchmarkClearStanding(b *testing.B) {
	const bids, units = 100_000, 10_000
	entries := benchEntries(bids)
	asks := make([]Ask, bids)
	for i, e := range entries {
		asks[i] = Ask{Tie: e.Tie, Price: e.Price, Capacity: e.Units}
	}
	standing, err := NewStanding(entries)
	if err != nil {
		b.Fatal(err)
	}
	for pricing := PricingVCG; pricing.Valid(); pricing++ {
		b.Run(fmt.Sprintf("%v/tree", pricing), func(b *testing.B) {
			besideSorting(b, entries, func() error {
				c, err := standing.Clear(units, bids, pricing)
				if len(c.Wins) != units {
					b.Fatalf("%d wins", len(c.Wins))
				}
				return err
			})
		})
		b.Run(fmt.Sprintf("%v/list", pricing), func(b *testing.B) {
			besideSorting(b, entries, func() error {
				_, err := ClearBatch(asks, units, bids, pricing)
				return err
			})
		})
	}
}

func besideSorting(b *testing.B, entries []Entry, clearing func() error) {
	var sorting time.Duration
	for b.Loop() {
		begin := time.Now()
		if order := inOrder(entries); len(order) != len(entries) {
			b.Fatal(len(order))
		}
		sorting += time.Since(begin)
		if err := clearing(); err != nil {
			b.Fatal(err)
		}
	}
	rest := b.Elapsed() - sorting
	b.ReportMetric(float64(rest.Nanoseconds())/float64(b.N)/1e6, "ms/clearing")
	b.ReportMetric(float64(rest)/float64(sorting), "x-sort")
	b.ReportMetric(0, "ns/op") // of both
}

// besideSearch measures op on n bids, and search, a binary search among as many
// in a sorted slice, in turns in the same run. x-search is the time as a multiple
// of that limit: a search takes as many steps and misses the cache as often, so
// the ratio stays level if op is O(log n). ns/log2n is without it: it grows where
// the bids no longer fit a cache.
func besideSearch(b *testing.B, n int, search, op func(i int)) {
	const rounds = 256
	var searching time.Duration
	i := 0
	for b.Loop() {
		begin := time.Now()
		for j := range rounds {
			search(i + j)
		}
		searching += time.Since(begin)
		for j := range rounds {
			op(i + j)
		}
		i += rounds
	}
	rest := b.Elapsed() - searching
	each := float64(rest.Nanoseconds()) / float64(b.N) / rounds
	b.ReportMetric(each, "ns/call")
	b.ReportMetric(each/math.Log2(float64(n)), "ns/log2n")
	b.ReportMetric(float64(rest)/float64(searching), "x-search")
	b.ReportMetric(0, "ns/op") // of all rounds of both
}

var benchSizes = []int{1_000, 10_000, 100_000, 1_000_000}

// BenchmarkStandingInsert removes a bid of n and inserts it at another price:
// two ways down and up. The search looks for the bid's place.
func BenchmarkStandingInsert(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			entries := benchEntries(n)
			s, err := NewStanding(entries)
			if err != nil {
				b.Fatal(err)
			}
			sorted := saleOrder(entries)
			besideSearch(b, n, func(i int) {
				if _, ok := slices.BinarySearchFunc(sorted, entries[i*104_729%n], func(x, y Entry) int { return compareEntries(&x, &y) }); !ok {
					b.Fatal("no such bid")
				}
			}, func(i int) {
				e, ok := s.Remove(entries[i*7919%n].ID)
				e.Price = escrow.Credits(i * 104_729 % n)
				if err := s.Insert(e); err != nil || !ok {
					b.Fatal(ok, err)
				}
			})
		})
	}
}

// BenchmarkStandingStrike asks for the price of any unit of n bids. The search
// looks for the unit among sums that would have to be made anew for every bid.
func BenchmarkStandingStrike(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			entries := benchEntries(n)
			s, err := NewStanding(entries)
			if err != nil {
				b.Fatal(err)
			}
			type sum struct {
				upTo  uint64
				price escrow.Credits
			}
			var sums []sum
			for i, e := range saleOrder(entries) {
				sums = append(sums, sum{uint64(i + 1), e.Price})
			}
			besideSearch(b, n, func(i int) {
				at, ok := slices.BinarySearchFunc(sums, 1+uint64(i*104_729%n), func(s sum, want uint64) int { return cmp.Compare(s.upTo, want) })
				if !ok || sums[at].price < 0 {
					b.Fatal("no such unit")
				}
			}, func(i int) {
				if _, ok := s.Strike(1 + uint64(i*7919%n)); !ok {
					b.Fatal("no such unit")
				}
			})
		})
	}
}
