package worker

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

func sellsFinished(c *Config) {
	price := Amount(escrow.One / 5)
	c.FinishedPrice = &price
}

// auctionFor is an auction of the bench's own action, for another build of it.
func (b *bench) auctionFor(name string) (*gavelv1.Auction, *gavelv1.Lease) {
	a, l := auction(name), b.lease("lease of "+name, true)
	a.ActionDigest, l.Build = l.ActionDigest, a.Build
	return a, l
}

// buildOnce builds the bench's action once, so that the worker has its result.
func (b *bench) buildOnce(name string) lease {
	b.t.Helper()
	l := b.parsed(b.lease(name, false))
	if err := b.w.workshop.serve(b.t.Context(), l); err != nil {
		b.t.Fatal(err)
	}
	return l
}

// lose is a disk that loses a kept result.
func (b *bench) lose(lease build.ID) {
	b.t.Helper()
	if err := errors.Join(b.journal.Delete(shelfAttempts, lease), os.RemoveAll(b.w.kept.path(lease))); err != nil {
		b.t.Fatal(err)
	}
}

// promiseAndLose bids a finished result, which is then lost: the auction it was
// bid in, and the lease of its winner.
func (b *bench) promiseAndLose() (*gavelv1.Auction, *gavelv1.Lease) {
	b.t.Helper()
	first := b.buildOnce("first")
	a, granted := b.auctionFor("second")
	if err := b.bid(a, 0); err != nil {
		b.t.Fatal(err)
	}
	b.lose(first.id)
	return a, granted
}

// tidyAt is housekeeping at a time, under a farm that speaks of some builds.
func (b *bench) tidyAt(at time.Time, busy ...build.ID) {
	b.t.Helper()
	named := make(map[build.ID]bool)
	for _, id := range busy {
		named[id] = true
	}
	if err := b.w.kept.tidy(at, nil, named); err != nil {
		b.t.Fatal(err)
	}
}

// keeps says whether a result is kept.
func (b *bench) keeps(lease build.ID) bool {
	b.t.Helper()
	found, err := b.journal.Get(shelfAttempts, lease, &attemptRecord{})
	_, _, gone := b.w.kept.open(lease)
	if err != nil || found != (gone == nil) {
		b.t.Fatalf("record and files disagree: %v, %v, %v", found, err, gone)
	}
	return found
}

