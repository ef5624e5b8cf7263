package worker

import (
	"os"
	"testing"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
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
	if build.Commitment(b.cluster, o.Summary.Digest(), b.signer.ID, l.build, o.Nonce) != made.Commitment {
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
	first := b.buildOnce("first")
	a, granted := b.auctionFor("one")
	if err := b.bid(a, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.w.kept.drop(&result{lease: first.id}); err != nil {
		t.Fatal(err)
	}
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

// A promised result stays while its award may come, and one that is lost all the
// same is given up, never replaced by another.
func TestPromisedResultStays(t *testing.T) {
	b := newBench(t, sellsFinished)
	first := b.buildOnce("first")
	a, granted := b.auctionFor("second")
	if err := b.bid(a, 0); err != nil {
		t.Fatal(err)
	}
	b.w.kept.limit = 0
	for _, after := range []time.Duration{0, promiseAge / 2} {
		if err := b.w.kept.tidy(time.Now().Add(after), nil, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.w.kept.open(first.id); err != nil {
			t.Fatalf("after %v the promised result is gone: %v", after, err)
		}
	}
	if err := b.w.kept.drop(&result{lease: first.id}); err != nil {
		t.Fatal(err)
	}
	if err := b.w.workshop.serve(t.Context(), b.parsed(granted)); err != nil {
		t.Fatal(err)
	}
	if n := len(b.farm.of(build.TypeAbandon)); n != 1 || b.runner.count() != 1 {
		t.Errorf("given up %d times and built %d times, want given up once", n, b.runner.count())
	}
}
