package beacon_test

import (
	"bytes"
	"errors"
	"testing"

	"gavel/raftfsm/beacon"
)

// Any t of n make the same signature, t−1 make none: the whole promise, for
// every subset.
func TestEverySubsetGivesTheSameSignature(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		t.Run(name(n), func(t *testing.T) {
			f := setup(t, n)
			threshold := beacon.Threshold(n)
			msg := message(n)
			want := f.sign(t, msg)
			if err := beacon.Verify(f.group.Key, msg, want); err != nil {
				t.Fatal(err)
			}
			pick := func(chosen []int) (out []beacon.Partial) {
				for i := len(chosen) - 1; i >= 0; i-- {
					out = append(out, f.shares[chosen[i]].Sign(msg))
				}
				return out
			}
			subsets(n, threshold, func(chosen []int) {
				got, err := f.group.Combine(msg, pick(chosen))
				if err != nil || got != want {
					t.Errorf("members %v: %x, %v", chosen, got, err)
				}
			})
			subsets(n, threshold-1, func(chosen []int) {
				partials := pick(chosen)
				// The same member twice is still one member.
				for range threshold {
					partials = append(partials, partials...)
				}
				if _, err := f.group.Combine(msg, partials); !errors.Is(err, beacon.ErrTooFew) {
					t.Errorf("members %v: %v", chosen, err)
				}
			})
		})
	}
}

func TestCombinePassesOverBadPartials(t *testing.T) {
	f := setup(t, 5)
	msg := message(0)
	want := f.sign(t, msg)
	stolen := f.shares[0].Sign(msg)
	stolen.Index = 2
	junk := []beacon.Partial{
		{Index: 0, Sig: stolen.Sig}, {Index: 6, Sig: stolen.Sig}, {Index: 1 << 31, Sig: stolen.Sig},
		stolen, {Index: 3}, f.shares[3].Sign([]byte("another message")),
	}
	good := []beacon.Partial{f.shares[1].Sign(msg), f.shares[2].Sign(msg), f.shares[3].Sign(msg)}
	got, err := f.group.Combine(msg, append(junk, good...))
	if err != nil || got != want {
		t.Errorf("three good partials behind %d bad ones: %v", len(junk), err)
	}
	if _, err := f.group.Combine(msg, append(junk, good[:2]...)); !errors.Is(err, beacon.ErrTooFew) {
		t.Errorf("two good partials: %v", err)
	}
	for i, p := range junk {
		if err := f.group.VerifyPartial(msg, p); err == nil {
			t.Errorf("bad partial %d verifies", i)
		}
	}
	for i, p := range good {
		if err := f.group.VerifyPartial(msg, p); err != nil {
			t.Errorf("good partial %d: %v", i, err)
		}
	}
}

// A group whose key is not that of its shares must not yield a signature.
func TestCombineRefusesForeignGroupKey(t *testing.T) {
	f, other := setup(t, 3), setup(t, 3)
	mixed := beacon.Group{Key: other.group.Key, Shares: f.group.Shares}
	partials := []beacon.Partial{f.shares[0].Sign(message(0)), f.shares[1].Sign(message(0))}
	if sig, err := mixed.Combine(message(0), partials); err == nil || !bytes.Equal(sig[:], make([]byte, 48)) {
		t.Errorf("combined %x, %v", sig, err)
	}
}

// Apply may meet the deals in any order: every replica must reach the same key.
func TestAssembleDoesNotDependOnOrder(t *testing.T) {
	f := setup(t, 3)
	again, err := beacon.Assemble(f.ceremony, []*beacon.Deal{f.deals[2], f.deals[0], f.deals[1]})
	if err != nil || again.Key != f.group.Key {
		t.Fatalf("reordered deals: %v", err)
	}
	for i := range again.Shares {
		if again.Shares[i] != f.group.Shares[i] {
			t.Errorf("public share %d differs", i+1)
		}
	}
	for what, deals := range map[string][]*beacon.Deal{
		"none": nil, "fewer than t": f.deals[:1], "one twice": {f.deals[0], f.deals[0]},
	} {
		if _, err := beacon.Assemble(f.ceremony, deals); err == nil {
			t.Errorf("%s: assembled", what)
		}
	}
	short := *f.deals[1]
	short.Commitments = short.Commitments[:1]
	if _, err := beacon.Assemble(f.ceremony, []*beacon.Deal{f.deals[0], &short}); !errors.Is(err, beacon.ErrBadDeal) {
		t.Errorf("polynomials of different degree: %v", err)
	}
}
