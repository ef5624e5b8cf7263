package auction

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

func steps(pairs ...int64) (v ValueFunction) {
	for i := 0; i < len(pairs); i += 2 {
		v.Steps = append(v.Steps, Step{uint64(pairs[i]), escrow.Credits(pairs[i+1])})
	}
	return v
}

func TestValueAt(t *testing.T) {
	v := steps(0, 100, 50, 80, 200, 0)
	for _, c := range []struct {
		finishMillis uint64
		want         escrow.Credits
	}{{0, 100}, {49, 100}, {50, 80}, {51, 80}, {199, 80}, {200, 0}, {math.MaxUint64, 0}} {
		if got := v.At(c.finishMillis); got != c.want || naiveValue(v, c.finishMillis) != c.want {
			t.Errorf("at %d: %v, want %v", c.finishMillis, got, c.want)
		}
	}
	if got := steps(5, 100).At(4); got != 0 {
		t.Errorf("before the first step: %v, want 0", got)
	}
	if got := Constant(7).At(1 << 40); got != 7 {
		t.Errorf("constant: %v, want 7", got)
	}
}

func TestValidateValue(t *testing.T) {
	long := ValueFunction{Steps: make([]Step, MaxSteps+1)}
	for i := range long.Steps {
		long.Steps[i].StartMillis = uint64(i)
	}
	for _, c := range []struct {
		name  string
		value ValueFunction
		ok    bool
	}{
		{"constant", Constant(100), true},
		{"falling", steps(0, 100, 10, 100, 20, 0), true},
		{"as many as allowed", ValueFunction{Steps: long.Steps[:MaxSteps]}, true},
		{"none", ValueFunction{}, false},
		{"too many", long, false},
		{"late start", steps(1, 100), false},
		{"above the reserve", steps(0, 101), false},
		{"rising", steps(0, 50, 10, 51), false},
		{"negative", steps(0, 50, 10, -1), false},
		{"same start", steps(0, 50, 10, 40, 10, 30), false},
		{"backwards", steps(0, 50, 10, 40, 9, 30), false},
	} {
		if err := c.value.Validate(100); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := Constant(escrow.MaxCredits + 1).Validate(math.MaxInt64); err == nil {
		t.Error("a value out of range is accepted under a reserve price out of range")
	}
}

// canonical holds a decoder to its promise: what it accepts is what encoding gives.
func canonical[T any, P interface {
	*T
	wire.Record
}](t *testing.T, input []byte) (P, bool) {
	t.Helper()
	record := P(new(T))
	if err := wire.Decode(input, record); err != nil {
		if !errors.Is(err, wire.ErrNotCanonical) {
			t.Fatalf("unexpected error %v", err)
		}
		return nil, false
	}
	if !bytes.Equal(wire.Encode(record), input) {
		t.Fatalf("%x decodes but is not canonical", input)
	}
	return record, true
}

func FuzzDecodeValueFunction(f *testing.F) {
	for _, v := range []ValueFunction{Constant(100), steps(0, 100, 10, 50, 20, 0)} {
		f.Add(wire.Encode(&v))
	}
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		v, ok := canonical[ValueFunction](t, input)
		if !ok {
			return
		}
		for _, finishMillis := range []uint64{0, 1, 10, 1000, math.MaxUint64} {
			if got, want := v.At(finishMillis), naiveValue(*v, finishMillis); got != want {
				t.Fatalf("%v at %d: %v, want %v", v, finishMillis, got, want)
			}
		}
	})
}

func FuzzDecodeBid(f *testing.F) {
	f.Add(wire.Encode(&Bid{Worker: key(1), Operator: key(2), Domain: "a", Price: 3, FinishMillis: 4}))
	f.Fuzz(func(t *testing.T, input []byte) {
		if b, ok := canonical[Bid](t, input); ok && b.Validate() != nil {
			t.Fatalf("%+v was decoded", b)
		}
	})
}
