package consensus

import (
	"context"
	"time"

	"gavel/raftfsm/build"
)

// ticker advances farm time while this node leads and the state waits for a
// time. Its elapsed times come from the monotonic clock, so a wrong or corrected
// wall clock does nothing, and the time without a leader is not counted.
type ticker struct {
	interval time.Duration
	pending  func() bool
	changed  func() <-chan struct{}
	leading  <-chan bool // every change of leadership
	propose  func(build.Tick) error
}

// run ticks until ctx ends. It is the only user of t.
func (t *ticker) run(ctx context.Context) {
	var (
		leads bool
		last  time.Time // of the last tick in an unbroken row; zero after a pause
		next  time.Time // no tick before
	)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := t.changed() // taken before the state is looked at, so that no change is missed
		active := leads && t.pending()
		wait := time.Until(next)
		if active && wait <= 0 {
			last, next = t.tick(last)
			select { // an entry that takes longer than the interval must not keep these waiting
			case leads = <-t.leading:
				last = time.Time{}
			case <-ctx.Done():
				return
			default:
			}
			continue
		}
		timer.Stop()
		if active {
			timer.Reset(wait)
		} else {
			last = time.Time{}
		}
		select {
		case leads = <-t.leading:
			last = time.Time{}
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// tick proposes one tick and returns the new row: its time, zero if it failed,
// and the earliest time of the next.
func (t *ticker) tick(last time.Time) (newLast, next time.Time) {
	now := time.Now()
	tick := build.Tick{WallMillis: now.UnixMilli()}
	if !last.IsZero() {
		// Whole milliseconds: what is cut off stays for the next tick.
		tick.ElapsedMillis = now.Sub(last).Milliseconds()
		now = last.Add(time.Duration(tick.ElapsedMillis) * time.Millisecond)
		tick.ElapsedMillis = min(tick.ElapsedMillis, maxTickMillis)
	}
	next = now.Add(t.interval)
	if err := t.propose(tick); err != nil {
		// Leadership is gone or going. Should it come back, the row is broken.
		return time.Time{}, next
	}
	return now, next
}
