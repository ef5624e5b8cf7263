package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/api/seal"
	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// lease is a build that this worker holds, checked. Whether it is a validator's
// or a panel's it cannot tell.
type lease struct {
	id, build   build.ID
	action      cas.Digest
	platform    string
	builder     bool
	again       bool
	vary        build.Dimensions
	started     bool
	logKey      build.ID
	leaseMillis int64
	leftMillis  int64 // until it lapses, when it was read
}

func leaseOf(m *gavelv1.Lease, farmMillis int64) (lease, error) {
	l := lease{
		platform: m.Platform, builder: m.Builder, again: m.Again, started: m.Started,
		vary:        build.Dimensions(m.Vary) & build.VaryAll,
		leaseMillis: m.LeaseMillis, leftMillis: m.LeaseUntilMillis - farmMillis,
	}
	var action build.ID
	if err := errors.Join(idOf(m.Lease, &l.id), idOf(m.Build, &l.build), idOf(m.ActionDigest, &action)); err != nil {
		return l, err
	}
	if l.builder {
		if err := idOf(m.LogKey, &l.logKey); err != nil {
			return l, fmt.Errorf("log key: %w", err)
		}
	}
	l.action = cas.OfSum(action, int64(m.ActionBytes))
	if l.leaseMillis <= 0 {
		return l, fmt.Errorf("a lease of %d ms", l.leaseMillis)
	}
	return l, l.action.Validate()
}

// lodger encrypts an opening to the coordinators; see seal.Lodgement.
type lodger func(buildID, lease, commitment build.ID, o *build.Opening) ([]byte, error)

// workshop works on leases: wait for a slot, build, keep, commit.
type workshop struct {
	id, farm  build.ID
	cluster   cluster
	journal   records
	executor  executor
	blobs     blobs
	attester  *attester
	lodge     lodger
	estimates estimator
	slots     *slots
	kept      *kept
	log       *slog.Logger
}

// serve brings a lease to its commitment. What an earlier process, or an earlier
// try, has finished is committed to as it stands; all else is built afresh. It
// returns nil when nothing more is to be done about the lease.
func (w *workshop) serve(ctx context.Context, l lease) error {
	// Taken up again after a restart, it may be about to lapse.
	stop := heartbeat{w.cluster, w.log}.start(ctx, l.build, l.id, l.leaseMillis, l.leftMillis < l.leaseMillis/2)
	defer stop()
	var r attemptRecord
	found, err := w.journal.Get(shelfAttempts, l.id, &r)
	if err != nil {
		return err
	}
	if found {
		w.log.Info("commits to what it finished before", "build", full(l.build), "lease", short(l.id))
	} else if err := w.fulfil(ctx, l, &r); err != nil {
		if ctx.Err() != nil {
			w.log.Info("lease ended", "build", full(l.build), "lease", short(l.id), "why", context.Cause(ctx))
			return err
		}
		if errors.Is(err, errUnfit) {
			return w.abandon(ctx, l, err)
		}
		return err
	}
	return w.commit(ctx, l, &r)
}

// fulfil makes what is committed to: by building, or where the award was won
// with a finished result, from what is kept.
func (w *workshop) fulfil(ctx context.Context, l lease, r *attemptRecord) error {
	if l.builder && !l.again {
		f, found, err := w.sold(l.build)
		if err != nil {
			return err
		}
		if found {
			return w.handOver(ctx, l, &f, r)
		}
	}
	return w.produce(ctx, l, r)
}

// produce waits for a slot, builds, and puts all that is needed to commit into r
// and the journal. An error that wraps errUnfit says that others should try.
func (w *workshop) produce(ctx context.Context, l lease, r *attemptRecord) error {
	release, err := w.slots.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	begun := time.Now()
	j := &job{Lease: l.id, Build: l.build, Action: l.action, Platform: l.platform, Builder: l.builder, Again: l.again, Vary: l.vary, Dir: w.kept.work(l.id), Log: io.Discard}
	started := l.started
	j.Begin = func(ctx context.Context) func() error { return w.begin(ctx, l, &started) }
	if l.builder && !l.again {
		log := w.openLog(ctx, l)
		defer log.finish(ctx)
		j.Log = log
	}
	p, err := w.try(ctx, j)
	if err != nil {
		return errors.Join(err, os.RemoveAll(j.Dir))
	}
	var nonce build.ID
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("making a nonce: %w", err)
	}
	if err := w.conclude(l, j, p, nonce, r); err != nil {
		return err
	}
	if err := w.estimates.learn(l.action.Sum(), l.platform, (time.Since(begun) - p.Varying - p.Fetching).Milliseconds()); err != nil {
		w.log.Warn("duration is not remembered", "why", err)
	}
	return nil
}

