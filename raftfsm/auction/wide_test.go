package auction

import (
	"math/big"
	"math/rand"
	"testing"

	"gavel/raftfsm/escrow"
)

func TestWide(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	asBig := func(x wide) *big.Int {
		n := new(big.Int).SetUint64(x.hi)
		return n.Lsh(n, 64).Add(n, new(big.Int).SetUint64(x.lo))
	}
	for range 100_000 {
		price, units := escrow.Credits(r.Int63n(1<<r.Intn(62)+1)), uint64(r.Int63n(1<<r.Intn(41)+1))
		more := wide{r.Uint64() >> 6, r.Uint64()}
		x := product(price, units)
		want := new(big.Int).Mul(big.NewInt(int64(price)), new(big.Int).SetUint64(units))
		if asBig(x).Cmp(want) != 0 {
			t.Fatalf("%d × %d is %v, want %v", price, units, x, want)
		}
		sum := x.plus(more)
		if asBig(sum).Cmp(want.Add(want, asBig(more))) != 0 || sum.minus(more) != x || sum.minus(x) != more {
			t.Fatalf("%v + %v is %v, want %v", x, more, sum, want)
		}
		if c, err := x.credits(); (err == nil) != (asBig(x).Cmp(big.NewInt(int64(escrow.MaxCredits))) <= 0) || err == nil && asBig(x).Cmp(big.NewInt(int64(c))) != 0 {
			t.Fatalf("%v is %v, %v", x, c, err)
		}
	}
}
