package escrow

import (
	"errors"
	"math"
	"math/big"
	"math/rand"
	"testing"
)

func TestParseAndString(t *testing.T) {
	for _, test := range []struct {
		text  string
		want  Credits
		print string
	}{
		{"10", 10_000_000, "10"},
		{"0.1", 100_000, "0.1"},
		{"1.000001", 1_000_001, "1.000001"},
		{"1.10", 1_100_000, "1.1"},
		{"007", 7_000_000, "7"},
		{"0", 0, "0"},
		{"-0", 0, "0"},
		{"-0.000001", -1, "-0.000001"},
		{"-2.5", -2_500_000, "-2.5"},
		{"4611686018427.387904", MaxCredits, "4611686018427.387904"},
		{"-4611686018427.387904", -MaxCredits, "-4611686018427.387904"},
	} {
		got, err := Parse(test.text)
		if err != nil || got != test.want || got.String() != test.print {
			t.Errorf("Parse(%q) = %d (%v), %v; want %d (%s)", test.text, got, got, err, test.want, test.print)
		}
	}
	for _, text := range []string{"", "-", ".", "1.", ".5", "+1", "--1", "1e3", "1,5", " 1", "1 ", "0x1", "1.0000001", "1.2.3", "1.-2", "١", "nan"} {
		if got, err := Parse(text); err == nil || errors.Is(err, ErrOverflow) {
			t.Errorf("Parse(%q) = %v, %v; want a refusal of its form", text, got, err)
		}
	}
	for _, text := range []string{"4611686018427.387905", "-4611686018427.387905", "9223372036854.775808", "99999999999999999999"} {
		if got, err := Parse(text); !errors.Is(err, ErrOverflow) {
			t.Errorf("Parse(%q) = %v, %v; want ErrOverflow", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"10", "0.1", "-1.000001", "4611686018427.387904", "1e9", "1_0", ".", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok || exact.Cmp(big.NewRat(int64(got), int64(One))) != 0 {
			t.Fatalf("Parse(%q) = %d, exactly it is %v", text, got, exact)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Fatalf("Parse(%q) = %v prints as %q, which reads as %v, %v", text, got, got.String(), again, err)
		}
	})
}

// edge draws numbers of every size, and those at the edges more often.
func edge(r *rand.Rand) int64 {
	edges := []int64{0, 1, -1, int64(One), int64(MaxCredits), -int64(MaxCredits), int64(MaxCredits) + 1, math.MaxInt64, math.MinInt64}
	if r.Intn(4) == 0 {
		return edges[r.Intn(len(edges))] + int64(r.Intn(3)) - 1 // may wrap, which is an edge too
	}
	return int64(r.Uint64()) >> r.Intn(64)
}

// exactly holds got to the exact result, or to ErrOverflow when an operand or the result is out of range.
func exactly(t *testing.T, what string, got Credits, err error, want *big.Int, operands ...Credits) {
	t.Helper()
	inRange := want.CmpAbs(big.NewInt(int64(MaxCredits))) <= 0
	for _, x := range operands {
		inRange = inRange && x.Valid()
	}
	if inRange && (err != nil || want.Cmp(big.NewInt(int64(got))) != 0) || !inRange && !errors.Is(err, ErrOverflow) {
		t.Fatalf("%s of %d = %d, %v; exactly it is %v", what, operands, got, err, want)
	}
}

func TestArithmeticIsExactOrRefused(t *testing.T) {
	const seed = 20260917
	r := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	for range 200_000 {
		x, y, num, den := Credits(edge(r)), Credits(edge(r)), edge(r), edge(r)
		bx, by := big.NewInt(int64(x)), big.NewInt(int64(y))
		sum, err := x.Add(y)
		exactly(t, "Add", sum, err, new(big.Int).Add(bx, by), x, y)
		difference, err := x.Sub(y)
		exactly(t, "Sub", difference, err, new(big.Int).Sub(bx, by), x, y)
		negative, err := x.Neg()
		exactly(t, "Neg", negative, err, new(big.Int).Neg(bx), x)

		floor, errFloor := x.MulDivFloor(num, den)
		ceil, errCeil := x.MulDivCeil(num, den)
		if den <= 0 {
			if errFloor == nil || errCeil == nil {
				t.Fatalf("dividing by %d: no error", den)
			}
			continue
		}
		// big.Int.Div is Euclidean: for a positive divisor, the floor.
		product := new(big.Int).Mul(bx, big.NewInt(num))
		exactly(t, "MulDivFloor", floor, errFloor, new(big.Int).Div(product, big.NewInt(den)), x)
		up := new(big.Int).Neg(product)
		exactly(t, "MulDivCeil", ceil, errCeil, up.Neg(up.Div(up, big.NewInt(den))), x)
	}
}
