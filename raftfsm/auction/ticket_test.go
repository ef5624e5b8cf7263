package auction

import (
	"math/rand"
	"slices"
	"testing"

	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
)

func randomHoldings(r *rand.Rand) (holdings []Holding) {
	for owner := range r.Intn(6) {
		holdings = append(holdings, Holding{Owner: key(byte(owner)), Tickets: 1 + uint64(r.Intn(5))})
	}
	return holdings
}

// Each ticket is a piece of paper: one is drawn by its number and thrown away.
func TestTicketsAgainstExpansion(t *testing.T) {
	const seed = 20261011
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for i := range 40_000 {
		holdings, slots := randomHoldings(r), r.Intn(8)
		var papers []int
		for owner, h := range holdings {
			papers = append(papers, slices.Repeat([]int{owner}, int(h.Tickets))...)
		}
		stream := draw.NewStream(placeID(i))
		var want []int
		for len(want) < slots && len(papers) > 0 {
			at := int(stream.Below(uint64(len(papers))))
			want = append(want, papers[at])
			papers = slices.Delete(papers, at, at+1)
		}
		before := slices.Clone(holdings)
		got, err := DrawTickets(placeID(i), holdings, slots)
		if err != nil || !slices.Equal(got, want) || !slices.Equal(holdings, before) {
			t.Fatalf("%d slots of %v: %v, %v; want %v", slots, before, got, err, want)
		}
		if one, err := DrawTicket(placeID(i), holdings); (err == nil) != (len(holdings) > 0) || len(want) > 0 && one != want[0] {
			t.Fatalf("one of %v: %d, %v; want %v", holdings, one, err, want)
		}
		met["draw"] += len(want)
		if len(want) < slots {
			met["fewer tickets than slots"]++
		}
	}
	met.atLeast(t, 100_000, "draw")
	met.atLeast(t, 2000, "fewer tickets than slots")
}

// Each owner's share of draws is its share of tickets: chi square of 3 degrees of
// freedom, whose chance of 30 is below 10⁻⁵, for the first slot and for the second.
func TestTicketOdds(t *testing.T) {
	const draws = 40_000
	holdings := []Holding{{Owner: key(1), Tickets: 1}, {Owner: key(2), Tickets: 2}, {Owner: key(3), Tickets: 3}, {Owner: key(4), Tickets: 4}}
	var seen [2][4]int
	for i := range draws {
		places, err := DrawTickets(placeID(i), holdings, 2)
		if err != nil {
			t.Fatal(err)
		}
		seen[0][places[0]]++
		seen[1][places[1]]++ // the same odds: which paper is second is as uniform
	}
	for slot, counts := range seen {
		sum := 0.0
		for i, n := range counts {
			want := draws * float64(holdings[i].Tickets) / 10
			sum += (float64(n) - want) * (float64(n) - want) / want
		}
		if sum > 30 {
			t.Errorf("slot %d: chi square %.1f of %v", slot+1, sum, counts)
		}
	}
}

// Splitting tickets over names changes no odds and no price: of all sequences of
// numbers that a stream can yield, each as likely, as many give the same slots to
// the same person.
func TestTicketSplitsChangeNothing(t *testing.T) {
	const seed = 20261012
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	sequences := 0
	for range 4000 {
		holdings := randomHoldings(r)
		if len(holdings) == 0 {
			continue
		}
		me := r.Intn(len(holdings))
		mine := map[[32]byte]bool{holdings[me].Owner: true}
		split := slices.Clone(holdings)
		for n := uint64(1); n < holdings[me].Tickets; n++ { // names anywhere in the order of owners
			if r.Intn(2) == 0 {
				name := key(byte(100 * r.Intn(2)))
				name[5] = byte(n)
				mine[name] = true
				split = append(split, Holding{Owner: name, Tickets: 1})
				split[me].Tickets--
			}
		}
		slices.SortFunc(split, func(a, b Holding) int { return slices.Compare(a.Owner[:], b.Owner[:]) })
		if _, err := countTickets(split); err != nil {
			t.Fatal(err)
		}
		one, many := patterns(holdings, mine), patterns(split, mine)
		if one != many {
			t.Fatalf("%v win %v, split as %v %v", holdings, one, split, many)
		}
		for _, n := range one {
			sequences += n
		}
		n := holdings[me].Tickets
		whole, err := TicketCost(7, n)
		each, err2 := TicketCost(7, 1)
		if err != nil || err2 != nil || whole != each*escrow.Credits(n) {
			t.Fatalf("%d tickets cost %v, one %v", n, whole, each)
		}
	}
	if sequences < 100_000 {
		t.Errorf("%d sequences: too few to mean anything", sequences)
	}
}

// patterns counts, over all pairs of numbers that fill two slots, which of the
// slots are mine: none, the first, the second, both.
func patterns(holdings []Holding, mine map[[32]byte]bool) (seen [4]int) {
	total, _ := countTickets(holdings)
	for first := range total {
		left := slices.Clone(holdings)
		a := ownerOf(left, first)
		left[a].Tickets--
		pattern := 0
		if mine[left[a].Owner] {
			pattern = 1
		}
		if total == 1 {
			seen[pattern]++
		}
		for second := range total - 1 {
			both := pattern
			if mine[left[ownerOf(left, second)].Owner] {
				both |= 2
			}
			seen[both]++
		}
	}
	return seen
}

// Who can use fewer slots than it has tickets leaves the draw with the last one it
// can use, and counts for nothing after that; until then its odds are its tickets'.
func TestDrawTicketsForAsManySlotsAsAreOfUse(t *testing.T) {
	holdings := []Holding{{Owner: key(1), Tickets: 1000, Most: 1}, {Owner: key(2), Tickets: 2, Most: 2}, {Owner: key(3), Tickets: 5}}
	firsts := 0
	for seed := range 2000 {
		places, err := DrawTickets([32]byte{byte(seed), byte(seed >> 8)}, holdings, 20)
		if err != nil {
			t.Fatal(err)
		}
		count := map[int]int{}
		for _, p := range places {
			count[p]++
		}
		if len(places) != 8 || count[0] != 1 || count[1] != 2 || count[2] != 5 {
			t.Fatalf("seed %d: drawn %v", seed, places)
		}
		if places[0] == 0 {
			firsts++
		}
	}
	if firsts < 1960 { // 1000 of 1007 tickets
		t.Errorf("the holder of nearly all tickets was first in %d of 2000 draws", firsts)
	}
}
