package main

import (
	"errors"
	"fmt"
	"strconv"

	"gavel/raftfsm/escrow"
	"gavel/worker"
)

// maxAmount is the most that the farm takes as any amount of a build or a pool, so
// that sums stay in range.
const maxAmount = escrow.Credits(1) << 55

// credits is a flag with an amount of decimal credits, not negative.
type credits struct {
	value escrow.Credits
	given bool
}

// String, Set and Type implement pflag's Value.
func (c *credits) String() string { return c.value.String() }

// Set reads an amount.
func (c *credits) Set(text string) error {
	v, err := parseCredits(text)
	if err == nil && v < 0 {
		err = fmt.Errorf("%s is negative", text)
	}
	if err != nil {
		return err
	}
	c.value, c.given = v, true
	return nil
}

// Type names the value in the manual.
func (c *credits) Type() string { return "CREDITS" }

func (c *credits) amount() *worker.Amount {
	a := worker.Amount(c.value)
	return &a
}

// parseCredits reads an amount, and says of one that is too large what is the most.
func parseCredits(text string) (escrow.Credits, error) {
	v, err := escrow.Parse(text)
	switch {
	case errors.Is(err, escrow.ErrOverflow):
		return 0, fmt.Errorf("%.40s credits are more than there can be: want at most %s, which is 2^62 micro-credits", text, escrow.MaxCredits)
	case err != nil:
		return 0, fmt.Errorf("%.40q is no amount: want credits, with at most six decimals, such as 12.5", text)
	}
	return v, nil
}

// number is a flag with a whole number between two others.
type number[N ~uint8 | ~uint32] struct {
	to        *N
	low, high N
}

// numberOf is a flag that fills to, which is its default, within bounds.
func numberOf[N ~uint8 | ~uint32](to *N, low, high N) *number[N] {
	return &number[N]{to: to, low: low, high: high}
}

// String, Set and Type implement pflag's Value.
func (n *number[N]) String() string { return strconv.FormatUint(uint64(*n.to), 10) }

// Set reads a number.
func (n *number[N]) Set(text string) error {
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil || v < uint64(n.low) || v > uint64(n.high) {
		return fmt.Errorf("want a whole number from %d to %d", n.low, n.high)
	}
	*n.to = N(v)
	return nil
}

// Type names the value in the manual.
func (n *number[N]) Type() string { return "N" }
