package auction

import (
	"math/rand"
	"testing"

	"gavel/raftfsm/escrow"
)

// assignments calls visit with every way to give builds to workers that bid for
// them within the reserve: its cost and how many builds somebody does.
func assignments(reserves []escrow.Credits, prices [][]escrow.Credits, without int, visit func(cost escrow.Credits, done int)) {
	taken := make([]bool, len(prices))
	var give func(b int, cost escrow.Credits, done int)
	give = func(b int, cost escrow.Credits, done int) {
		if b == len(reserves) {
			visit(cost, done)
			return
		}
		give(b+1, cost+reserves[b], done)
		for w, row := range prices {
			if w != without && !taken[w] && row[b] >= 0 && row[b] <= reserves[b] {
				taken[w] = true
				give(b+1, cost+row[b], done+1)
				taken[w] = false
			}
		}
	}
	give(0, 0, 0)
}

// cheapest is the least cost of all assignments without a worker (−1: with
// all), and the most builds that are done at that cost.
func cheapest(reserves []escrow.Credits, prices [][]escrow.Credits, without int) (least escrow.Credits, most int) {
	least = -1
	assignments(reserves, prices, without, func(cost escrow.Credits, done int) {
		if least < 0 || cost < least || cost == least && done > most {
			least, most = cost, done
		}
	})
	return least, most
}

func randomRow(r *rand.Rand, builds int) []escrow.Credits {
	row := make([]escrow.Credits, builds)
	for b := range row {
		row[b] = escrow.Credits(r.Intn(7) - 1)
	}
	return row
}

func randomAssignment(r *rand.Rand, most int) (reserves []escrow.Credits, prices [][]escrow.Credits) {
	for range 1 + r.Intn(most) {
		reserves = append(reserves, escrow.Credits(r.Intn(7)))
	}
	for range r.Intn(most + 1) {
		prices = append(prices, randomRow(r, len(reserves)))
	}
	return reserves, prices
}

func TestAssignAgainstEnumeration(t *testing.T) {
	const seed = 20261006
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 100_000 {
		reserves, prices := randomAssignment(r, 4)
		got, err := Assign(reserves, prices)
		if err != nil {
			t.Fatal(err)
		}
		least, most := cheapest(reserves, prices, -1)
		cost, done, paid := escrow.Credits(0), 0, make([]escrow.Credits, len(prices))
		busy := make([]bool, len(prices))
		for b, w := range got.Worker {
			if w < 0 {
				cost += reserves[b]
				continue
			}
			if busy[w] || prices[w][b] < 0 || prices[w][b] > reserves[b] {
				t.Fatalf("%v for %v: %+v gives build %d to worker %d", prices, reserves, got, b, w)
			}
			busy[w] = true
			cost, done = cost+prices[w][b], done+1
			without, _ := cheapest(reserves, prices, w)
			if paid[w] = without - (least - prices[w][b]); paid[w] < prices[w][b] || paid[w] > reserves[b] {
				t.Fatalf("%v for %v: worker %d asks %d and is paid %d", prices, reserves, w, prices[w][b], paid[w])
			}
		}
		if cost != least || got.Cost != least || done != most {
			t.Fatalf("%v for %v: %+v costs %d and does %d builds, least is %d with %d", prices, reserves, got, cost, done, least, most)
		}
		for w := range prices {
			if got.Payments[w] != paid[w] {
				t.Fatalf("%v for %v: %+v, want payments %v", prices, reserves, got, paid)
			}
		}
		met["award"] += done
		ways := 0
		assignments(reserves, prices, -1, func(cost escrow.Credits, _ int) {
			if cost == least {
				ways++
			}
		})
		if ways > 1 {
			met["tie"]++
		}
	}
	met.atLeast(t, 20_000, "tie", "award")
}

