package escrow

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"gavel/raftfsm/wire"
)

// Credits is an amount of money in micro-credits, |x| ≤ MaxCredits. Its
// operations are exact or refused: nothing wraps and nothing is rounded unseen.
type Credits int64

const (
	// One is one credit.
	One Credits = 1_000_000

	// MaxCredits is the largest amount: 2⁶², so that the sum or difference of
	// any two amounts still fits an int64 and can be checked after the fact.
	MaxCredits Credits = 1 << 62
)

// ErrOverflow is wrapped when a result would leave ±MaxCredits.
var ErrOverflow = errors.New("amount beyond ±2^62 micro-credits")

// checked returns x, or ErrOverflow when it is out of range.
func checked(x Credits) (Credits, error) {
	if !x.Valid() {
		return 0, ErrOverflow
	}
	return x, nil
}

// Valid tells whether x is within ±MaxCredits, for amounts that came from outside.
func (x Credits) Valid() bool { return -MaxCredits <= x && x <= MaxCredits }

// Add is x + y.
func (x Credits) Add(y Credits) (Credits, error) {
	if !x.Valid() || !y.Valid() {
		return 0, ErrOverflow
	}
	return checked(x + y)
}

// Sub is x − y.
func (x Credits) Sub(y Credits) (Credits, error) {
	if !x.Valid() || !y.Valid() {
		return 0, ErrOverflow
	}
	return checked(x - y)
}

// Neg is −x.
func (x Credits) Neg() (Credits, error) {
	if !x.Valid() {
		return 0, ErrOverflow
	}
	return -x, nil
}

// MulDivFloor is ⌊x·num/den⌋, towards minus infinity, through 128 bits.
// Payouts round this way. A den below 1 is refused.
func (x Credits) MulDivFloor(num, den int64) (Credits, error) {
	return x.mulDiv(num, den, false)
}

// MulDivCeil is ⌈x·num/den⌉, towards plus infinity, through 128 bits. Stakes
// round this way. A den below 1 is refused.
func (x Credits) MulDivCeil(num, den int64) (Credits, error) {
	return x.mulDiv(num, den, true)
}

func (x Credits) mulDiv(num, den int64, ceil bool) (Credits, error) {
	if !x.Valid() {
		return 0, ErrOverflow
	}
	if den <= 0 {
		return 0, fmt.Errorf("dividing an amount by %d: the divisor must be at least 1", den)
	}
	negative := (x < 0) != (num < 0)
	hi, lo := bits.Mul64(magnitude(int64(x)), magnitude(num))
	if hi >= uint64(den) {
		return 0, ErrOverflow // the quotient has more than 64 bits
	}
	quotient, remainder := bits.Div64(hi, lo, uint64(den))
	if quotient > uint64(MaxCredits) {
		return 0, ErrOverflow
	}
	// Away from zero is up for a positive result and down for a negative one.
	if remainder != 0 && ceil != negative {
		quotient++
		if quotient > uint64(MaxCredits) {
			return 0, ErrOverflow
		}
	}
	if negative {
		return -Credits(quotient), nil
	}
	return Credits(quotient), nil
}

// magnitude is |v|, also for the smallest int64.
func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// fractionDigits is how many decimals a credit has: micro-credits.
const fractionDigits = 6

// Parse reads an exact decimal number of credits: an optional minus, digits,
// and at most six decimals, as in "10", "0.1" or "-1.000001".
func Parse(s string) (Credits, error) {
	unsigned, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(unsigned, ".")
	if whole == "" || (point && fraction == "") || len(fraction) > fractionDigits ||
		strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not an amount of credits: write digits with at most %d decimals, such as 10 or 0.25", s, fractionDigits)
	}
	fraction += strings.Repeat("0", fractionDigits-len(fraction))
	magnitude, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil || Credits(magnitude) > MaxCredits {
		return 0, fmt.Errorf("reading %q credits: %w", s, ErrOverflow)
	}
	if negative {
		return Credits(-magnitude), nil
	}
	return Credits(magnitude), nil
}

// String is the exact decimal number of credits, without trailing zeros.
func (x Credits) String() string {
	sign := ""
	if x < 0 {
		sign = "-"
	}
	m := magnitude(int64(x))
	whole, fraction := m/uint64(One), m%uint64(One)
	if fraction == 0 {
		return fmt.Sprintf("%s%d", sign, whole)
	}
	return fmt.Sprintf("%s%d.%s", sign, whole, strings.TrimRight(fmt.Sprintf("%0*d", fractionDigits, fraction), "0"))
}

// Code codes the amount as 8 bytes and refuses one out of range.
func (x *Credits) Code(c *wire.Coder) {
	c.I64((*int64)(x))
	if !x.Valid() {
		c.Refuse("amount %d is beyond ±2^62", int64(*x))
	}
}
