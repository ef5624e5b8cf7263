package auction

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand"
	"reflect"
	"slices"
	"testing"

	"gavel/raftfsm/escrow"
)

// inspectLadder recomputes every total, and holds the tree to its order and its balance.
func inspectLadder(l *ladder) error {
	var last *Entry
	var walk func(at int32) (count int32, units uint64, cost *big.Int, height int, err error)
	walk = func(at int32) (int32, uint64, *big.Int, int, error) {
		if at == 0 {
			return 0, 0, new(big.Int), 0, nil
		}
		n := &l.rungs[at]
		a, au, ac, ah, err := walk(n.left)
		if err != nil {
			return 0, 0, nil, 0, err
		}
		e := &n.entry
		if last != nil && sold(*last, *e) >= 0 {
			return 0, 0, nil, 0, fmt.Errorf("%+v follows %+v", *e, *last)
		}
		last = e
		b, bu, bc, bh, err := walk(n.right)
		if err != nil {
			return 0, 0, nil, 0, err
		}
		if a+1 > 3*(b+1) || b+1 > 3*(a+1) {
			return 0, 0, nil, 0, fmt.Errorf("subtrees of %d and %d entries beside each other", a, b)
		}
		cost := new(big.Int).Mul(big.NewInt(int64(e.Price)), new(big.Int).SetUint64(e.Units))
		cost.Add(cost, ac.Add(ac, bc))
		stored := new(big.Int).SetUint64(n.cost.hi)
		stored.Lsh(stored, 64).Add(stored, new(big.Int).SetUint64(n.cost.lo))
		if n.count != a+b+1 || n.units != au+bu+e.Units || stored.Cmp(cost) != 0 {
			return 0, 0, nil, 0, fmt.Errorf("totals %d, %d, %v of a subtree with %d, %d, %v", n.count, n.units, stored, a+b+1, au+bu+e.Units, cost)
		}
		return n.count, n.units, cost, max(ah, bh) + 1, nil
	}
	count, _, _, height, err := walk(l.root)
	if bound := math.Log(float64(count)+1) / math.Log(4./3); err == nil && float64(height) > bound+1e-9 {
		err = fmt.Errorf("%d entries stand %d high, more than %.1f", count, height, bound)
	}
	if err == nil && int(count)+len(l.free)+1 != len(l.rungs) {
		err = fmt.Errorf("%d entries and %d free places in an arena of %d", count, len(l.free), len(l.rungs))
	}
	return err
}

// shadow is a Standing and the sorted slice it has to agree with.
type shadow struct {
	*Standing
	sorted []Entry
}

