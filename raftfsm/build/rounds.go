package build

import (
	"gavel/raftfsm/draw"
)

// sample decides by the beacon, after the commitment, whether seats are drawn at all.
func (b *Build) sample(seed [32]byte) {
	if draw.Sampled(seed, uint64(b.Terms.SamplePPM)) {
		b.Sampling = Sampled
		return
	}
	b.Sampling = SampledOut
	b.State = Unsealing
}

// drawSeats permutes the domains other than the winner's and gives the first k
// names their leases.
func (b *Build) drawSeats(e *Env, seed [32]byte) {
	winner := b.Builder()
	var others []Candidate
	for _, c := range b.Eligible {
		if c.Domain != winner.Domain {
			others = append(others, c)
		}
	}
	b.Names, b.NextName = draw.Domains(seed, others), 0
	b.State = Drawn
	for seat := uint32(1); seat <= b.Terms.Validators; seat++ {
		if !b.fillSeat(e, RoundFirst, seat) {
			b.conclude(e, TooFew, "fewer workers than validators asked for were left to draw")
			return
		}
	}
}

// fillSeat gives a seat to the next name of the permutation that is there and
// has S free. A name that is skipped so pays nothing.
func (b *Build) fillSeat(e *Env, round Round, seat uint32) bool {
	for b.NextName < uint32(len(b.Names)) {
		c := b.Names[b.NextName]
		b.NextName++
		if w := e.Worker(c.Worker); w == nil || w.Absent || !w.Serves(b.Requester) {
			continue
		}
		hold, ok := b.hold(e, c.Worker, uint64(round), "seat")
		if !ok {
			continue
		}
		b.assign(e, round, seat, c, hold)
		return true
	}
	return false
}

// silentSeat replaces a seat that did not commit: it pays min(S, f).
func (b *Build) silentSeat(e *Env, a *Attempt) {
	round, seat := a.Round, a.Seat
	b.forfeitSilence(e, a)
	filled := b.fillSeat(e, round, seat) // a is not valid from here on: Attempts may have moved
	if !filled && round == RoundFirst {
		b.conclude(e, TooFew, "a drawn validator fell silent and nobody was left to replace it")
		return
	}
	b.advance(e)
}

// forfeitSilence takes min(S, f) from a party that let its lease lapse.
func (b *Build) forfeitSilence(e *Env, a *Attempt) {
	fine := min(b.Stake, e.Params.ValidatorFee)
	b.post(e, &a.Hold, a.Worker, []due{{to: e.Treasury, amount: fine, purpose: "silence", round: a.Round}})
}

// advance moves a round on when nothing of it is running any more: to its
// openings, and when those are in, to its decision.
func (b *Build) advance(e *Env) {
	round, ok := b.deciding()
	if !ok {
		return
	}
	sealed := false
	for _, a := range b.Round(round) {
		if a.Active() {
			return
		}
		sealed = sealed || a.State == AttemptCommitted
	}
	if sealed {
		if b.State == Drawn || b.State == Validating {
			b.State = Unsealing
		}
		return
	}
	switch round {
	case RoundFirst:
		b.decideFirst(e)
	case RoundRecheck:
		b.decideRecheck(e)
	case RoundPanel:
		if b.Contest != nil {
			b.decideContest(e)
			return
		}
		b.decidePanel(e)
	}
}

// deciding is the round the build is in, once its seats are assigned.
func (b *Build) deciding() (Round, bool) {
	switch b.State {
	case Drawn, Validating, Unsealing:
		return RoundFirst, true
	case Recheck:
		return RoundRecheck, true
	case Panel:
		return RoundPanel, b.Panelled
	}
	return 0, false
}

// OpenNow lists the attempts whose lodged openings may be decrypted: all of a
// round, once none of it is still running.
func (b *Build) OpenNow() []*Attempt {
	round, ok := b.deciding()
	if !ok {
		return nil
	}
	var sealed []*Attempt
	for _, a := range b.Round(round) {
		if a.Active() {
			return nil
		}
		if a.State == AttemptCommitted {
			sealed = append(sealed, a)
		}
	}
	return sealed
}

// opens finds an attempt that may be opened now.
func (b *Build) opens(lease ID) (*Attempt, Outcome) {
	for _, a := range b.OpenNow() {
		if a.Lease(b.ID) == lease {
			return a, Outcome{}
		}
	}
	if a := b.Attempt(lease); a != nil && (a.State == AttemptOpened || a.State == AttemptMismatched) {
		return nil, Outcome{Code: CodeStale, Detail: "already opened", Subject: lease}
	}
	return nil, Refuse(CodeWrongState, "nothing of this lease may be opened now")
}

// Open takes what a commitment hid. Only a matching opening counts.
func (b *Build) Open(e *Env, m *OpeningOf) Outcome {
	a, out := b.opens(m.Lease)
	if a == nil {
		return out
	}
	if m.Opening.Commitment(e.Cluster, a.Worker, b.ID) != a.Commitment {
		return Refuse(CodeNoMatch, "the opening does not match the commitment")
	}
	a.State, a.Opening, a.Lodged = AttemptOpened, m.Opening, nil
	b.advance(e)
	return Outcome{Subject: m.Lease}
}

