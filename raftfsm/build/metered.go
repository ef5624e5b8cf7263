package build

import (
	"slices"

	"gavel/raftfsm/escrow"
)

// awaitsPrice says that the build's payment depends on an epoch that runs.
func (b *Build) awaitsPrice() bool {
	return b.Allotted != (ID{}) && b.Posted && !b.Priced && b.Builder() != nil
}

// metered is what a build earns at a rate: the rate itself, or in a metered pool
// the rate times the core-seconds it took, rounded down and never more than R.
func (b *Build) metered(e *Env, rate escrow.Credits) escrow.Credits {
	if !b.Posted || e.Pool.Lane != LaneBatch || !e.Pool.Batch.Metered {
		return rate
	}
	cost, err := rate.MulDivFloor(b.medianMillis(), 1000)
	if err != nil {
		return b.Terms.Reserve
	}
	return min(cost, b.Terms.Reserve)
}

// medianMillis is the median of the times that winner and validators measured
// for their own first builds, the lower one of an even number, within the timeout.
func (b *Build) medianMillis() int64 {
	var times []int64
	for _, a := range b.parties() {
		if a.State == AttemptOpened {
			times = append(times, min(max(0, a.Opening.FinishedWallMillis-a.Opening.StartedWallMillis), b.Terms.TimeoutMillis))
		}
	}
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[(len(times)-1)/2]
}