// try executes j, a few times where the fault may pass.
func (w *workshop) try(ctx context.Context, j *job) (*product, error) {
	wait := retryFirst
	for n := 1; ; n++ {
		p, err := w.executor.Execute(ctx, j)
		if err == nil || ctx.Err() != nil || errors.Is(err, errUnfit) {
			return p, err
		}
		if n == runTries {
			return nil, fmt.Errorf("%w: after %d tries: %w", errUnfit, n, err)
		}
		w.log.Warn("building failed, tries again", "build", full(j.Build), "lease", short(j.Lease), "why", err)
		if !pause(ctx, wait) {
			return nil, ctx.Err()
		}
		wait *= 4
	}
}

// openLog begins the log of the lease. After a restart it goes on where the farm
// has it.
func (w *workshop) openLog(ctx context.Context, l lease) *logStream {
	s := startLog(ctx, l.started,
		func(n uint64, plain []byte) ([]byte, error) { return seal.Log(l.logKey, l.build, l.id, n, plain) },
		func(ctx context.Context, first uint64, chunks [][]byte) (uint64, error) {
			return w.cluster.AppendLog(ctx, l.build, l.id, first, chunks)
		})
	if l.started {
		fmt.Fprint(s, "\ngavel: the worker restarted, the command begins again\n")
	}
	return s
}

// begin tells the farm that the command begins, while it does. done is set once
// the farm has heard.
func (w *workshop) begin(ctx context.Context, l lease, done *bool) (wait func() error) {
	if *done {
		return func() error { return nil }
	}
	heard := make(chan error, 1)
	go func() { heard <- w.insist(ctx, build.TypeStart, &build.LeaseRef{Build: l.build, Lease: l.id}, l) }()
	return func() error {
		err := <-heard
		*done = err == nil
		return err
	}
}

// conclude turns a product into what is committed to under a nonce: the opening,
// its signature, the commitment and the sealed opening; all on disk when it returns.
func (w *workshop) conclude(l lease, j *job, p *product, nonce build.ID, r *attemptRecord) error {
	o := build.Opening{
		Summary: p.Manifest.Summarise(), StartedWallMillis: p.Started.UnixMilli(), FinishedWallMillis: p.Finished.UnixMilli(), Nonce: nonce,
		Findings: p.Findings,
	}
	var err error
	if o.Signature, err = w.attester.sign(j, p, &o); err != nil {
		return err
	}
	commitment := o.Commitment(w.farm, w.id, j.Build)
	lodged, err := w.lodge(j.Build, j.Lease, commitment, &o)
	if err != nil {
		return err
	}
	if err := w.kept.keep(j.Lease, p.Manifest); err != nil {
		return err
	}
	*r = attemptRecord{
		Build: j.Build, Action: j.Action.Sum(), Builder: j.Builder, Commitment: commitment, Lodged: lodged,
		Opening: o, LeaseMillis: l.leaseMillis, WallMillis: time.Now().UnixMilli(),
	}
	return w.journal.Put(shelfAttempts, j.Lease, r)
}

// commit sends the commitment until the farm has taken or refused it.
func (w *workshop) commit(ctx context.Context, l lease, r *attemptRecord) error {
	m := &build.Commit{Build: l.build, Lease: l.id, Commitment: r.Commitment, Lodged: r.Lodged}
	if err := w.insist(ctx, build.TypeCommit, m, l); err != nil {
		return err
	}
	w.log.Info("committed", "build", full(l.build), "lease", short(l.id), "commitment", short(r.Commitment))
	return nil
}

// abandon gives the lease up, so that the farm need not wait for it to lapse.
func (w *workshop) abandon(ctx context.Context, l lease, why error) error {
	w.log.Error("gives the lease up", "build", full(l.build), "lease", short(l.id), "why", why)
	return w.insist(ctx, build.TypeAbandon, &build.LeaseRef{Build: l.build, Lease: l.id}, l)
}

// insist sends a command until it is applied or refused for good; a refusal is
// for the log, since nothing can be done about it. The error is that of ctx.
func (w *workshop) insist(ctx context.Context, kind build.Type, m wire.Record, l lease) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		_, err := w.cluster.Do(ctx, kind, m)
		if err == nil {
			return nil
		}
		if refused(err) {
			w.log.Warn("refused", "command", kind, "build", full(l.build), "lease", short(l.id), "why", err)
			return nil
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
		w.log.Warn("sends again", "command", kind, "build", full(l.build), "lease", short(l.id), "why", err)
	}
}
