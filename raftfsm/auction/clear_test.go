package auction

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/big"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"gavel/raftfsm/escrow"
)

// key is a readable 32-byte id.
func key(n byte) [32]byte { return [32]byte{0: n, 31: n} }

// naiveValue is the value function read from its definition.
func naiveValue(v ValueFunction, finishMillis uint64) (value escrow.Credits) {
	for _, step := range v.Steps {
		if step.StartMillis <= finishMillis {
			value = step.Value
		}
	}
	return value
}

// naiveClear names the winner and the reference by comparing every bid with every other.
func naiveClear(bids []Bid, v ValueFunction, sigma []byte) (winner *Bid, reference *big.Int) {
	score := func(b Bid) *big.Int {
		return new(big.Int).Sub(big.NewInt(int64(naiveValue(v, b.FinishMillis))), big.NewInt(int64(b.Price)))
	}
	tie := func(b Bid) [32]byte {
		input := append([]byte("gavel/v1/tie\x00"), 0, 0, 0, byte(len(sigma)))
		input = append(append(input, sigma...), b.Operator[:]...)
		return sha256.Sum256(input)
	}
	beats := func(a, b Bid) bool {
		if c := score(a).Cmp(score(b)); c != 0 {
			return c > 0
		}
		x, y := tie(a), tie(b)
		if c := bytes.Compare(x[:], y[:]); c != 0 {
			return c < 0
		}
		return bytes.Compare(a.Worker[:], b.Worker[:]) < 0
	}
	for i := range bids {
		best := score(bids[i]).Sign() >= 0
		for j := range bids {
			best = best && (i == j || beats(bids[i], bids[j]))
		}
		if best {
			winner = &bids[i]
		}
	}
	reference = new(big.Int)
	if winner != nil {
		for _, b := range bids {
			if s := score(b); b.Domain != winner.Domain && s.Cmp(reference) > 0 {
				reference = s
			}
		}
	}
	return winner, reference
}

func randomValue(r *rand.Rand, reserve escrow.Credits) ValueFunction {
	v := Constant(escrow.Credits(r.Int63n(int64(reserve) + 1)))
	for range r.Intn(4) {
		last := v.Steps[len(v.Steps)-1]
		v.Steps = append(v.Steps, Step{last.StartMillis + 1 + uint64(r.Intn(4)), escrow.Credits(r.Int63n(int64(last.Value) + 1))})
	}
	return v
}

// randomBids draws few different prices, finishes, domains and operators, so that ties abound.
func randomBids(r *rand.Rand, reserve escrow.Credits) []Bid {
	bids := make([]Bid, r.Intn(7))
	for i := range bids {
		domain := r.Intn(4)
		bids[i] = Bid{
			Worker:       key(byte(i)),
			Operator:     key(byte(100 + domain/2)),
			Domain:       string(rune('a' + domain)),
			Price:        escrow.Credits(r.Int63n(int64(reserve) + 3)),
			FinishMillis: uint64(r.Intn(12)),
		}
	}
	r.Shuffle(len(bids), func(i, j int) { bids[i], bids[j] = bids[j], bids[i] })
	return bids
}

func TestClearAgainstOracle(t *testing.T) {
	const seed = 20260919
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	ties, awards := 0, 0
	for range 150_000 {
		reserve := escrow.Credits(r.Int63n(1 << r.Intn(20)))
		v, bids, sigma := randomValue(r, reserve), randomBids(r, reserve), []byte{byte(r.Intn(256))}
		got, err := Clear(bids, v, sigma)
		if err != nil {
			t.Fatal(err)
		}
		want, reference := naiveClear(bids, v, sigma)
		winner, won := got.Winner()
		if won != (want != nil) || won && winner.Bid != *want || reference.Cmp(big.NewInt(int64(got.Reference))) != 0 {
			t.Fatalf("%+v under %v: %+v, oracle %+v, reference %v", bids, v, got, want, reference)
		}
		r.Shuffle(len(bids), func(i, j int) { bids[i], bids[j] = bids[j], bids[i] })
		again, err := Clear(bids, v, sigma)
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("another arrival order gives %+v, %v; not %+v", again, err, got)
		}
		if won {
			awards++
			if len(bids) > 1 && got.Ranking[1].Score == winner.Score {
				ties++
			}
		}
	}
	if ties < 5000 || awards < 50_000 {
		t.Errorf("%d awards, %d ties: too few to mean anything", awards, ties)
	}
}

// A successor is found, and paid, as if the defaulter had never bid.
func TestSuccessor(t *testing.T) {
	bids := []Bid{
		{Worker: key(1), Domain: "a", Price: 3}, {Worker: key(2), Domain: "b", Price: 5}, {Worker: key(3), Domain: "c", Price: 8},
	}
	for i, want := range []escrow.Credits{5, 8, 10} {
		outcome, err := Clear(bids[i:], Constant(10), nil)
		if err != nil {
			t.Fatal(err)
		}
		winner, won := outcome.Winner()
		got, err := Payment(10, outcome.Reference, 10)
		if !won || winner.Worker != key(byte(i+1)) || err != nil || got != want {
			t.Errorf("after %d defaults %x is paid %v, %v; want %v", i, winner.Worker[:1], got, err, want)
		}
	}
}

// A second bid out of one's own domain must not lower one's own payment, nor raise it.
func TestReferenceComesFromAnotherDomain(t *testing.T) {
	bids := []Bid{
		{Worker: key(1), Domain: "a", Price: 3}, {Worker: key(2), Domain: "a", Price: 4}, {Worker: key(3), Domain: "b", Price: 9},
	}
	outcome, err := Clear(bids, Constant(10), nil)
	if err != nil || outcome.Reference != 1 {
		t.Errorf("reference %v, %v; want 1", outcome.Reference, err)
	}
	outcome, err = Clear(bids[:2], Constant(10), nil)
	if err != nil || outcome.Reference != 0 {
		t.Errorf("reference %v, %v; want 0 of the empty solution", outcome.Reference, err)
	}
}