// Mismatch records that t coordinators found no matching opening: the author is
// slashed and its result differs from all. The caller has checked the signatures.
func (b *Build) Mismatch(e *Env, m *Vouched) Outcome {
	a, out := b.opens(m.Lease)
	if a == nil {
		return out
	}
	if a.Commitment != m.Digest {
		return Refuse(CodeNoMatch, "the coordinators signed for another commitment")
	}
	a.State, a.Lodged = AttemptMismatched, nil
	b.slash(a.Worker)
	b.advance(e)
	return Outcome{Subject: m.Lease}
}

// slash marks the attempt of a worker whose hold is lost at settlement.
func (b *Build) slash(worker ID) {
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if a.Worker == worker && a.Round != RoundRecheck && a.State != AttemptSilent {
			a.Slashed = true
			return
		}
	}
}

// parties are the builder and the validators of the first round, in seat order.
func (b *Build) parties() []*Attempt {
	var out []*Attempt
	for seat := uint32(0); seat <= b.Terms.Validators; seat++ {
		for _, a := range b.Round(RoundFirst) {
			if a.Seat == seat && a.State != AttemptSilent {
				out = append(out, a)
			}
		}
	}
	return out
}

// decideFirst compares the first results: all equal is Agreed, else everyone rechecks.
func (b *Build) decideFirst(e *Env) {
	parties := b.parties()
	if b.Sampling == SampledOut {
		if parties[0].State != AttemptOpened {
			b.conclude(e, Failed, "the builder lodged no opening that matches its commitment")
			return
		}
		b.deliver(e, Unsampled, parties[0].Result(), "the beacon did not sample this build: nobody rebuilt it")
		return
	}
	equal := true
	for _, a := range parties {
		equal = equal && a.State == AttemptOpened && a.Result() == parties[0].Result()
	}
	if equal {
		b.deliver(e, Agreed, parties[0].Result(), "")
		return
	}
	b.State = Recheck
	for _, a := range parties {
		if a.State == AttemptOpened {
			b.assign(e, RoundRecheck, a.Seat, Candidate{Domain: a.Domain, Worker: a.Worker}, noHold)
		}
	}
	b.advance(e)
}

// decideRecheck ends with NonDeterministic where every party differs from
// itself, else calls a panel.
func (b *Build) decideRecheck(e *Env) {
	again := map[ID]*Attempt{}
	for _, a := range b.Round(RoundRecheck) {
		again[a.Worker] = a
	}
	changed := true
	for _, a := range b.parties() {
		r := again[a.Worker]
		changed = changed && r != nil && r.State == AttemptOpened && a.State == AttemptOpened && r.Result() != a.Result()
	}
	if changed {
		b.deliverBuilders(e, NonDeterministic, "building it again gave every machine another result than its own first")
		return
	}
	b.callPanel(e)
}

// callPanel seats the next domains of the permutation: the largest odd number
// of at most 2k+1 and at least 3, started some time after the first round.
func (b *Build) callPanel(e *Env) {
	seats := panelOf(b.Terms.Validators, len(b.Names)-int(b.NextName))
	if seats < 3 {
		b.noPanel(e)
		return
	}
	b.State, b.PanelSeats = Panel, uint32(seats)
	var last int64
	for _, a := range b.Round(RoundFirst) {
		last = max(last, a.StartedAt)
	}
	b.Deadline = last + e.Params.PanelGapMillis
	if e.Now >= b.Deadline {
		b.seatPanel(e)
	}
}

// noPanel ends a difference that nobody is left to decide.
func (b *Build) noPanel(e *Env) {
	if b.Contest != nil {
		b.conclude(e, Undecided, "fewer than three of those that were drawn were there")
		return
	}
	if e.house() {
		b.deliverBuilders(e, EnvironmentDependent, "results differ between machines, and too few other machines are left to decide")
		return
	}
	b.conclude(e, Unverified, "results differ, and fewer than three other workers could decide")
}

// seatPanel assigns the panel's seats.
func (b *Build) seatPanel(e *Env) {
	b.Panelled, b.Deadline = true, 0
	seated := uint32(0)
	for seated < b.PanelSeats && b.fillSeat(e, RoundPanel, seated+1) {
		seated++
	}
	if seated < 3 {
		b.dismiss(e)
		b.noPanel(e)
		return
	}
	if seated%2 == 0 { // an even panel cannot have been meant: the last seat is let go
		a := &b.Attempts[len(b.Attempts)-1]
		a.State = AttemptReleased
		e.release(a.Worker)
		b.void(e, &a.Hold)
		seated--
	}
	b.PanelSeats = seated
}

// dismiss releases every attempt that is still running.
func (b *Build) dismiss(e *Env) {
	for i := range b.Attempts {
		if a := &b.Attempts[i]; a.Active() {
			a.State = AttemptReleased
			e.release(a.Worker)
		}
	}
}
