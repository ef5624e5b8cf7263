// Package auction holds the rules of price: what a finish is worth to a
// requester, who wins a sealed-bid score auction and is paid what, and how large
// a stake makes lying a loss. It never moves money, knows no build or clock, and
// treats arrival order as noise. Scores, payments and stakes are exact;
// with a constant value function the auction is Vickrey's.
package auction

import (
	"errors"
	"fmt"
	"sort"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// ErrRefused is wrapped by errors about a bid, a value function or numbers
// that are not valid: the caller's input is at fault.
var ErrRefused = errors.New("not acceptable")

// Step says what a finish at or after StartMillis is worth.
type Step struct {
	StartMillis uint64 // farm time since bidding opened
	Value       escrow.Credits
}

// ValueFunction is what a finish is worth to the requester: the value of the
// last step that starts at or before it.
type ValueFunction struct {
	Steps []Step
}

// Constant is the value function of a requester to whom time does not matter:
// one step at 0. The auction under it is Vickrey's.
func Constant(value escrow.Credits) ValueFunction {
	return ValueFunction{Steps: []Step{{Value: value}}}
}

// Validate holds the function to its shape: one to MaxSteps steps, the first
// at 0, starts ascending, values from the reserve price down to no less than 0
// and never rising.
func (v ValueFunction) Validate(reserve escrow.Credits) error {
	if len(v.Steps) == 0 || len(v.Steps) > MaxSteps || v.Steps[0].StartMillis != 0 {
		return fmt.Errorf("checking value function: %w: it needs 1 to %d steps, the first at 0 ms", ErrRefused, MaxSteps)
	}
	bound := reserve
	for i, step := range v.Steps {
		if i > 0 && step.StartMillis <= v.Steps[i-1].StartMillis {
			return fmt.Errorf("checking value function: %w: step %d does not start after step %d", ErrRefused, i+1, i)
		}
		if step.Value < 0 || step.Value > bound || !step.Value.Valid() {
			return fmt.Errorf("checking value function: %w: step %d is worth %v; values start at no more than the reserve price %v, never rise and never fall below 0", ErrRefused, i+1, step.Value, reserve)
		}
		bound = step.Value
	}
	return nil
}

// At is what a finish so many milliseconds after bidding opened is worth. A
// function that is not valid is worth 0 before its first step.
func (v ValueFunction) At(finishMillis uint64) escrow.Credits {
	later := sort.Search(len(v.Steps), func(i int) bool { return v.Steps[i].StartMillis > finishMillis })
	if later == 0 {
		return 0
	}
	return v.Steps[later-1].Value
}

// Code codes the steps and refuses a function that no reserve price would allow.
func (v *ValueFunction) Code(c *wire.Coder) {
	wire.List(c, &v.Steps, MaxSteps, func(c *wire.Coder, s *Step) {
		c.U64(&s.StartMillis)
		s.Value.Code(c)
	})
	if c.Err() != nil {
		return
	}
	if err := v.Validate(escrow.MaxCredits); err != nil {
		c.Refuse("%v", err)
	}
}
