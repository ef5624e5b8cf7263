package build

import (
	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// bound is the longest that an attempt may take: the timeout of each build it
// may need, a grace, and a second for each MB of input.
func (b *Build) bound(e *Env, round Round, seat uint32) int64 {
	builds := int64(1)
	if b.varies(round, seat) {
		builds = VariedBuilds
	}
	return builds*b.Terms.TimeoutMillis + e.Params.GraceMillis + megabytes(b.Terms.InputBytes)*e.Params.MillisPerMB
}

// assign gives a worker a lease to build once. What it has to do before is given
// time too: a drawn worker may be busy, and its bound proper begins when it starts.
func (b *Build) assign(e *Env, round Round, seat uint32, c Candidate, hold escrow.TransferID) {
	ordinal := uint32(0)
	for i := range b.Attempts {
		if b.Attempts[i].Worker == c.Worker {
			ordinal++
		}
	}
	waiting := int64(0)
	if w := e.Worker(c.Worker); w != nil {
		waiting = int64(w.Engaged)
	}
	b.Attempts = append(b.Attempts, Attempt{
		Round: round, Seat: seat, Worker: c.Worker, Ordinal: ordinal, Domain: c.Domain, State: AttemptAssigned, Hold: hold,
		AssignedAt: e.Now, LeaseUntil: e.Now + e.Params.LeaseMillis,
		BoundUntil: e.Now + b.bound(e, round, seat)*(1+waiting),
	})
	e.engage(c.Worker)
}

// megabytes rounds up.
func megabytes(n uint64) int64 { return int64((n + 1<<20 - 1) >> 20) }

// Start says that the command begins. It renews the lease.
func (b *Build) Start(e *Env, worker, lease ID) Outcome {
	a := b.Attempt(lease)
	if out := a.held(worker); out.Code != Done {
		return out
	}
	if a.State == AttemptAssigned {
		a.State, a.StartedAt, a.BoundUntil = AttemptStarted, e.Now, e.Now+b.bound(e, a.Round, a.Seat)
		switch {
		case b.State == Awarded:
			b.State = Running
		case b.State == Drawn:
			b.State = Validating
		}
	}
	a.LeaseUntil = e.Now + e.Params.LeaseMillis
	return Outcome{Subject: lease}
}

// held checks that the lease runs and is the worker's.
func (a *Attempt) held(worker ID) Outcome {
	switch {
	case a == nil || a.Worker != worker:
		return Refuse(CodeNotAllowed, "this worker holds no such lease")
	case !a.Active():
		return Refuse(CodeStale, "the lease is over: it is %v", a.State)
	}
	return Outcome{}
}

// Heartbeat renews a lease: an active attempt's, or the uploader's.
func (b *Build) Heartbeat(e *Env, worker, lease ID) Outcome {
	a := b.Attempt(lease)
	if b.State.Delivering() && a != nil && a == &b.Attempts[b.Uploader] && a.Worker == worker {
		a.LeaseUntil = e.Now + e.Params.LeaseMillis
		return Outcome{Subject: lease}
	}
	if out := a.held(worker); out.Code != Done {
		return out
	}
	a.LeaseUntil = e.Now + e.Params.LeaseMillis
	return Outcome{Subject: lease}
}

// Commit ends an attempt's work with a commitment and the lodged opening.
func (b *Build) Commit(e *Env, worker ID, m *Commit) Outcome {
	a := b.Attempt(m.Lease)
	if a != nil && a.Worker == worker && a.Commitment == m.Commitment && a.CommittedAt > 0 {
		return Outcome{Subject: m.Lease}
	}
	if out := a.held(worker); out.Code != Done {
		return out
	}
	if a.State != AttemptStarted {
		return Refuse(CodeWrongState, "a lease must be started before it is committed")
	}
	var lodged Lodgement
	if err := wire.Decode(m.Lodged, &lodged); err != nil {
		return Refuse(CodeMalformed, "the lodged opening: %v", err)
	}
	if len(lodged.Sealed) != len(e.Coordinators) {
		return Refuse(CodeMalformed, "the opening is lodged for %d coordinators, want %d", len(lodged.Sealed), len(e.Coordinators))
	}
	if promised := b.promised(a); promised != (ID{}) && promised != m.Commitment {
		return Refuse(CodeNoMatch, "the winning bid committed to a finished result, and this is not its commitment")
	}
	a.State, a.CommittedAt, a.Commitment, a.Lodged = AttemptCommitted, e.Now, m.Commitment, m.Lodged
	if w := e.Worker(worker); w != nil {
		a.Class = w.Class
	}
	e.release(worker)
	if a.Round == RoundFirst && a.Seat == 0 {
		b.State = Committed
	} else {
		b.advance(e)
	}
	return Outcome{Subject: m.Lease}
}

// promised is the commitment that a winning bid made in advance, zeros for none.
func (b *Build) promised(a *Attempt) ID {
	if a.Round != RoundFirst || a.Seat != 0 || b.Posted || int(b.Winner) >= len(b.Bids) {
		return ID{}
	}
	return b.Bids[b.Winner].Result
}

// Abandon gives a lease up, with the consequences of a lapse.
func (b *Build) Abandon(e *Env, worker, lease ID) Outcome {
	a := b.Attempt(lease)
	if out := a.held(worker); out.Code != Done {
		return out
	}
	b.lapse(e, a)
	return Outcome{Subject: lease}
}

// lapse ends a lease that was not kept: the winner has defaulted, a seat is
// replaced, a recheck counts as unchanged.
func (b *Build) lapse(e *Env, a *Attempt) {
	a.State = AttemptSilent
	e.release(a.Worker)
	if w := e.Worker(a.Worker); w != nil {
		w.Absent = true
	}
	switch {
	case a.Round == RoundRecheck:
		b.advance(e)
	case a.Seat == 0:
		b.defaulted(e, a)
	default:
		b.silentSeat(e, a)
	}
}

// defaulted finds a successor for a winner that let the build down before its commitment.
func (b *Build) defaulted(e *Env, a *Attempt) {
	switch {
	case e.Pool.Lane.Draws():
		b.forfeitSilence(e, a)
		b.nextMachine(e)
		return
	case b.Posted:
		b.forfeitSilence(e, a)
		e.Market.unplace(e, b)
		b.requeue(e)
		return
	}
	b.Bids[b.Winner].Defaulted = true
	b.Penalties = append(b.Penalties, Penalty{Worker: a.Worker, Hold: a.Hold, Reference: b.Reference})
	a.Hold = escrow.TransferID{}
	b.award(e)
}

// drawBuilder is the house lane's award: the first idle machine of a permutation
// of the eligible ones.
func (b *Build) drawBuilder(e *Env, seed [32]byte) {
	f, out := e.Field(&b.Terms, b.Requester, b.Operator, e.FreeStake)
	if out.Code != Done {
		b.requeue(e)
		return
	}
	b.Eligible, b.Domains, b.Stake = f.Eligible, uint32(f.Domains), f.Stake
	if b.OpenedAt == 0 {
		b.OpenedAt = e.Now
	}
	b.Names, b.NextName = draw.Domains(seed, b.Eligible), 0
	b.nextMachine(e)
}

// nextMachine awards a house build to the next idle machine of the permutation
// that has not let it down before; where none is left it waits for another draw.
func (b *Build) nextMachine(e *Env) {
	tried := map[ID]bool{}
	for i := range b.Attempts {
		tried[b.Attempts[i].Worker] = true
	}
	fresh := false
	for _, c := range b.Eligible {
		fresh = fresh || !tried[c.Worker]
	}
	if !fresh {
		b.conclude(e, Failed, "every machine that could have built it gave up")
		return
	}
	for b.NextName < uint32(len(b.Names)) {
		c := b.Names[b.NextName]
		b.NextName++
		w := e.Worker(c.Worker)
		if w == nil || !w.Idle() || !w.Serves(b.Requester) || tried[c.Worker] {
			continue
		}
		if hold, ok := b.hold(e, c.Worker, uint64(len(b.Attempts)), "builder"); ok {
			b.engageWinner(e, c.Worker, c.Domain, hold)
			return
		}
	}
	b.requeue(e)
}
