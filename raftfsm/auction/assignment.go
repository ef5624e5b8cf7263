package auction

import (
	"fmt"

	"gavel/raftfsm/escrow"
)

// MaxAssigned bounds the builds and the workers of one assignment: its cost
// grows with their cube, and it is solved once more for each winner.
const MaxAssigned = 128

// AssignmentOutcome says who does which build and is paid what. Payments are by
// worker.
type AssignmentOutcome struct {
	Worker   []int // by build; −1: nobody below its reserve
	Payments []escrow.Credits
	Cost     escrow.Credits // of all, an unassigned build costing its reserve
}

// Assign gives builds that differ to workers that each bid a price for each
// build they can do (below 0: cannot), one build a worker, at the least total
// cost, where a build that nobody does costs its reserve; and pays each the
// Clarke payment: what the others would cost without it less what they cost with
// it. Then bidding one's true costs is never beaten (Vickrey, Clarke, Groves).
// Among equal costs a build goes to a worker rather than to none, and the choice
// is a function of the order of builds and workers alone. Prices[w][b] is worker
// w's for build b.
func Assign(reserves []escrow.Credits, prices [][]escrow.Credits) (AssignmentOutcome, error) {
	if err := checkAssignment(reserves, prices); err != nil {
		return AssignmentOutcome{}, fmt.Errorf("assigning builds: %w", err)
	}
	all := make([]bool, len(prices))
	for i := range all {
		all[i] = true
	}
	workers, cost := solve(reserves, prices, all)
	out := AssignmentOutcome{Worker: workers, Payments: make([]escrow.Credits, len(prices)), Cost: cost}
	for b, w := range workers {
		if w < 0 {
			continue
		}
		all[w] = false
		_, without := solve(reserves, prices, all)
		all[w] = true
		out.Payments[w] = without - (cost - prices[w][b])
	}
	return out, nil
}

func checkAssignment(reserves []escrow.Credits, prices [][]escrow.Credits) error {
	if len(reserves) < 1 || len(reserves) > MaxAssigned || len(prices) > MaxAssigned {
		return fmt.Errorf("%w: %d builds and %d workers, want 1 to %d builds and at most %[4]d workers", ErrRefused, len(reserves), len(prices), MaxAssigned)
	}
	most := escrow.MaxCredits / (4 * MaxAssigned) // sums, and potentials of twice their size, stay in range
	for b, r := range reserves {
		if r < 0 || r > most {
			return fmt.Errorf("%w: a reserve of %v for build %d, want 0 to %v", ErrRefused, r, b, most)
		}
	}
	for w, row := range prices {
		if len(row) != len(reserves) {
			return fmt.Errorf("%w: worker %d bids for %d builds of %d", ErrRefused, w, len(row), len(reserves))
		}
		for b, p := range row {
			if p > most {
				return fmt.Errorf("%w: worker %d bids %v for build %d, want at most %v", ErrRefused, w, p, b, most)
			}
		}
	}
	return nil
}

// solve is the Hungarian algorithm in the form of shortest augmenting paths with
// potentials (Jonker, Volgenant, Computing 1987), in integers, O(m²·(m+n)). Each
// build has a column of its own beside the workers': being left undone at its reserve.
func solve(reserves []escrow.Credits, prices [][]escrow.Credits, takes []bool) (worker []int, total escrow.Credits) {
	builds, workers := len(reserves), len(prices)
	columns := workers + builds
	const never = escrow.MaxCredits / 2
	cost := func(b, column int) escrow.Credits {
		switch {
		case column >= workers && column-workers == b:
			return reserves[b]
		case column < workers && takes[column] && prices[column][b] >= 0 && prices[column][b] <= reserves[b]:
			return prices[column][b]
		}
		return never
	}
	u, v := make([]escrow.Credits, builds+1), make([]escrow.Credits, columns+1)
	match := make([]int, columns+1) // the build of a column, from 1; 0 is none
	way := make([]int, columns+1)
	for b := 1; b <= builds; b++ {
		match[0] = b
		at := 0
		least := make([]escrow.Credits, columns+1)
		done := make([]bool, columns+1)
		for j := range least {
			least[j] = escrow.MaxCredits
		}
		for match[at] != 0 {
			done[at] = true
			row, delta, next := match[at], escrow.MaxCredits, 0
			for j := 1; j <= columns; j++ {
				if done[j] {
					continue
				}
				if c := cost(row-1, j-1); c < never {
					if reduced := c - u[row] - v[j]; reduced < least[j] {
						least[j], way[j] = reduced, at
					}
				}
				if least[j] < delta {
					delta, next = least[j], j
				}
			}
			for j := 0; j <= columns; j++ {
				if done[j] {
					u[match[j]] += delta
					v[j] -= delta
				} else if least[j] < escrow.MaxCredits {
					least[j] -= delta
				}
			}
			at = next
		}
		for at != 0 {
			match[at] = match[way[at]]
			at = way[at]
		}
	}
	worker = make([]int, builds)
	for j := 1; j <= columns; j++ {
		b := match[j] - 1
		if b < 0 {
			continue
		}
		total += cost(b, j-1)
		if worker[b] = j - 1; j > workers {
			worker[b] = -1
		}
	}
	return worker, total
}
