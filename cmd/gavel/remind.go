package main

import (
	"context"
	"fmt"
	"slices"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
)

// remind says what a build that was taken waits for, where that is something that
// nobody has done yet: it would wait in silence, until its deadline.
func (f *farm) remind(ctx context.Context, term *terminal, pool *gavelv1.Pool) {
	if pool.Lane != build.LaneLottery.String() && pool.Lane != build.LaneBatch.String() {
		return
	}
	views, err := f.pools(ctx, pool.Name)
	if err != nil {
		return // the build is taken all the same
	}
	me, err := f.Account(ctx)
	if err != nil {
		return
	}
	if text := views[0].reminder(me); text != "" {
		term.say("%s", text)
	}
}

// reminder is what a new build of an account's lacks in the pool, or empty.
func (v *poolView) reminder(me build.ID) string {
	switch v.rules.Lane {
	case build.LaneBatch:
		if text := v.asksMissing(); text != "" {
			return text + ": the build waits for one, or for its deadline"
		}
	case build.LaneLottery:
		if !v.hasTicket(me) {
			return fmt.Sprintf("no ticket of pool %s is yours: the build waits until you buy one (gavel ticket buy 1 --pool %s), or for its deadline", v.rules.Name, v.rules.Name)
		}
	}
	return ""
}

// hasTicket says that an account can still get a slot without buying anything.
func (v *poolView) hasTicket(owner build.ID) bool {
	l := &v.market.Lottery
	return slices.ContainsFunc(l.Holders, func(h build.TicketHolder) bool { return h.Owner == owner }) ||
		slices.ContainsFunc(l.Upcoming, func(s build.Slot) bool { return s.Owner == owner })
}
