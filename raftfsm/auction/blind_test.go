package auction

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"math/rand"
	"testing"

	"gavel/raftfsm/escrow"
)

// naiveFill takes the best ratio of what is left, by fractions, until none is.
func naiveFill(bids []BlindBid, supply uint64, uniform bool) BlindOutcome {
	n := len(bids)
	out := BlindOutcome{Filled: make([]bool, n), Payments: make([]escrow.Credits, n), Refunds: make([]escrow.Credits, n), Forfeited: make([]escrow.Credits, n)}
	ratio := func(i int) *big.Rat { return big.NewRat(int64(bids[i].Total), int64(bids[i].Quantity)) }
	var left []int
	for i, b := range bids {
		if !b.Revealed || b.Quantity == 0 || b.Total > b.Prepaid {
			out.Forfeited[i] = b.Prepaid
			continue
		}
		left = append(left, i)
	}
	var last *big.Rat
	for len(left) > 0 {
		best := 0
		for j, i := range left {
			if ratio(i).Cmp(ratio(left[best])) > 0 {
				best = j
			}
		}
		i := left[best]
		left = append(left[:best:best], left[best+1:]...)
		if bids[i].Quantity <= supply {
			supply -= bids[i].Quantity
			out.Filled[i], last = true, ratio(i)
		}
	}
	for i, b := range bids {
		if out.Filled[i] {
			out.Payments[i] = b.Total
			if uniform {
				exact := new(big.Rat).Mul(last, big.NewRat(int64(b.Quantity), 1))
				up := new(big.Int).Add(exact.Num(), exact.Denom())
				out.Payments[i] = escrow.Credits(up.Sub(up, big.NewInt(1)).Quo(up, exact.Denom()).Int64())
			}
		}
		out.Refunds[i] = b.Prepaid - out.Payments[i] - out.Forfeited[i]
	}
	return out
}

func sameFill(a, b BlindOutcome) bool {
	for i := range a.Filled {
		if a.Filled[i] != b.Filled[i] || a.Payments[i] != b.Payments[i] || a.Refunds[i] != b.Refunds[i] || a.Forfeited[i] != b.Forfeited[i] {
			return false
		}
	}
	return len(a.Filled) == len(b.Filled)
}

func TestBlindAgainstOracle(t *testing.T) {
	const seed = 20261005
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	met := tally{}
	for range 100_000 {
		scale := int64(1) << (r.Intn(3) * 27) // up to where only 128 bits compare exactly
		supply := uint64(1 + r.Intn(12))
		bids := make([]BlindBid, r.Intn(7))
		for i := range bids {
			total := escrow.Credits(r.Int63n(8)*scale + r.Int63n(2))
			bids[i] = BlindBid{Total: total, Prepaid: max(0, total+escrow.Credits(r.Intn(9)-1)), Quantity: uint64(r.Intn(7)), Revealed: r.Intn(8) > 0}
		}
		uniform := r.Intn(2) == 0
		got, err := FillBlind(bids, supply, uniform)
		want := naiveFill(bids, supply, uniform)
		if err != nil || !sameFill(got, want) {
			t.Fatalf("%+v of %d, uniform %v: %+v, %v; want %+v", bids, supply, uniform, got, err, want)
		}
		met.fill(t, bids, got, supply)
	}
	met.atLeast(t, 5000, "tie", "passed over", "forfeit", "refund of a winner", "filled")
}

// fill counts what a case met, and holds it to what is promised of every case.
func (c tally) fill(t *testing.T, bids []BlindBid, got BlindOutcome, supply uint64) {
	used := uint64(0)
	for i, b := range bids {
		if got.Filled[i] {
			c["filled"]++
			used += b.Quantity
			if got.Refunds[i] > 0 {
				c["refund of a winner"]++
			}
		}
		if got.Payments[i] > b.Total || got.Payments[i]+got.Refunds[i]+got.Forfeited[i] != b.Prepaid || got.Refunds[i] < 0 {
			t.Fatalf("%+v pays %d, gets back %d, forfeits %d", b, got.Payments[i], got.Refunds[i], got.Forfeited[i])
		}
		if got.Forfeited[i] > 0 {
			c["forfeit"]++
		} else if !got.Filled[i] && b.Revealed && b.Quantity > 0 {
			c["passed over"]++
		}
		for _, o := range bids[:i] {
			if b.Quantity > 0 && o.Quantity > 0 && compareRatio(&b, &o) == 0 {
				c["tie"]++
			}
		}
	}
	if used > supply {
		t.Fatalf("%d units of %d are sold", used, supply)
	}
}

// Only the opening that was sealed counts as revealed.
func TestOpenBlind(t *testing.T) {
	auction, bidder := key(1), key(2)
	opening := BlindOpening{Total: 30, Quantity: 5, Nonce: key(3)}
	seal := opening.Seal(auction, bidder)
	if got, want := OpenBlind(seal, auction, bidder, 40, opening), (BlindBid{Prepaid: 40, Revealed: true, Total: 30, Quantity: 5}); got != want {
		t.Errorf("opened %+v, want %+v", got, want)
	}
	hidden := BlindBid{Prepaid: 40}
	for name, got := range map[string]BlindBid{
		"another auction":  OpenBlind(seal, key(9), bidder, 40, opening),
		"another bidder":   OpenBlind(seal, auction, key(9), 40, opening),
		"another seal":     OpenBlind(key(9), auction, bidder, 40, opening),
		"another total":    OpenBlind(seal, auction, bidder, 40, BlindOpening{31, 5, key(3)}),
		"another quantity": OpenBlind(seal, auction, bidder, 40, BlindOpening{30, 6, key(3)}),
		"another nonce":    OpenBlind(seal, auction, bidder, 40, BlindOpening{30, 5, key(4)}),
		"nothing opened":   OpenBlind(seal, auction, bidder, 40, BlindOpening{}),
	} {
		if got != hidden {
			t.Errorf("%s: %+v, want %+v", name, got, hidden)
		}
	}
}

// A bidder who seals what is no amount loses its prepayment. Before there was
// OpenBlind such an opening, passed on as it was, refused the auction of all.
func TestSealedNonsenseHurtsItsAuthorOnly(t *testing.T) {
	for _, opening := range []BlindOpening{{Total: -1, Quantity: 1}, {Total: escrow.MaxCredits + 1, Quantity: 1}, {Total: 1, Quantity: MaxBlindQuantity + 1}} {
		nonsense := OpenBlind(opening.Seal(key(1), key(2)), key(1), key(2), 7, opening)
		out, err := FillBlind([]BlindBid{nonsense, {Prepaid: 5, Revealed: true, Total: 5, Quantity: 1}}, 1, false)
		if err != nil || !out.Filled[1] || out.Forfeited[0] != 7 {
			t.Errorf("%+v: %+v, %v", opening, out, err)
		}
	}
}

func TestBlindSealVector(t *testing.T) {
	auction, bidder, nonce := key(1), key(2), key(3)
	input := append([]byte("gavel/v1/blind\x00"), auction[:]...)
	input = append(input, bidder[:]...)
	input = binary.BigEndian.AppendUint64(input, 30)
	input = binary.BigEndian.AppendUint64(input, 5)
	want := sha256.Sum256(append(input, nonce[:]...))
	const vector = "f0c792f98e8bc62cfccfc5a752f0134d2c34c84ac834f1ac2f33841b464b9454"
	if got := (BlindOpening{30, 5, nonce}).Seal(auction, bidder); got != want || hex.EncodeToString(got[:]) != vector {
		t.Errorf("seal %x, want %x", got, want)
	}
}
