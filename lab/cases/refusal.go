package cases

import (
	"errors"
	"fmt"
	"strings"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Refusal is why a case cannot be cleared: a code for programs and a sentence.
type Refusal struct {
	Code   string // malformed, out-of-range, overflow, duplicate, unknown-rule, no-stake
	Detail string
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %s", r.Code, r.Detail) }

// of is the refusal with the name of whoever it is about.
func (r *Refusal) of(name string) *Refusal { return refuse(r.Code, "%q: %s", name, r.Detail) }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// RefusalOf gives a rule's error its code.
func RefusalOf(err error) *Refusal {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, escrow.ErrOverflow):
		return refuse("overflow", "%v", err)
	case errors.Is(err, auction.ErrNoStake):
		return refuse("no-stake", "%v", err)
	}
	return refuse("out-of-range", "%v", err)
}

// known lists the rules.
func known() string { return strings.Join(wire.SortedKeys(Rules, compareText), ", ") }

func compareText(a, b string) int { return strings.Compare(a, b) }
