package diff

import "slices"

// moves are runs of a program's memory that hold the same on both sides, and where each
// side has them.
type moves []move

// move is n bytes from an address of each side on.
type move struct{ a, b, n uint64 }

// same tells whether two addresses are one place of something that moved, or its end.
func (m moves) same(a, b uint64) bool {
	for _, x := range m {
		if a >= x.a && a-x.a <= x.n && b-x.b == a-x.a {
			return true
		}
	}
	return false
}

// place tells whether two addresses are one place: of something that moved, or its end,
// or of what did not move the same address.
func (m moves) place(a, b uint64) bool {
	return m.same(a, b) || a == b && !slices.ContainsFunc(m, func(x move) bool { return x.a != x.b && a >= x.a && a-x.a < x.n })
}
