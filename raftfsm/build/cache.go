package build

import (
	"slices"

	"gavel/raftfsm/wire"
)

// CacheKey is what a verified result answers for: the requester's own
// submissions of the same action to the same pool.
func CacheKey(requester ID, t *Terms) ID {
	return wire.NewHasher("cache").Fixed(requester).Text(t.Pool).Fixed(t.ActionDigest).U64(t.ActionBytes).Sum()
}

// Verified says whether the build's result may answer later submissions: it was
// rebuilt, agreed or judged, and delivered.
func (b *Build) Verified() bool {
	return b.State == Settled && (b.Verdict == Agreed || b.Verdict == Judged) && b.Delivers
}

// Answers says whether b's evidence is at least what terms ask for: as many
// validators, as much at risk, as many domains to draw them from, and all varied.
func (b *Build) Answers(t *Terms, house bool) bool {
	domains := 1 + t.Validators
	if !house {
		domains += 3
	}
	return t.Cached && slices.Equal(b.Terms.Expect, t.Expect) && b.Verified() && b.Terms.Validators >= t.Validators && b.Terms.ValueAtRisk >= t.ValueAtRisk && b.Domains >= domains && t.Vary&^b.Varied() == 0
}
