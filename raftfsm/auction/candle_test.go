package auction

import (
	"bytes"
	"errors"
	"math/rand"
	"slices"
	"testing"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// periodsOf is a bid's range as a bit set.
func periodsOf(b CandleBid) (set uint) {
	for p := b.First; p <= b.Last; p++ {
		set |= 1 << p
	}
	return set
}

// naivePartition tries every set of bids that share no period.
func naivePartition(bids []CandleBid) (winners []CandleBid, total escrow.Credits, ties int) {
	code := func(set []CandleBid) (text []byte) {
		slices.SortFunc(set, func(a, b CandleBid) int { return int(a.First) - int(b.First) })
		for _, b := range set {
			text = append(append(text, b.First, b.Last), b.Bidder[:]...)
		}
		return text
	}
	for subset := range 1 << len(bids) {
		var chosen []CandleBid
		used, sum, ok := uint(0), escrow.Credits(0), true
		for i, b := range bids {
			if subset>>i&1 == 1 {
				ok = ok && used&periodsOf(b) == 0
				used |= periodsOf(b)
				chosen = append(chosen, b)
				sum += b.PerPeriod * escrow.Credits(b.Last-b.First+1)
			}
		}
		if !ok || sum < total {
			continue
		}
		if sum > total {
			ties = 0
		} else if len(chosen) > 0 {
			ties++
		}
		if sum > total || bytes.Compare(code(chosen), code(winners)) < 0 {
			winners, total = chosen, sum
		}
	}
	return winners, total, ties
}

// randomBook holds bids as Place would keep them, of few bidders and amounts.
func randomBook(r *rand.Rand) CandleBook {
	k := NewCandleBook(uint8(1 + r.Intn(MaxPeriods)))
	bids := 1 + r.Intn(12)
	for range bids {
		first := 1 + uint8(r.Intn(int(k.Periods)))
		last := first + uint8(r.Intn(int(k.Periods-first)+1))
		_ = k.Place(CandleBid{Bidder: key(byte(r.Intn(5))), First: first, Last: last, PerPeriod: escrow.Credits(1 + r.Intn(3))}) // some are refused
	}
	return k
}

func TestCandleAgainstEnumeration(t *testing.T) {
	const seed = 20261009
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 100_000 {
		k := randomBook(r)
		got, total := k.Winners()
		want, sum, ties := naivePartition(k.Best)
		if total != sum || !slices.Equal(got, want) {
			t.Fatalf("%+v: %+v for %d, want %+v for %d", k, got, total, want, sum)
		}
		var others []CandleBid
		for _, b := range k.Best {
			if !slices.Contains(want, b) {
				others = append(others, b)
			}
		}
		next, second := k.RunnerUp()
		if want, sum, _ := naivePartition(others); second != sum || !slices.Equal(next, want) {
			t.Fatalf("%+v: runner-up %+v for %d, want %+v for %d", k, next, second, want, sum)
		}
		if ties > 0 {
			met["tie"]++
		}
		if len(got) > 1 {
			met["partition"]++
		}
	}
	met.atLeast(t, 10_000, "tie", "partition")
}

// A bid is taken if it beats its range's best and shares or borders on a period
// of every range that its bidder holds; then what a bidder wins has no gap.
func TestPlaceAgainstOracle(t *testing.T) {
	const seed = 20261010
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 20_000 {
		k := NewCandleBook(uint8(2 + r.Intn(MaxPeriods-1)))
		held := map[[2]uint8]CandleBid{}
		for range 10 {
			b := CandleBid{Bidder: key(byte(r.Intn(3))), First: uint8(r.Intn(5)), PerPeriod: escrow.Credits(r.Intn(6))}
			b.Last = b.First + uint8(r.Intn(3))
			before, code := k.Clone(), wire.Encode(&k)
			want := "taken"
			best := held[[2]uint8{b.First, b.Last}]
			switch {
			case b.First < 1 || b.Last < b.First || b.Last > k.Periods || b.PerPeriod < 1:
				want = "no range"
			case b.PerPeriod <= best.PerPeriod:
				want = "too low"
			}
			for _, o := range held {
				wide := periodsOf(o)<<1 | periodsOf(o) | periodsOf(o)>>1
				if want == "taken" && o.Bidder == b.Bidder && wide&periodsOf(b) == 0 {
					want = "gap"
				}
			}
			err := k.Place(b)
			if (err == nil) != (want == "taken") || err != nil && !errors.Is(err, ErrRefused) {
				t.Fatalf("%+v on %+v: %v, want %s", b, before, err, want)
			}
			met[want]++
			if err != nil {
				if !bytes.Equal(wire.Encode(&k), code) {
					t.Fatalf("%+v is refused, and leaves %+v of %+v", b, k, before)
				}
				continue
			}
			held[[2]uint8{b.First, b.Last}] = b
			inspectBook(t, k, held)
		}
	}
	met.atLeast(t, 2000, "taken", "no range", "too low", "gap")
}

func inspectBook(t *testing.T, k CandleBook, held map[[2]uint8]CandleBid) {
	t.Helper()
	if len(k.Best) != len(held) {
		t.Fatalf("%+v, want %+v", k, held)
	}
	for _, b := range k.Best {
		if held[[2]uint8{b.First, b.Last}] != b {
			t.Fatalf("%+v, want %+v", k, held)
		}
	}
	var decoded CandleBook
	if err := wire.Decode(wire.Encode(&k), &decoded); err != nil || !slices.Equal(decoded.Best, k.Best) {
		t.Fatalf("%+v decodes as %+v, %v", k, decoded, err)
	}
	winners, _ := k.Winners()
	for i, b := range winners {
		for _, o := range winners[:i] {
			if o.Bidder == b.Bidder && o.Last+1 != b.First && b.Last+1 != o.First {
				t.Fatalf("%+v: one bidder wins %+v and %+v", k, o, b)
			}
		}
	}
}

// The rule against gaps binds names: under a second one the gap is to be had.
func TestGapUnderTwoNames(t *testing.T) {
	k := NewCandleBook(MaxPeriods)
	if err := k.Place(CandleBid{key(1), 1, 2, 5}); err != nil {
		t.Fatal(err)
	}
	if err := k.Place(CandleBid{key(1), 4, 4, 5}); !errors.Is(err, ErrRefused) {
		t.Errorf("a gap is taken: %v", err)
	}
	if err := k.Place(CandleBid{key(2), 4, 4, 5}); err != nil {
		t.Errorf("another name: %v", err)
	}
}

// A book of 255 periods used to wrap the period after the last.
func TestCandleLargest(t *testing.T) {
	k := NewCandleBook(255)
	if err := k.Place(CandleBid{key(1), 255, 255, 1}); !errors.Is(err, ErrRefused) {
		t.Errorf("a book of 255 periods: %v", err)
	}
	if (CandleBid{First: 255, Last: 255}).touches(CandleBid{First: 1, Last: 1}) || !(CandleBid{First: 254, Last: 254}).touches(CandleBid{First: 255, Last: 255}) {
		t.Error("period 255 borders on 254 alone")
	}
	k = NewCandleBook(MaxPeriods)
	for p := uint8(1); p <= MaxPeriods; p++ {
		if err := k.Place(CandleBid{key(p), p, p, escrow.MaxCredits / MaxPeriods}); err != nil {
			t.Fatal(err)
		}
	}
	if won, total := k.Winners(); len(won) != MaxPeriods || total != escrow.MaxCredits {
		t.Errorf("%+v for %d", won, total)
	}
}

// Each sample is as likely: chi square of 9 degrees of freedom, whose chance of
// 40 is below 10⁻⁵.
func TestCloseSampleIsUniform(t *testing.T) {
	const draws, samples = 20_000, 10
	var seen [samples]int
	for i := range draws {
		seen[CloseSample(placeID(i), samples)]++
	}
	sum := 0.0
	for _, n := range seen {
		off := float64(n) - draws/samples
		sum += off * off / (draws / samples)
	}
	if sum > 40 {
		t.Errorf("chi square %.1f of %v", sum, seen)
	}
	if CloseSample(key(1), 1) != 0 {
		t.Error("one sample is not the first")
	}
}

func FuzzDecodeCandleBid(f *testing.F) {
	f.Add(wire.Encode(&CandleBid{key(1), 1, 4, 75}))
	f.Fuzz(func(t *testing.T, input []byte) {
		if b, ok := canonical[CandleBid](t, input); ok {
			if total, err := b.Total(); err != nil || total < b.PerPeriod {
				t.Fatalf("%+v was decoded, at %v, %v", b, total, err)
			}
		}
	})
}

// Every book that is decoded could have been made by its bids, one by one.
func FuzzDecodeCandleBook(f *testing.F) {
	r := rand.New(rand.NewSource(1))
	for range 4 {
		k := randomBook(r)
		f.Add(wire.Encode(&k))
	}
	f.Add(wire.Encode(&CandleBook{}))
	f.Fuzz(func(t *testing.T, input []byte) {
		k, ok := canonical[CandleBook](t, input)
		if !ok {
			return
		}
		again := NewCandleBook(k.Periods)
		for _, b := range k.Best {
			if err := again.Place(b); err != nil {
				t.Fatalf("%+v was decoded, of which %+v is refused: %v", k, b, err)
			}
		}
		winners, total := k.Winners()
		if want, sum, _ := naivePartition(k.Best); total != sum || !slices.Equal(winners, want) {
			t.Fatalf("%+v: %+v for %d, want %+v for %d", k, winners, total, want, sum)
		}
	})
}
