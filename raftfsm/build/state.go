package build

import "fmt"

// State is where a build stands. Numbers are append-only.
type State uint8

// The states of a build, in the order of its life.
const (
	Queued               State = 1  // waits for its turn, then for its auctioneer (house: for a machine)
	Bidding              State = 2  // commitments are taken
	Revealing            State = 3  // commitments are opened
	Awarded              State = 4  // the winner has a lease and has not started
	Running              State = 5  // the winner builds
	Committed            State = 6  // the winner has committed; the draw is awaited
	Drawn                State = 7  // seats are assigned, none has started
	Validating           State = 8  // seats rebuild
	Unsealing            State = 9  // every seat has committed; openings are awaited
	Recheck              State = 10 // results differ: everyone builds once more
	Panel                State = 11 // they still differ: further domains decide
	Agreed               State = 12
	Judged               State = 13
	NonDeterministic     State = 14
	EnvironmentDependent State = 15
	Unverified           State = 16
	Unsampled            State = 17
	TooFew               State = 18
	Failed               State = 19
	Cancelled            State = 20
	Expired              State = 21
	NoBids               State = 22
	Settled              State = 23
	Pricing              State = 24 // stored; its batch epoch is not over and the price not fixed
	Challenged           State = 25 // a challenge: its panel's draw is awaited
	Upheld               State = 26 // a fresh panel has the old result
	Refuted              State = 27 // it has another: the old one is withdrawn
	Undecided            State = 28 // it has neither
)

var stateNames = [...]string{
	Queued: "queued", Bidding: "bidding", Revealing: "revealing", Awarded: "awarded", Running: "running",
	Committed: "committed", Drawn: "drawn", Validating: "validating", Unsealing: "opening", Recheck: "recheck",
	Panel: "panel", Agreed: "agreed", Judged: "judged", NonDeterministic: "non-deterministic",
	EnvironmentDependent: "environment-dependent", Unverified: "unverified", Unsampled: "unsampled",
	TooFew: "too-few", Failed: "failed", Cancelled: "cancelled", Expired: "expired", NoBids: "no-bids", Settled: "settled", Pricing: "pricing",
	Challenged: "challenged", Upheld: "upheld", Refuted: "refuted", Undecided: "undecided",
}

func (s State) String() string {
	if int(s) < len(stateNames) && stateNames[s] != "" {
		return stateNames[s]
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// Delivering says that the verdict stands and its outputs are awaited.
func (s State) Delivering() bool {
	switch s {
	case Agreed, Judged, NonDeterministic, EnvironmentDependent, Unsampled:
		return true
	}
	return false
}
