package diff

import "testing"

// What moved is at its new place and nowhere else, least of all where it was.
func TestPlaces(t *testing.T) {
	m := moves{{100, 100, 50}, {200, 216, 40}}
	for _, c := range []struct {
		a, b uint64
		same bool
	}{
		{7, 7, true}, {7, 8, false},
		{120, 120, true}, {120, 121, false},
		{200, 216, true}, {230, 246, true}, {230, 245, false},
		{230, 230, false},                  // as if it had not moved
		{240, 256, true}, {240, 240, true}, // its end, or the beginning of what is behind it
		{241, 257, false},
	} {
		if got := m.place(c.a, c.b); got != c.same {
			t.Errorf("%d and %d: %v", c.a, c.b, got)
		}
	}
}
