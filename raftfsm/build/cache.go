package build

import "gavel/raftfsm/wire"

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

// Origin is the build that was really built: itself, or the one that answers it.
func (b *Build) Origin() ID {
	if b.CachedFrom != (ID{}) {
		return b.CachedFrom
	}
	return b.ID
}

// Answers says whether b's evidence is at least what terms ask for: as many
// validators, as much at risk, and as many domains to draw them from.
func (b *Build) Answers(t *Terms, house bool) bool {
	domains := 1 + t.Validators
	if !house {
		domains += 3
	}
	return t.Cached && b.Verified() && b.Terms.Validators >= t.Validators && b.Terms.ValueAtRisk >= t.ValueAtRisk && b.Domains >= domains
}

// Answer makes the record of a submission that b answers: settled at once, with
// b's parties and result, and without any movement of money.
func (b *Build) Answer(e *Env, requester ID, operator string, request [16]byte, t *Terms, sequence uint64) *Build {
	return &Build{
		ID: BuildID(e.Cluster, requester, request, t), Requester: requester, Operator: operator, Request: request,
		Terms: *t, Sequence: sequence, State: Settled, Verdict: b.Verdict, Reason: b.Reason,
		SubmittedAt: e.Now, VerdictAt: e.Now, SettledAt: e.Now, Domains: b.Domains, Stake: b.Stake,
		PanelSeats: b.PanelSeats, Panelled: b.Panelled, Attempts: b.Clone().Attempts,
		CachedFrom: b.Origin(), Delivers: true, Delivered: b.Delivered, Uploader: b.Uploader,
	}
}
