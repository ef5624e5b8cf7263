package draw

import (
	"fmt"
	"strconv"
	"testing"
)

// criticalAt001 is the upper critical value of the χ² distribution at
// significance 0.001, by degrees of freedom. Source: NIST/SEMATECH e-Handbook
// of Statistical Methods, table 1.3.6.7.4.
var criticalAt001 = map[int]float64{1: 10.828, 4: 18.467, 6: 22.458, 9: 27.877, 19: 43.820, 49: 85.351}

// chiSquare is Σ (observed − expected)² / expected over equally likely cells.
func chiSquare(observed []int) float64 {
	total := 0
	for _, o := range observed {
		total += o
	}
	expected := float64(total) / float64(len(observed))
	sum := 0.0
	for _, o := range observed {
		d := float64(o) - expected
		sum += d * d / expected
	}
	return sum
}

// tally counts, over many seeds, who takes each of the first k seats, and
// which of the n are among the k at all.
func tally(n, k, draws int, permute func(seed uint64) []int) (seats [][]int, among []int) {
	seats, among = make([][]int, k), make([]int, n)
	for s := range seats {
		seats[s] = make([]int, n)
	}
	for seed := range uint64(draws) {
		for seat, who := range permute(seed)[:k] {
			seats[seat][who]++
			among[who]++
		}
	}
	return seats, among
}

// unfair says which seat, if any, is not uniform. The seeds are fixed, so a
// fair rule passes every time or never.
func unfair(n, k, draws int, permute func(seed uint64) []int) error {
	critical, ok := criticalAt001[n-1]
	if !ok {
		return fmt.Errorf("no critical value for %d degrees of freedom", n-1)
	}
	seats, among := tally(n, k, draws, permute)
	for seat, observed := range seats {
		if x := chiSquare(observed); x > critical {
			return fmt.Errorf("seat %d of %d among %d: χ² %.2f exceeds %.2f: %v", seat, k, n, x, critical, observed)
		}
	}
	if k == n {
		return nil
	}
	// Being among k of n without replacement has variance p(1−p) and covariance
	// −p(1−p)/(n−1), so the plain sum is χ² distributed after this factor.
	if x := chiSquare(among) * float64(n-1) / float64(n-k); x > critical {
		return fmt.Errorf("being among the first %d of %d: χ² %.2f exceeds %.2f: %v", k, n, x, critical, among)
	}
	return nil
}

func TestSeatsAreUniform(t *testing.T) {
	const draws = 1_000_000
	for _, c := range []struct{ n, k int }{{2, 1}, {5, 2}, {7, 7}, {10, 5}, {20, 3}, {50, 7}} {
		t.Run(fmt.Sprintf("n=%d,k=%d", c.n, c.k), func(t *testing.T) {
			t.Parallel()
			err := unfair(c.n, c.k, draws, func(seed uint64) []int { return NewStream(numbered(seed)).Permutation(c.n) })
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A domain with many workers must not be drawn more often than one with a single worker.
func TestDomainsAreUniformWhateverTheirSize(t *testing.T) {
	const n, k, draws = 10, 3, 200_000
	var candidates []Candidate
	for d := range n {
		for w := range d + 1 {
			candidates = append(candidates, Candidate{Domain: strconv.Itoa(d), Worker: key(byte(w))})
		}
	}
	picked := make([]int, n) // which worker of the largest domain
	err := unfair(n, k, draws, func(seed uint64) []int {
		order := make([]int, 0, n)
		for _, name := range Domains(numbered(seed), candidates) {
			d := int(name.Domain[0] - '0')
			order = append(order, d)
			if d == n-1 {
				picked[name.Worker[0]]++
			}
		}
		return order
	})
	if err != nil {
		t.Error(err)
	}
	if x := chiSquare(picked); x > criticalAt001[n-1] {
		t.Errorf("workers of one domain: χ² %.2f exceeds %.2f: %v", x, criticalAt001[n-1], picked)
	}
}

// Seats must also be uniform jointly: every ordered pair is equally likely.
func TestPairsAreUniform(t *testing.T) {
	const n, draws = 5, 1_000_000
	pairs := make([]int, 0, n*(n-1))
	index := map[[2]int]int{}
	for a := range n {
		for b := range n {
			if a != b {
				index[[2]int{a, b}] = len(pairs)
				pairs = append(pairs, 0)
			}
		}
	}
	for seed := range uint64(draws) {
		p := NewStream(numbered(seed)).Permutation(n)
		pairs[index[[2]int{p[0], p[1]}]]++
	}
	if x := chiSquare(pairs); x > criticalAt001[len(pairs)-1] {
		t.Errorf("χ² %.2f exceeds %.2f: %v", x, criticalAt001[len(pairs)-1], pairs)
	}
}

// Being sampled must tell nothing about who is drawn, even by one seed.
func TestSamplingDoesNotSkewTheDraw(t *testing.T) {
	const n, k, seeds = 7, 3, 500_000
	var sampled []uint64
	for seed := range uint64(seeds) {
		if Sampled(numbered(seed), 100_000) {
			sampled = append(sampled, seed)
		}
	}
	if len(sampled) < seeds/11 || len(sampled) > seeds/9 {
		t.Fatalf("%d of %d sampled at a tenth", len(sampled), seeds)
	}
	err := unfair(n, k, len(sampled), func(i uint64) []int { return NewStream(numbered(sampled[i])).Permutation(n) })
	if err != nil {
		t.Error(err)
	}
}

// The test must be able to fail: the well-known wrong shuffle, swapping with
// any entry instead of one that is left, is caught.
func TestUnfairShuffleIsCaught(t *testing.T) {
	const n = 5
	err := unfair(n, n, 200_000, func(seed uint64) []int {
		s := NewStream(numbered(seed))
		order := []int{0, 1, 2, 3, 4}
		for i := range order {
			j := int(s.Below(n))
			order[i], order[j] = order[j], order[i]
		}
		return order
	})
	if err == nil {
		t.Error("a wrong shuffle passes for fair")
	}
}
