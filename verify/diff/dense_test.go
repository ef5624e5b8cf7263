package diff_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gavel/verify/diff"
)

// Random bytes hold by chance what looks like paths, hosts, times and locales: no
// cause is named by it, whatever they are and however long, except of one byte.
func TestNothingIsReadOutOfRandomBytes(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{5})
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rng.Read(b) // it never fails
		return b
	}
	for _, n := range []int{2 << 10, 64 << 10, 1 << 20} {
		for _, m := range []int{n, n - 7} {
			a, b := random(n), random(m)
			a[0], b[0] = 0, 1 // of no format
			r := explain(t, a, b)
			if !slices.Equal(causes(r), []diff.Cause{diff.Unknown}) {
				t.Errorf("%d and %d random bytes: %v", n, m, causes(r))
			}
		}
	}
	a := random(64 << 10)
	a[0] = 0
	b := slices.Clone(a)
	b[9000] ^= 4
	if r := explain(t, a, b); !slices.Contains(causes(r), diff.Forged) {
		t.Errorf("one byte of many: %+v", r.Differences[0])
	}
}

// causes are those of the findings about the whole.
func causes(r *diff.Report) (out []diff.Cause) {
	for _, d := range r.Differences {
		for _, f := range d.Findings {
			out = append(out, f.Cause)
		}
	}
	return out
}
