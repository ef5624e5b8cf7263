package service

import (
	"slices"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// directory is what a view needs to know beside the build; raftfsm.State is one.
type directory interface {
	Name(build.ID) string
	Worker(build.ID) (*build.Worker, bool)
	Pool(name string) (*build.Pool, bool)
	Withdrawn(build build.ID) (raftfsm.Withdrawal, bool)
}

// insight is how much of an undecided build a caller may see.
type insight bool

const (
	// outsider is anybody. Before the verdict it cannot tell a first validation
	// from a recheck or a panel, nor who validates: a worker asking under another
	// name must not learn what its own lease is for, and nobody whom to bribe.
	outsider insight = false
	// insider is the build's requester or a coordinator. Even it sees no result
	// before the verdict.
	insider insight = true
)

// raw copies an id out of the state, which changes once its lock is let go.
func raw(id build.ID) []byte { return id[:] }

// view shows a build to a caller. Before the verdict no digest, status or exit
// code of a result is in it for anybody; before the award no price.
func view(b *build.Build, d directory, who insight) *gavelv1.Build {
	pool, _ := d.Pool(b.Terms.Pool)
	house := pool != nil && pool.Lane == build.LaneHouse
	decided := b.Verdict != 0
	v := &gavelv1.Build{
		Id: raw(b.ID), Requester: raw(b.Requester), RequesterName: d.Name(b.Requester),
		Pool: b.Terms.Pool, House: house, Platform: b.Terms.Platform,
		ActionDigest: raw(b.Terms.ActionDigest), ActionBytes: b.Terms.ActionBytes,
		SubmittedMillis: b.SubmittedAt, OpenedMillis: b.OpenedAt, AwardedMillis: b.AwardedAt,
		VerdictMillis: b.VerdictAt, SettledMillis: b.SettledAt, DeadlineMillis: b.Terms.DeadlineMillis,
		Eligible: b.Domains, Validators: b.Terms.Validators, Vary: b.Terms.Vary.Names(),
	}
	for i := range b.Terms.Expect {
		v.Expected = append(v.Expected, &gavelv1.Expected{Path: b.Terms.Expect[i].Path, Digest: raw(b.Terms.Expect[i].Digest)})
	}
	if pool != nil {
		v.DomainKind, v.Lane = pool.Domain.String(), pool.Lane.String()
	}
	v.State = shownState(b, who)
	if decided || who == insider {
		v.Version = b.Version
	}
	showWinner(v, b, d)
	showAttempts(v, b, d, who)
	if !house {
		showMoney(v, b, d, who)
	}
	if decided {
		showVerdict(v, b, d)
	}
	if decided || who == insider {
		showContest(v, b, d)
	}
	return v
}

// shownState is the state's name; an outsider sees one state for everything
// between the commitment and the verdict.
func shownState(b *build.Build, who insight) string {
	if who == outsider && b.Verdict == 0 {
		switch b.State {
		case build.Committed, build.Drawn, build.Validating, build.Unsealing, build.Recheck, build.Panel, build.Challenged:
			return build.Validating.String()
		}
	}
	return b.State.String()
}

func showWinner(v *gavelv1.Build, b *build.Build, d directory) {
	if a := b.Builder(); a != nil {
		v.Winner, v.WinnerId = d.Name(a.Worker), raw(a.Worker)
		v.StartedMillis, v.CommittedMillis = a.StartedAt, a.CommittedAt
	}
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if name := d.Name(a.Worker); a.Round == build.RoundFirst && a.Seat == 0 && a.State == build.AttemptSilent && !slices.Contains(v.Defaulted, name) {
			v.Defaulted = append(v.Defaulted, name)
		}
	}
}

// showMoney fills what a house pool has none of.
func showMoney(v *gavelv1.Build, b *build.Build, d directory, who insight) {
	v.Auctioneer, v.Stake, v.MaximumPrice = d.Name(b.Auctioneer), int64(b.Stake), int64(b.Terms.Reserve)
	v.Bids = uint32(len(b.Bids))
	for i := range b.Bids {
		if b.Bids[i].Revealed {
			v.Reveals++
		}
	}
	v.Priority, v.Epoch, v.Priced, v.Seal, v.Slot = int64(b.Terms.Priority), b.Epoch, b.Priced, b.Seal, b.Slot
	if b.Builder() != nil {
		v.PriorityCharge = int64(b.PriorityCharge)
		showAward(v, b, d)
	}
	if b.Verdict != 0 {
		v.Payment = int64(b.Payment)
	}
	if b.Verdict == 0 && who == outsider {
		return
	}
	for i := range b.Transfers {
		t := &b.Transfers[i]
		v.Transfers = append(v.Transfers, &gavelv1.Transfer{Id: raw(t.ID), Purpose: t.Purpose, From: d.Name(t.From), To: d.Name(t.To), Amount: int64(t.Amount)})
	}
}

