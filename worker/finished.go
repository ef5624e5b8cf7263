package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/worker/engine"
)

// finishedRecord is a bid that sells a result the worker has already, by
// auction: the lease that it comes of, and the nonce under which the bid has
// committed to it. The winner may commit to nothing else.
type finishedRecord struct {
	Build       build.ID
	From        build.ID // lease under which it was built
	Nonce       build.ID // of the commitment to the result, not of the bid
	Commitment  build.ID
	UntilMillis int64 // the result stays at least until then, wall time
	WallMillis  int64 // when it was written, to forget it some day
}

func (r *finishedRecord) Code(c *wire.Coder) {
	c.Bytes32(&r.Build)
	c.Bytes32(&r.From)
	c.Bytes32(&r.Nonce)
	c.Bytes32(&r.Commitment)
	c.I64(&r.UntilMillis)
	c.I64(&r.WallMillis)
}

// finishMillis is what the winner of a finished result still needs to commit to
// it: reading it back, signing, a round trip.
const finishMillis = 200

// awardWithin is how long after a bid its award may come, as the winner's
// successor; never longer than the bid itself is remembered.
func (c *call) awardWithin() time.Duration {
	longest := bidAge.Milliseconds()
	moving := min(int64(c.inputBytes>>20+1)*promiseMillisPerMB, longest)
	stint := max(0, min(c.timeoutMillis, longest)) + moving
	return time.Duration(min(promiseMargin.Milliseconds()+promiseStints*stint, longest)) * time.Millisecond
}

// offer commits a bid to a result that the worker has, if it sells such and has
// one. What earlier tries and auctions have left for the build is removed: their
// bids were not made, or did not win.
func (b *bidder) offer(c call) (sells bool, err error) {
	if err := b.withdraw(c.build); err != nil {
		return false, err
	}
	if b.finished == nil || *b.finished > c.reserve {
		return false, nil
	}
	now := time.Now()
	r := finishedRecord{Build: c.build, UntilMillis: now.Add(c.awardWithin()).UnixMilli(), WallMillis: now.UnixMilli()}
	if _, err := rand.Read(r.Nonce[:]); err != nil {
		return false, fmt.Errorf("making a nonce: %w", err)
	}
	return b.kept.promise(c.auction, c.action, &r, now, func(o *build.Opening) build.ID {
		sold := build.Opening{Summary: o.Summary, Nonce: r.Nonce, StartedWallMillis: o.StartedWallMillis, FinishedWallMillis: o.FinishedWallMillis}
		return sold.Commitment(b.farm, b.id, c.build)
	})
}

// withdraw removes what was promised for a build.
func (b *bidder) withdraw(id build.ID) error {
	var stale []build.ID
	err := eachPromise(b.journal, func(auction build.ID, f *finishedRecord) {
		if f.Build == id {
			stale = append(stale, auction)
		}
	})
	if err != nil {
		return err
	}
	return b.journal.Delete(shelfFinished, stale...)
}

// eachPromise calls fn for every promised result.
func eachPromise(rs records, fn func(auction build.ID, f *finishedRecord)) error {
	return rs.Each(shelfFinished, func(key build.ID, raw []byte) error {
		var f finishedRecord
		if err := wire.Decode(raw, &f); err != nil {
			return err
		}
		fn(key, &f)
		return nil
	})
}

// promised is the commitment that the bid of an auction makes to a finished
// result, zeros where it is for the slot.
func (b *bidder) promised(auction build.ID) (build.ID, error) {
	var r finishedRecord
	_, err := b.journal.Get(shelfFinished, auction, &r)
	return r.Commitment, err
}

// sold is the result that the winning bid of a build was for, if it was for one.
func (w *workshop) sold(id build.ID) (r finishedRecord, found bool, err error) {
	err = eachPromise(w.journal, func(_ build.ID, f *finishedRecord) {
		if f.Build == id {
			r, found = *f, true
		}
	})
	return r, found, err
}

// handOver brings a lease that was won with a finished result to the record of
// its commitment, without building. A result that is gone is an error that wraps
// errUnfit: nothing else could be committed to.
func (w *workshop) handOver(ctx context.Context, l lease, f *finishedRecord, r *attemptRecord) error {
	var from attemptRecord
	found, err := w.journal.Get(shelfAttempts, f.From, &from)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%w: the finished result that was bid is no longer kept", errUnfit)
	}
	m, outputs, err := w.kept.open(f.From)
	if err != nil {
		return fmt.Errorf("%w: the finished result that was bid is gone: %w", errUnfit, err)
	}
	j := &job{Lease: l.id, Build: l.build, Action: l.action, Platform: l.platform, Builder: true, Dir: w.kept.work(l.id)}
	if err := os.RemoveAll(j.Dir); err != nil {
		return fmt.Errorf("emptying a work directory: %w", err)
	}
	if err := os.CopyFS(j.outputs(), os.DirFS(outputs)); err != nil {
		return fmt.Errorf("copying the finished result: %w", err)
	}
	a, err := engine.FetchAction(ctx, w.blobs, l.action)
	if err != nil {
		return err
	}
	log := w.openLog(ctx, l)
	defer log.finish(ctx)
	fmt.Fprintln(log, "gavel: this result was finished before the build was awarded; its log was not kept")
	started := l.started
	if err := w.begin(ctx, l, &started)(); err != nil {
		return err
	}
	p := &product{Action: a, Manifest: m, Started: time.UnixMilli(from.Opening.StartedWallMillis), Finished: time.UnixMilli(from.Opening.FinishedWallMillis)}
	if err := w.conclude(l, j, p, f.Nonce, r); err != nil {
		return err
	}
	w.log.Info("hands a finished result over", "build", full(l.build), "lease", short(l.id), "from", filepath.Base(filepath.Dir(outputs)))
	return nil
}
