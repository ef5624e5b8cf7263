package raftfsm

import (
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// winnerOracle checks the price: Vickrey among the opened bids of those who did
// not default (values here are constant), the bid where results differ.
func winnerOracle(b *build.Build, got map[string]escrow.Credits) error {
	w := b.Builder()
	if w != nil && b.Posted {
		return postedOracle(b, w, got["price"])
	}
	if w == nil || b.Terms.Reserve == 0 {
		if got["price"] != 0 {
			return fmt.Errorf("%v was paid for nothing", got["price"])
		}
		return nil
	}
	var want escrow.Credits
	switch b.Verdict {
	case build.Agreed, build.Unsampled:
		want = b.Terms.Reserve - b.Reference
	case build.Judged:
		if w.State == build.AttemptOpened && w.Result() == b.Delivered && !w.Slashed {
			want = b.Terms.Reserve - b.Reference
		}
	case build.NonDeterministic, build.EnvironmentDependent:
		// A builder that ran into its limit has another shape than the others;
		// the scenarios check that case.
		if got["price"] != 0 && got["price"] != b.Price {
			return fmt.Errorf("the winner got %v, its bid was %v", got["price"], b.Price)
		}
		return nil
	}
	if got["price"] != want {
		return fmt.Errorf("the winner got %v, want %v", got["price"], want)
	}
	// The reference leaves the best other standing domain's score.
	best := escrow.Credits(0)
	for i := range b.Bids {
		bid := &b.Bids[i]
		if bid.Revealed && !bid.Defaulted && !bid.Skipped && bid.Worker != w.Worker && bid.Domain != w.Domain {
			best = max(best, b.Terms.Reserve-bid.Price)
		}
	}
	if b.Reference > best {
		return fmt.Errorf("a reference of %v, the best other score is %v", b.Reference, best)
	}
	if len(b.Penalties) == 0 && b.Reference != best {
		return fmt.Errorf("a reference of %v, want %v", b.Reference, best)
	}
	return nil
}