// A worker that has built an action before bids with the finished result: its
// opening names the commitment that it then makes, word for word, without
// building again, and over a restart.
func TestFinishedResultIsBidAndHandedOver(t *testing.T) {
	b := newBench(t, sellsFinished)
	first := b.buildOnce("first")
	a, granted := b.auctionFor("second")
	if err := b.bid(a, 0); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.checkBids("second")
	opened := b.farm.of(build.TypeReveal)[0].(*build.Reveal)
	if opened.Result == (build.ID{}) || opened.Price != escrow.One/5 || opened.FinishMillis > 100+auctionMillis+finishMillis {
		t.Fatalf("the bid opened as %+v: want a finished result at its price and at once", opened)
	}
	l := b.parsed(granted)
	if err := b.w.workshop.serve(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	commits := b.commits()
	made := commits[len(commits)-1]
	if made.Commitment != opened.Result {
		t.Fatal("the winner committed to something else than its bid promised")
	}
	if n := b.runner.count(); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
	if len(b.farm.of(build.TypeStart)) != 2 {
		t.Error("the farm did not hear that the lease began")
	}
	o := b.opening(made)
	if o.Commitment(b.cluster, b.signer.ID, l.build) != made.Commitment {
		t.Error("the opening does not match")
	}
	was, wasDir, err := b.w.kept.open(first.id)
	if err != nil {
		t.Fatal(err)
	}
	is, isDir, err := b.w.kept.open(l.id)
	if err != nil || is.Summarise() != was.Summarise() {
		t.Fatalf("the result handed over is another: %v", err)
	}
	for _, out := range is.Outputs {
		x, errX := os.ReadFile(isDir + "/" + out.Path)
		y, errY := os.ReadFile(wasDir + "/" + out.Path)
		if errX != nil || errY != nil || string(x) != string(y) {
			t.Errorf("%s differs from what was built: %v, %v", out.Path, errX, errY)
		}
	}
	b.checkSignature(l, is, o)
}

// What has no finished result, or costs more than the reserve, is bid for as a
// slot; a recheck is built again whatever was handed over.
func TestFinishedResultIsNotBidInVain(t *testing.T) {
	b := newBench(t, sellsFinished)
	if err := b.bid(auction("unknown action"), 0); err != nil {
		t.Fatal(err)
	}
	b.checkBids("unknown action")
	b.buildOnce("first")
	dear, _ := b.auctionFor("dear")
	dear.Reserve = int64(escrow.One / 10)
	if err := b.bid(dear, 0); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.farm.of(build.TypeReveal) {
		if m := r.(*build.Reveal); m.Result != (build.ID{}) {
			t.Errorf("a bid for a slot promises a result: %+v", m)
		}
	}
	if n := len(b.farm.of(build.TypeBid)); n != 1 {
		t.Errorf("%d bids, want only that for the slot within its reserve", n)
	}
	a, granted := b.auctionFor("third")
	if err := b.bid(a, 0); err != nil {
		t.Fatal(err)
	}
	again := b.parsed(granted)
	again.again = true
	if err := b.w.workshop.serve(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if n := b.runner.count(); n != 2 {
		t.Errorf("built %d times, want the recheck built too", n)
	}
}

// An auction that passed without an award leaves no promise behind: the next bid
// for the build is for the slot if the result is gone, and its winner builds.
func TestStalePromiseIsWithdrawn(t *testing.T) {
	b := newBench(t, sellsFinished)
	a, granted := b.promiseAndLose()
	later := auction("two")
	later.Build, later.ActionDigest = a.Build, a.ActionDigest
	if err := b.bid(later, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.w.workshop.serve(t.Context(), b.parsed(granted)); err != nil {
		t.Fatal(err)
	}
	if n := b.runner.count(); n != 2 {
		t.Errorf("built %d times, want once more for the slot", n)
	}
}

// A promised result once stayed for ten minutes, as if an award came at once or
// never. A successor is awarded when the winner defaults, which is up to the
// build's timeout and more later: it found its result tidied away, gave up, and
// paid. It stays until no award can come, over a restart, and then may go.
func TestPromisedResultStays(t *testing.T) {
	for name, change := range map[string]func(*gavelv1.Auction){
		"short": func(a *gavelv1.Auction) { a.TimeoutMillis = 1_000 },
		"usual": func(*gavelv1.Auction) {},
		"a day": func(a *gavelv1.Auction) { a.TimeoutMillis = build.MaxTimeoutMillis },
		"large": func(a *gavelv1.Auction) { a.InputBytes = 20 << 30 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, sellsFinished)
			first := b.buildOnce("first")
			a, granted := b.auctionFor("second")
			change(a)
			begun := time.Now()
			if err := b.bid(a, 0); err != nil {
				t.Fatal(err)
			}
			// What the winner may take, of a farm with default parameters.
			p := build.DefaultParams()
			longest := time.Duration(p.BiddingMillis+p.RevealMillis+a.TimeoutMillis+p.GraceMillis+int64(a.InputBytes>>20)*p.MillisPerMB) * time.Millisecond
			b.w.kept.limit = 0
			b.tidyAt(begun)
			b.tidyAt(begun.Add(longest / 2))
			b.restart()
			b.w.kept.limit = 0
			b.tidyAt(begun.Add(longest))
			if err := b.w.workshop.serve(t.Context(), b.parsed(granted)); err != nil {
				t.Fatal(err)
			}
			if n := len(b.farm.of(build.TypeAbandon)); n != 0 || b.runner.count() != 1 || len(b.commits()) != 2 {
				t.Fatalf("the successor gave up %d times, built %d times, committed %d times", n, b.runner.count()-1, len(b.commits())-1)
			}
			c, err := callOf(a, 0, 0, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			b.tidyAt(time.Now().Add(c.awardWithin()))
			if b.keeps(first.id) {
				t.Error("the result stays when no award can come any more")
			}
		})
	}
}

// A pin outlasts its time while the farm speaks of the build, and ends before it
// once the farm no longer does, but for a while in which a coordinator may lag.
func TestPinEndsWithTheBuild(t *testing.T) {
	b := newBench(t, sellsFinished)
	first := b.buildOnce("first")
	a, _ := b.auctionFor("second")
	a.TimeoutMillis = build.MaxTimeoutMillis
	if err := b.bid(a, 0); err != nil {
		t.Fatal(err)
	}
	won, now := build.ID(a.Build), time.Now()
	b.w.kept.limit = 0
	b.tidyAt(now, won)
	b.tidyAt(now.Add(bidAge), won)
	now = now.Add(bidAge)
	b.tidyAt(now.Add(keptAfterSettled - time.Second))
	if !b.keeps(first.id) {
		t.Fatal("the pin ended while a coordinator may lag")
	}
	now = now.Add(keptAfterSettled)
	b.tidyAt(now)
	if b.keeps(first.id) {
		t.Error("the result stays although its build is over")
	}
	if _, found, err := b.w.workshop.sold(won); found || err != nil {
		t.Errorf("the promise stays although its build is over: %v", err)
	}
}

// As above, of a build that is over long before its pin would end.
func TestPinEndsEarly(t *testing.T) {
	b := newBench(t, sellsFinished)
	first := b.buildOnce("first")
	a, _ := b.auctionFor("second")
	a.TimeoutMillis = build.MaxTimeoutMillis
	if err := b.bid(a, 0); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b.w.kept.limit = 0
	b.tidyAt(now, build.ID(a.Build))
	b.tidyAt(now.Add(keptAfterSettled))
	if b.keeps(first.id) {
		t.Error("the result stays although its build is over")
	}
}

// Promised results cannot be tidied away, and stay for days: what bounds them is
// that no more are promised than may be kept. The bid is then for the slot.
func TestPromisesAreBounded(t *testing.T) {
	b := newBench(t, sellsFinished)
	put := func(name string, bytes uint64) {
		t.Helper()
		r := attemptRecord{Build: id("build"), Action: id("action of " + name), WallMillis: time.Now().UnixMilli()}
		r.Opening.Summary.Status, r.Opening.Summary.OutputBytes = build.StatusExited, bytes
		if err := b.journal.Put(shelfAttempts, id(name), &r); err != nil {
			t.Fatal(err)
		}
	}
	promises := func(name, result string) bool {
		t.Helper()
		a, action := auction(name), id("action of "+result)
		a.ActionDigest = action[:]
		if err := b.bid(a, 0); err != nil {
			t.Fatal(err)
		}
		c, err := b.w.bidder.promised(id(name))
		if err != nil {
			t.Fatal(err)
		}
		return c != build.ID{}
	}
	put("half", 50)
	put("more", 51)
	put("rest", 50)
	b.w.kept.limit = 100
	for i, c := range []struct {
		result string
		want   bool
	}{{"half", true}, {"more", false}, {"half", true}, {"rest", true}, {"more", false}, {"rest", true}} {
		if got := promises(fmt.Sprint("auction ", i), c.result); got != c.want {
			t.Errorf("auction %d: the result %q is promised: %v", i, c.result, got)
		}
	}
	if n := len(b.farm.of(build.TypeBid)); n != 6 {
		t.Errorf("%d bids, want 6: those without a promise are for the slot", n)
	}
	b.w.kept.limit = 99 // as after a change of the configuration
	if promises("one too many", "half") {
		t.Error("promised although what is promised exceeds the limit")
	}
	b.w.kept.limit = 1 << 30
	err := b.journal.db.Update(func(tx *bolt.Tx) error {
		for i := range keptBuilds - 2 {
			key, r := id(fmt.Sprint(i)), finishedRecord{From: id(fmt.Sprint(i)), UntilMillis: 1 << 60}
			if err := tx.Bucket([]byte(shelfFinished)).Put(key[:], wire.Encode(&r)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if promises("too many", "more") || !promises("no more of them", "half") {
		t.Error("the number of promised results is not bounded")
	}
}

// What is promised and lost all the same is given up, never replaced by another.
func TestLostPromiseIsGivenUp(t *testing.T) {
	b := newBench(t, sellsFinished)
	_, granted := b.promiseAndLose()
	if err := b.w.workshop.serve(t.Context(), b.parsed(granted)); err != nil {
		t.Fatal(err)
	}
	if n := len(b.farm.of(build.TypeAbandon)); n != 1 || b.runner.count() != 1 {
		t.Errorf("given up %d times and built %d times, want given up once", n, b.runner.count())
	}
}

// hooked is a journal that calls a function before each walk of the attempts.
type hooked struct {
	records
	before func()
}

func (h *hooked) Each(s shelf, fn func(build.ID, []byte) error) error {
	if s == shelfAttempts && h.before != nil {
		h.before()
	}
	return h.records.Each(s, fn)
}

// Housekeeping once read what is promised, and walked the results after that: one
// that a bid promised in between was deleted under it, and the award cost the
// stake. Either the bid is first and the result stays, or it finds none.
func TestTidySparesWhatIsPromisedMeanwhile(t *testing.T) {
	b := newBench(t, sellsFinished)
	h := &hooked{}
	b.wrap = func(r records) records { h.records = r; return h }
	b.restart()
	first := b.buildOnce("first")
	a, _ := b.auctionFor("second")
	now := time.Now()
	b.tidyAt(now) // the farm has just ceased to speak of it
	bid := make(chan error, 1)
	var begun atomic.Bool
	h.before = func() {
		if begun.Swap(true) {
			return // the bidder walks them too
		}
		go func() { bid <- b.bid(a, 0) }()
		select {
		case err := <-bid:
			bid <- err
		case <-time.After(200 * time.Millisecond): // it waits for tidy, as it should
		}
	}
	b.tidyAt(now.Add(keptAfterSettled))
	if err := <-bid; err != nil {
		t.Fatal(err)
	}
	c, err := b.w.bidder.promised(id("second"))
	if err != nil {
		t.Fatal(err)
	}
	if promised := c != (build.ID{}); promised && !b.keeps(first.id) {
		t.Error("a result is promised and gone")
	}
}