// workerUtility is what the last worker, whose true costs are given, gets for a
// row; false where the row promised a build that it cannot do.
func workerUtility(t *testing.T, reserves []escrow.Credits, prices [][]escrow.Credits, costs []escrow.Credits) (utility escrow.Credits) {
	t.Helper()
	out, err := Assign(reserves, prices)
	if err != nil {
		t.Fatal(err)
	}
	me := len(prices) - 1
	for b, w := range out.Worker {
		if w == me {
			utility = out.Payments[me] - costs[b]
		}
	}
	return utility
}

// Nobody gains by other prices than true costs, nor by leaving builds out that it
// could do, nor by another worker's coming.
func TestAssignTruthIsNeverBeaten(t *testing.T) {
	const seed = 20261007
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 100_000 {
		reserves, others := randomAssignment(r, 3)
		costs := randomRow(r, len(reserves))
		lie := randomRow(r, len(reserves))
		for b, cost := range costs {
			if cost < 0 {
				lie[b] = -1 // promising what one cannot do is beyond the rule: it is caught by the verdict
			}
		}
		rows := func(last ...[]escrow.Credits) [][]escrow.Credits {
			return append(append([][]escrow.Credits(nil), others...), last...)
		}
		honest := workerUtility(t, reserves, rows(costs), costs)
		lying := workerUtility(t, reserves, rows(lie), costs)
		if lying > honest || honest < 0 {
			t.Fatalf("costs %v get %d, bid as %v %d, beside %v for %v", costs, honest, lie, lying, others, reserves)
		}
		if lying < honest {
			met["lie costs"]++
		}
		another := randomRow(r, len(reserves))
		crowded := workerUtility(t, reserves, rows(another, costs), costs)
		if crowded > honest {
			t.Fatalf("costs %v get %d alone, %d beside %v, among %v for %v", costs, honest, crowded, another, others, reserves)
		}
		if crowded < honest {
			met["competition costs"]++
		}
	}
	met.atLeast(t, 10_000, "lie costs", "competition costs")
}

// The largest sums do not wrap: as many builds and workers as there may be, each
// price nothing or the most there is. The least cost is what König's theorem
// says: the most for each build beyond a largest matching of those for nothing.
func TestAssignLargest(t *testing.T) {
	most := escrow.MaxCredits / (4 * MaxAssigned)
	r := rand.New(rand.NewSource(20261008))
	for _, free := range []int{0, 1, 2, 3, 40} { // in a hundred pairs
		reserves := make([]escrow.Credits, MaxAssigned)
		prices := make([][]escrow.Credits, MaxAssigned)
		takes := make([]bool, MaxAssigned)
		for w := range prices {
			reserves[w], takes[w] = most, true
			prices[w] = make([]escrow.Credits, MaxAssigned)
			for b := range prices[w] {
				if prices[w][b] = most; r.Intn(100) < free {
					prices[w][b] = 0
				}
			}
		}
		_, cost := solve(reserves, prices, takes)
		if matched := largestMatching(prices); cost != most*escrow.Credits(MaxAssigned-matched) {
			t.Errorf("%d %% for nothing: cost %d, want %d × %d", free, cost, MaxAssigned-matched, most)
		}
	}
	reserves, prices := []escrow.Credits{most, most}, [][]escrow.Credits{{0, most}, {most, 0}, {most, most}}
	out, err := Assign(reserves, prices)
	if err != nil || out.Cost != 0 || out.Payments[0] != most || out.Payments[1] != most {
		t.Errorf("%+v, %v", out, err)
	}
}

// largestMatching counts it by augmenting paths (Kuhn).
func largestMatching(prices [][]escrow.Credits) (size int) {
	workerOf := make([]int, len(prices))
	for b := range workerOf {
		workerOf[b] = -1
	}
	for w := range prices {
		seen := make([]bool, len(prices))
		var augment func(w int) bool
		augment = func(w int) bool {
			for b, p := range prices[w] {
				if p == 0 && !seen[b] {
					seen[b] = true
					if workerOf[b] < 0 || augment(workerOf[b]) {
						workerOf[b] = w
						return true
					}
				}
			}
			return false
		}
		if augment(w) {
			size++
		}
	}
	return size
}