func newShadow(t *testing.T) *shadow {
	s, err := NewStanding(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &shadow{Standing: s}
}

func (s *shadow) find(id [32]byte) int {
	return slices.IndexFunc(s.sorted, func(e Entry) bool { return e.ID == id })
}

// opBytes is what one operation takes of a fuzzer's input.
const opBytes = 6

// step does one operation on both, and fails where they differ.
func (s *shadow) step(t *testing.T, op []byte) {
	n := binary.BigEndian.Uint16(op[1:])
	id := key(byte(n))
	id[1] = byte(n >> 8 & 1) // 512 bidders
	at := s.find(id)
	switch op[0] % 8 {
	case 0, 1:
		e := Entry{ID: id, Tie: randomTie(int(op[3] & 3)), Price: escrow.Credits(op[4]) >> (op[3] >> 5), Units: 1 + uint64(op[5]&7)}
		err := s.Insert(e)
		if (err == nil) != (at < 0) || err != nil && !errors.Is(err, ErrRefused) {
			t.Fatalf("inserting %+v beside %+v: %v", e, s.sorted, err)
		}
		if err == nil {
			at, _ := slices.BinarySearchFunc(s.sorted, e, sold)
			s.sorted = slices.Insert(s.sorted, at, e)
		}
	case 2:
		e, ok := s.Remove(id)
		if ok != (at >= 0) || ok && e != s.sorted[at] {
			t.Fatalf("removing %x: %+v, %v of %+v", id, e, ok, s.sorted)
		}
		if ok {
			s.sorted = slices.Delete(s.sorted, at, at+1)
		}
	case 3:
		s.reduce(t, id, at, uint64(op[3]&7))
	case 4:
		rank, ok := s.Rank(id)
		if ok != (at >= 0) || ok && rank != at {
			t.Fatalf("rank of %x: %d, %v; want %d", id, rank, ok, at)
		}
		entry, ok := s.At(int(n % 600))
		if want := int(n%600) < len(s.sorted); ok != want || ok && entry != s.sorted[n%600] {
			t.Fatalf("at %d: %+v, %v of %+v", n%600, entry, ok, s.sorted)
		}
	case 5:
		s.prefix(t, uint64(n%2048))
	case 6:
		s.within(t, escrow.Credits(op[4]))
	case 7:
		s.clear(t, 1+uint64(op[2]&15), escrow.Credits(op[4]), Pricing(1+op[5]%5))
	}
	if first, ok := s.First(); ok != (len(s.sorted) > 0) || ok && first != s.sorted[0] || s.Len() != len(s.sorted) {
		t.Fatalf("%d entries from %+v on, want %+v", s.Len(), first, s.sorted)
	}
}

func (s *shadow) reduce(t *testing.T, id [32]byte, at int, units uint64) {
	err := s.Reduce(id, units)
	if want := at >= 0 && units > 0 && units <= s.sorted[at].Units; (err == nil) != want || err != nil && !errors.Is(err, ErrRefused) {
		t.Fatalf("reducing %x by %d: %v, of %+v", id, units, err, s.sorted)
	}
	if err == nil {
		if s.sorted[at].Units -= units; s.sorted[at].Units == 0 {
			s.sorted = slices.Delete(s.sorted, at, at+1)
		}
	}
	if e, ok := s.Get(id); ok != (s.find(id) >= 0) || ok && e != s.sorted[at] {
		t.Fatalf("after reducing %x by %d: %+v, %v; want %+v", id, units, e, ok, s.sorted)
	}
}

func (s *shadow) prefix(t *testing.T, units uint64) {
	want, all := Purchase{}, uint64(0)
	for _, e := range s.sorted {
		all += e.Units
		if take := min(units-want.Units, e.Units); take > 0 {
			want = Purchase{want.Units + take, want.Cost + e.Price*escrow.Credits(take), e.Price}
		}
	}
	got, err := s.Prefix(units)
	if err != nil || got != want || s.Units() != all {
		t.Fatalf("the cheapest %d units: %+v, %v; want %+v of %+v", units, got, err, want, s.sorted)
	}
	if strike, ok := s.Strike(units); ok != (units > 0 && units <= all) || ok && strike != want.Strike {
		t.Fatalf("strike of %d units: %v, %v; want %+v", units, strike, ok, want)
	}
}

func (s *shadow) within(t *testing.T, price escrow.Credits) {
	count, units := 0, uint64(0)
	for _, e := range s.sorted {
		if e.Price <= price {
			count, units = count+1, units+e.Units
		}
	}
	if s.CountWithin(price) != count || s.UnitsWithin(price) != units {
		t.Fatalf("within %d: %d entries, %d units; want %d, %d", price, s.CountWithin(price), s.UnitsWithin(price), count, units)
	}
}

func (s *shadow) clear(t *testing.T, units uint64, reserve escrow.Credits, pricing Pricing) {
	got, err := s.Clear(units, reserve, pricing)
	want := naiveClearing(s.sorted, units, reserve, pricing, greedyCost)
	if err != nil || !sameClearing(got, want) {
		t.Fatalf("%v, %d units within %d: %+v, %v; want %+v of %+v", pricing, units, reserve, got, err, want, s.sorted)
	}
}

// A Standing answers as a sorted slice does, whatever is done to it.
func TestStandingAgainstSlice(t *testing.T) {
	const seed = 20261001
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	s, most, least, roots := newShadow(t), 0, math.MaxInt, 0
	op := make([]byte, opBytes)
	for n := range 120_000 {
		r.Read(op)
		if n%40_000 > 20_000 && op[0]%8 < 2 && op[1]%4 > 0 {
			op[0] = 2 // half of the time more leave than come
		}
		root := s.ladder.root
		s.step(t, op)
		if s.ladder.root != root {
			roots++
		}
		if most = max(most, s.Len()); n > 20_000 {
			least = min(least, s.Len())
		}
		if n%64 == 0 {
			if err := inspectLadder(s.ladder); err != nil {
				t.Fatalf("after %d operations: %v", n, err)
			}
		}
	}
	if most < 200 || least > 100 || roots < 20 {
		t.Errorf("%d to %d entries, %d roots: too few to mean anything", least, most, roots)
	}
}

// Bids that come or go from one end only are the worst for balance.
func TestLadderBalance(t *testing.T) {
	for name, priceOf := range map[string]func(i int) escrow.Credits{
		"rising":  func(i int) escrow.Credits { return escrow.Credits(i) },
		"falling": func(i int) escrow.Credits { return escrow.Credits(10_000 - i) },
		"inwards": func(i int) escrow.Credits { return escrow.Credits(10_000-i) * escrow.Credits(i%2) },
	} {
		s, err := NewStanding(nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3000 {
			if err := s.Insert(Entry{ID: placeID(i), Price: priceOf(i), Units: 1}); err != nil {
				t.Fatal(err)
			}
			if i%64 == 0 {
				if err := inspectLadder(s.ladder); err != nil {
					t.Fatalf("%s, %d bids: %v", name, s.Len(), err)
				}
			}
		}
		for s.Len() > 0 {
			first, _ := s.First()
			s.Remove(first.ID)
			if s.Len()%64 == 0 {
				if err := inspectLadder(s.ladder); err != nil {
					t.Fatalf("%s, %d bids left: %v", name, s.Len(), err)
				}
			}
		}
	}
}

func FuzzStanding(f *testing.F) {
	r := rand.New(rand.NewSource(1))
	for _, n := range []int{1, 20, 200} {
		input := make([]byte, n*opBytes)
		r.Read(input)
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		s := newShadow(t)
		for n := 0; len(input) >= opBytes; n++ {
			s.step(t, input[:opBytes])
			input = input[opBytes:]
			if n%16 == 0 || len(input) < opBytes {
				if err := inspectLadder(s.ladder); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// answers is all that a Standing says of itself.
func answers(t *testing.T, s *Standing) (all []any) {
	t.Helper()
	for rank := range s.Len() {
		e, _ := s.At(rank)
		at, _ := s.Rank(e.ID)
		all = append(all, e, at, s.CountWithin(e.Price), s.UnitsWithin(e.Price-1))
	}
	for units := uint64(1); units < s.Units()+2; units += 1 + units/4 {
		purchase, err := s.Prefix(units)
		all = append(all, purchase, err)
		for pricing := PricingVCG; pricing.Valid(); pricing++ {
			cleared, err := s.Clear(units, 200, pricing)
			all = append(all, cleared, err)
		}
	}
	return all
}

// Replicas may have reached one set of bids by different ways: the shape of the
// tree may differ, no answer may.
func TestStandingForgetsHistory(t *testing.T) {
	const seed = 20261002
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	shapes := 0
	for range 200 {
		var entries []Entry
		for i := range r.Intn(100) {
			entries = append(entries, Entry{ID: key(byte(i)), Tie: randomTie(r.Intn(4)), Price: escrow.Credits(r.Intn(12)), Units: 1 + uint64(r.Intn(4))})
		}
		bulk, err := NewStanding(entries)
		if err != nil {
			t.Fatal(err)
		}
		grown, _ := NewStanding(nil)
		for _, i := range r.Perm(len(entries)) { // each was once another, and somebody else came and went
			was, passing := entries[i], Entry{ID: key(200), Price: escrow.Credits(r.Intn(12)), Units: 1}
			was.Price, was.Units = escrow.Credits(r.Intn(12)), was.Units+1
			if err := errors.Join(grown.Insert(was), grown.Insert(passing), grown.Reduce(was.ID, 1)); err != nil {
				t.Fatal(err)
			}
			grown.Remove(passing.ID)
			grown.Remove(was.ID)
			if err := grown.Insert(entries[i]); err != nil {
				t.Fatal(err)
			}
		}
		if want, got := answers(t, bulk), answers(t, grown); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v answers %v in bulk, %v one by one", entries, want, got)
		}
		if err := errors.Join(inspectLadder(bulk.ladder), inspectLadder(grown.ladder)); err != nil {
			t.Fatal(err)
		}
		if bulk.Len() > 0 && bulk.ladder.rungs[bulk.ladder.root].entry != grown.ladder.rungs[grown.ladder.root].entry {
			shapes++
		}
	}
	if shapes < 50 {
		t.Errorf("%d shapes differed: too few to mean anything", shapes)
	}
}

// The largest sums there are: beyond what can be paid, but never wrapped.
func TestStandingLargest(t *testing.T) {
	most := Entry{ID: key(1), Price: escrow.MaxCredits, Units: MaxUnits}
	s, err := NewStanding([]Entry{most})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prefix(2); !errors.Is(err, escrow.ErrOverflow) {
		t.Errorf("two units at the highest price: %v", err)
	}
	if p, err := s.Prefix(1); err != nil || p.Cost != escrow.MaxCredits {
		t.Errorf("one unit at the highest price: %+v, %v", p, err)
	}
	for pricing := PricingVCG; pricing.Valid(); pricing++ {
		if _, err := s.Clear(2, escrow.MaxCredits, pricing); !errors.Is(err, escrow.ErrOverflow) {
			t.Errorf("%v of two units at the highest price: %v", pricing, err)
		}
		if c, err := s.Clear(1, escrow.MaxCredits, pricing); err != nil || c.Wins[0].Payment != escrow.MaxCredits {
			t.Errorf("%v of one unit at the highest price: %+v, %v", pricing, c, err)
		}
	}
	all := make([]Entry, MaxAsks)
	for i := range all {
		all[i] = most
		all[i].ID = placeID(i)
	}
	if s, err = NewStanding(all); err != nil {
		t.Fatal(err)
	}
	_, cost, _ := s.ladder.prefix(math.MaxUint64)
	if want := (wide{1 << (62 + 40 + 20 - 64), 0}); cost != want || s.Units() != MaxAsks*MaxUnits {
		t.Errorf("all of everything: %d units for %v, want %v", s.Units(), cost, want)
	}
	if err := s.Insert(Entry{ID: key(1), Units: 1}); !errors.Is(err, ErrRefused) {
		t.Errorf("one more: %v", err)
	}
	if _, err := NewStanding(append(all, most)); !errors.Is(err, ErrRefused) {
		t.Errorf("one more at once: %v", err)
	}
}

func TestStandingRefuses(t *testing.T) {
	good := Entry{ID: key(1), Price: 5, Units: 2}
	s, err := NewStanding([]Entry{good})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Entry{
		"second bid of one bidder": {ID: key(1), Price: 9, Units: 1},
		"negative price":           {ID: key(2), Price: -1, Units: 1},
		"price out of range":       {ID: key(2), Price: escrow.MaxCredits + 1, Units: 1},
		"no units":                 {ID: key(2), Price: 1},
		"too many units":           {ID: key(2), Price: 1, Units: MaxUnits + 1},
	} {
		if err := s.Insert(e); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := NewStanding([]Entry{good, e}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s in bulk: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"reduce by nothing":        s.Reduce(key(1), 0),
		"reduce by more than left": s.Reduce(key(1), 3),
		"reduce a stranger":        s.Reduce(key(2), 1),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, ok := s.Get(key(1)); !ok || got != good || s.Len() != 1 {
		t.Errorf("refusals left %+v, %d entries", got, s.Len())
	}
	_, ranked := s.Rank(key(2))
	_, below := s.At(-1)
	_, beyond := s.At(1)
	_, none := s.Strike(0)
	_, removed := s.Remove(key(2))
	if ranked || below || beyond || none || removed {
		t.Errorf("found what is not there: %v %v %v %v %v", ranked, below, beyond, none, removed)
	}
}