// showAward fills what is known once somebody builds. An ask stays secret until
// its epoch has been cleared.
func showAward(v *gavelv1.Build, b *build.Build, d directory) {
	if b.Epoch != 0 && !b.Priced {
		return
	}
	v.Price, v.Reference, v.Share = int64(b.Price), int64(b.Reference), int64(b.Share)
}

func showAttempts(v *gavelv1.Build, b *build.Build, d directory, who insight) {
	for i := range b.Attempts {
		a := &b.Attempts[i]
		builder := a.Round == build.RoundFirst && a.Seat == 0
		if b.Verdict == 0 && who == outsider && !builder {
			continue
		}
		s := &gavelv1.Attempt{
			Round: a.Round.String(), Seat: a.Seat, Worker: d.Name(a.Worker), WorkerId: raw(a.Worker),
			State: shownAttempt(b, a), StartedMillis: a.StartedAt, CommittedMillis: a.CommittedAt, Slashed: a.Slashed,
		}
		if w, ok := d.Worker(a.Worker); ok {
			s.Operator, s.Machine = w.Operator, w.Machine
		}
		if a.Commitment != (build.ID{}) {
			s.Commitment = raw(a.Commitment)
		}
		if b.Verdict != 0 && a.State == build.AttemptOpened {
			showResult(s, b, a)
		}
		v.Attempts = append(v.Attempts, s)
	}
}

// shownAttempt hides, until the verdict, which commitments are open: before all
// are, an opened one differs from the rest in nothing anybody needs to know.
func shownAttempt(b *build.Build, a *build.Attempt) string {
	if b.Verdict == 0 && a.State == build.AttemptOpened {
		return build.AttemptCommitted.String()
	}
	return a.State.String()
}

func showResult(s *gavelv1.Attempt, b *build.Build, a *build.Attempt) {
	summary := &a.Opening.Summary
	result := summary.Digest()
	s.Result, s.Manifest, s.ManifestBytes = raw(result), raw(summary.Content), summary.ManifestBytes
	s.Status, s.ExitCode = summary.Status.String(), summary.ExitCode
	if f := b.Reported(a); f.Tried != 0 {
		s.Finding, s.Tried, s.Broke = f.Finding.String(), f.Tried.Names(), f.Broke.Names()
	}
	s.Agreed, s.ManifestStored = b.Delivers && result == b.Delivered, readable(b, a)
}

// showVerdict fills what nobody may see earlier.
func showVerdict(v *gavelv1.Build, b *build.Build, d directory) {
	v.Verdict, v.Reason, v.SampledOut = b.Verdict.String(), b.Reason, b.Sampling == build.SampledOut
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if name := d.Name(a.Worker); a.Slashed && !slices.Contains(v.Slashed, name) {
			v.Slashed = append(v.Slashed, name)
		}
	}
	for _, x := range b.Dependences() {
		v.Dependences = append(v.Dependences, &gavelv1.Dependence{Dimension: x.Dimension.String(), Found: x.Found, Tried: x.Tried})
	}
	showBids(v, b, d)
	a := deliveredAttempt(b)
	if a == nil {
		return
	}
	summary := &a.Opening.Summary
	v.Result, v.Manifest, v.ManifestBytes = raw(summary.Digest()), raw(summary.Content), summary.ManifestBytes
	v.Status, v.ExitCode, v.Signal = summary.Status.String(), summary.ExitCode, summary.Signal
	v.Delivered = readable(b, a)
}

// showBids shows the opened bids: after the verdict, because a successor may be
// looked for among them until then.
func showBids(v *gavelv1.Build, b *build.Build, d directory) {
	for i := range b.Bids {
		bid := &b.Bids[i]
		if !bid.Revealed {
			continue
		}
		opened := &gavelv1.Bid{Worker: d.Name(bid.Worker), Price: int64(bid.Price), FinishMillis: bid.Finish, Defaulted: bid.Defaulted}
		if bid.Result != (build.ID{}) {
			opened.Result = raw(bid.Result)
		}
		v.Opened = append(v.Opened, opened)
	}
}

// readable says whether the requester can read an attempt's result: its own
// outputs are stored, or those of another with the same result.
func readable(b *build.Build, a *build.Attempt) bool {
	if a.State != build.AttemptOpened {
		return false
	}
	for i := range b.Attempts {
		other := &b.Attempts[i]
		if other.Stored && other.State == build.AttemptOpened && other.Result() == a.Result() {
			return true
		}
	}
	return false
}

// deliveredAttempt is one that holds the delivered result, nil where none is delivered.
func deliveredAttempt(b *build.Build) *build.Attempt {
	if !b.Delivers {
		return nil
	}
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if a.State == build.AttemptOpened && a.Result() == b.Delivered {
			return a
		}
	}
	return nil
}
