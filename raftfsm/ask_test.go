package raftfsm

import (
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// A sealed ask held its bond for as long as the pool stayed idle, and a machine
// that died long before its epoch lost it. Who drains has it back at once, and
// who is away when the epoch opens has it back then.
func TestAskBondsAreReturnedToThoseWhoLeave(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 12)
	open := f.seal("pool", map[int]standing{0: {credit, 9}})
	f.seal("pool", map[int]standing{1: {credit, 9}, 2: {credit, 9}})
	held := func(w int) bool {
		a, _ := f.state().Ledger().Account(build.AccountID(f.workers[w]))
		return a.Held != 0
	}
	if !held(0) || !held(1) || !held(2) {
		t.Fatal("an ask without a bond")
	}
	leave := func(draining bool) {
		f.must(f.command(f.workers[1], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: draining}))
	}
	if leave(true); held(1) {
		t.Error("a draining worker's bond is still held")
	}
	leave(false)
	f.seal("pool", map[int]standing{1: {2 * credit, 9}}) // for the same epoch again
	if !held(1) {
		t.Error("a second ask for an epoch has no bond")
	}
	for _, r := range f.replicas {
		r.state.workers[build.AccountID(f.workers[2])].Absent = true
		r.state.touch(kindWorker, build.AccountID(f.workers[2]))
	}
	treasury := f.balance(f.state().Treasury())
	f.submit(0, f.terms(build.LaneBatch))
	f.tick(300)
	if held(2) {
		t.Error("the bond of a worker that is away is still held when the epoch opens")
	}
	open()
	f.tick(30_000) // worker 1 is there and does not open
	if got := f.balance(f.state().Treasury()) - treasury; got != 10*credit {
		t.Errorf("the treasury took %v, want the one bond of 10", got)
	}
	f.same()
}

// Whoever had seen an ask that was replaced could send it again: the worker opened
// the newer one, which did not match, and lost its bond.
func TestReplacedAskDoesNotComeBack(t *testing.T) {
	f := batchFarm(t, auction.PricingVCG, false, 1)
	k := f.market("pool")
	id := build.AccountID(f.workers[0])
	sealed := func(price escrow.Credits) *build.PlaceAsk {
		return &build.PlaceAsk{Pool: "pool", Epoch: 1, Commitment: build.AskCommitment(f.state().Cluster(), k.ID, 1, id, price, 3, ID{})}
	}
	older := f.command(f.workers[0], build.TypeAsk, sealed(credit))
	f.must(older)
	f.must(f.command(f.workers[0], build.TypeAsk, sealed(2*credit)))
	f.must(older) // answered as it was, and without effect
	if got := k.Epoch.Next[0].Commitment; got != sealed(2*credit).Commitment {
		t.Error("an ask that was replaced came back")
	}
	f.same()
}