func TestTieVector(t *testing.T) {
	outcome, err := Clear([]Bid{{Worker: key(1), Operator: key(2), Domain: "a"}}, Constant(0), []byte("sigma"))
	if err != nil {
		t.Fatal(err)
	}
	const vector = "f34ef1e072dd3648553a8ba40250ed8c77bf76820675ec4d9a1c89d92f1b0512"
	if got := hex.EncodeToString(outcome.Ranking[0].Tie[:]); got != vector {
		t.Errorf("tie hash %s, want %s", got, vector)
	}
}

func TestClearRefuses(t *testing.T) {
	good := Bid{Worker: key(1), Domain: "a", Price: 1}
	for name, bids := range map[string][]Bid{
		"negative price":     {{Worker: key(1), Domain: "a", Price: -1}},
		"price out of range": {{Worker: key(1), Domain: "a", Price: escrow.MaxCredits + 1}},
		"no domain":          {{Worker: key(1), Price: 1}},
		"long domain":        {{Worker: key(1), Domain: strings.Repeat("x", MaxDomainBytes+1)}},
		"worker twice":       {good, {Worker: key(2), Domain: "b"}, good},
	} {
		if _, err := Clear(bids, Constant(10), nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Clear([]Bid{good}, Constant(escrow.MaxCredits+1), nil); !errors.Is(err, escrow.ErrOverflow) {
		t.Errorf("value out of range: %v", err)
	}
	if outcome, err := Clear([]Bid{{Worker: key(1), Domain: "a", Price: escrow.MaxCredits}}, Constant(0), nil); err != nil || outcome.Awarded || outcome.Ranking[0].Score != -escrow.MaxCredits {
		t.Errorf("the lowest score of all: %+v, %v", outcome, err)
	}
}

// utility is what the bidder at index 0, whose true cost and finish are given, gets from an auction.
func utility(t *testing.T, bids []Bid, v ValueFunction, sigma []byte, reserve, cost escrow.Credits, finishMillis uint64) escrow.Credits {
	t.Helper()
	outcome, err := Clear(bids, v, sigma)
	if err != nil {
		t.Fatal(err)
	}
	winner, won := outcome.Winner()
	if !won || winner.Worker != bids[0].Worker {
		return 0
	}
	payment, err := Payment(v.At(finishMillis), outcome.Reference, reserve)
	if err != nil {
		t.Fatal(err)
	}
	return payment - cost
}

// In an auction of one unit nobody gains by bidding anything but the true cost
// and finish, whatever the others do, and nobody who does so loses.
func TestTruthIsNeverBeaten(t *testing.T) {
	const seed = 20260920
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	worse := 0
	for range 150_000 {
		reserve := escrow.Credits(1 + r.Int63n(1<<r.Intn(16)))
		v, others, sigma := randomValue(r, reserve), randomBids(r, reserve), []byte{byte(r.Intn(256))}
		truth := Bid{Worker: key(50), Operator: key(51), Domain: "me", Price: escrow.Credits(r.Int63n(int64(reserve) + 3)), FinishMillis: uint64(r.Intn(12))}
		lie := truth
		lie.Price = escrow.Credits(r.Int63n(int64(reserve) + 3))
		lie.FinishMillis = uint64(r.Intn(12))
		honest := utility(t, append([]Bid{truth}, others...), v, sigma, reserve, truth.Price, truth.FinishMillis)
		deviating := utility(t, append([]Bid{lie}, others...), v, sigma, reserve, truth.Price, truth.FinishMillis)
		if deviating > honest || honest < 0 {
			t.Fatalf("truth %+v gets %v, lie %+v gets %v against %+v under %v", truth, honest, lie, deviating, others, v)
		}
		if deviating < honest {
			worse++
		}
	}
	if worse < 10_000 {
		t.Errorf("only %d deviations cost anything: too few to mean anything", worse)
	}
}

func TestPaymentBounds(t *testing.T) {
	for _, c := range []struct{ value, reference, reserve, want escrow.Credits }{
		{10, 4, 10, 6}, {10, 0, 10, 10}, {20, 0, 10, 10}, {0, 4, 10, -4}, {0, 40, 10, -10}, {3, 9, 0, 0},
		{0, escrow.MaxCredits, escrow.MaxCredits, -escrow.MaxCredits},
	} {
		got, err := Payment(c.value, c.reference, c.reserve)
		paid(t, got, err, c.want)
	}
	for _, c := range []struct{ value, reference, least, most, want escrow.Credits }{
		{10, 4, -3, 8, 6}, {10, 0, -3, 8, 8}, {0, 9, -3, 8, -3}, {0, 9, 2, 2, 2}, {5, 0, -9, -1, -1},
	} {
		got, err := PaymentWithin(c.value, c.reference, c.least, c.most)
		paid(t, got, err, c.want)
	}
	got, err := FailurePayment(4, 10)
	paid(t, got, err, -4)
	got, err = FailurePayment(40, 10)
	paid(t, got, err, -10)
	if _, err := Payment(-2, escrow.MaxCredits, 10); !errors.Is(err, escrow.ErrOverflow) {
		t.Errorf("overflow: %v", err)
	}
	if _, err := Payment(1, 0, -1); !errors.Is(err, ErrRefused) {
		t.Errorf("negative reserve: %v", err)
	}
}
