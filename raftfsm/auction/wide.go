package auction

import (
	"math/bits"

	"gavel/raftfsm/escrow"
)

// wide is an unsigned 128-bit amount: what units cost before it is known to be
// payable. MaxAsks entries of MaxUnits at MaxCredits cost 2¹²².
type wide struct{ hi, lo uint64 }

// product is price × units. Prices are not negative here.
func product(price escrow.Credits, units uint64) wide {
	hi, lo := bits.Mul64(uint64(price), units)
	return wide{hi, lo}
}

func (x wide) plus(y wide) wide {
	lo, carry := bits.Add64(x.lo, y.lo, 0)
	hi, _ := bits.Add64(x.hi, y.hi, carry)
	return wide{hi, lo}
}

// minus is x − y, for y ≤ x.
func (x wide) minus(y wide) wide {
	lo, borrow := bits.Sub64(x.lo, y.lo, 0)
	hi, borrow := bits.Sub64(x.hi, y.hi, borrow)
	if borrow != 0 {
		panic("auction: broken invariant: a cost below zero")
	}
	return wide{hi, lo}
}

// credits is the amount as money, or escrow.ErrOverflow.
func (x wide) credits() (escrow.Credits, error) {
	if x.hi != 0 || x.lo > uint64(escrow.MaxCredits) {
		return 0, escrow.ErrOverflow
	}
	return escrow.Credits(x.lo), nil
}
