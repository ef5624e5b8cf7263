package raftfsm

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// queued submits builds with extras while nobody is idle, so that they wait.
func (f *farm) queued(extras []escrow.Credits) []ID {
	f.t.Helper()
	var batch []build.Command
	for _, e := range extras {
		terms := f.terms(build.LaneSpot)
		terms.Priority = e
		batch = append(batch, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms}))
	}
	for w := range f.workers {
		batch = append(batch, f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: true}))
	}
	var ids []ID
	for _, out := range f.send(batch...)[:len(extras)] {
		if out.Code != build.Done {
			f.t.Fatal(out.Detail)
		}
		ids = append(ids, out.Subject)
	}
	return ids
}

// dispatched lists builds that have left the queue.
func (f *farm) dispatched(ids []ID) (out []int) {
	for i, id := range ids {
		if f.build(id).Dispatched {
			out = append(out, i)
		}
	}
	return out
}

func (f *farm) draining(w int, yes bool) {
	f.t.Helper()
	f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: yes}))
}

// The queue goes by the extra, then by age; each place costs the highest extra
// still waiting behind it, and never more than its own.
func TestPriorityOrdersTheQueue(t *testing.T) {
	for seed := range uint64(8) {
		f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 2, drop: 100_000 * credit, stake: 1_000 * credit, seed: 40 + seed})
		rng := rand.New(rand.NewPCG(seed, 5))
		extras := make([]escrow.Credits, 8)
		for i := range extras {
			extras[i] = escrow.Credits(rng.IntN(5)) * credit // ties abound
		}
		ids := f.queued(extras)
		if got := f.dispatched(ids); len(got) != 0 {
			t.Fatalf("builds %v went on without an idle worker", got)
		}
		order := []int{0, 1, 2, 3, 4, 5, 6, 7}
		slices.SortStableFunc(order, func(a, b int) int { return -cmp.Compare(extras[a], extras[b]) })
		f.snapshotRestore(1)
		for n, next := range order {
			f.draining(n, false) // one more may work, one more goes on
			want := slices.Clone(order[:n+1])
			slices.Sort(want)
			if got := f.dispatched(ids); !slices.Equal(got, want) {
				t.Fatalf("extras %v: after %d places builds %v have gone on, want %v", extras, n+1, got, want)
			}
			charge := escrow.Credits(0)
			if n+1 < len(order) {
				charge = extras[order[n+1]]
			}
			if got := f.build(ids[next]).PriorityCharge; got != charge || got > extras[next] {
				t.Fatalf("extras %v: place %d of build %d costs %v, want %v", extras, n+1, next, got, charge)
			}
		}
		f.same()
	}
}

// The charge goes to the treasury if the build is awarded, and to nobody if not;
// what was offered beyond it returns.
func TestPriorityIsPaidIfAwarded(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 2, drop: 10_000 * credit, stake: 1_000 * credit, seed: 49})
	for _, awarded := range []bool{true, false} {
		treasury, before := f.balance(f.state().Treasury()), f.balance(build.AccountID(f.requesters[0]))
		ids := f.queued([]escrow.Credits{5 * credit, 2 * credit})
		f.idle(true)
		first := f.build(ids[0])
		if first.PriorityCharge != 2*credit {
			t.Fatalf("the first pays %v for its place", first.PriorityCharge)
		}
		f.must(f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: ids[1]}))
		want := escrow.Credits(0)
		if awarded {
			f.auctioned(ids[0], prices(8)...)
			f.work(ids[:1])
			want = 2 * credit
		} else {
			f.must(f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: ids[0]}))
		}
		if b := f.build(ids[0]); b.State != build.Settled {
			t.Fatalf("%v", b.State)
		}
		if got := f.balance(f.state().Treasury()) - treasury; got != want {
			t.Errorf("awarded %v: the treasury got %v, want %v", awarded, got, want)
		}
		if awarded {
			want += prices(8)[1] + 2*credit + credit/10
		}
		if got := before - f.balance(build.AccountID(f.requesters[0])); got != want {
			t.Errorf("awarded %v: the requester paid %v, want %v", awarded, got, want)
		}
		f.same()
	}
}

// A build that waits alone pays nothing for its place, whatever it offered.
func TestPriorityAlone(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 2, drop: 10_000 * credit, stake: 1_000 * credit, seed: 50})
	terms := f.terms(build.LaneSpot)
	terms.Priority = 100 * credit
	id := f.submit(0, terms)
	f.auctioned(id, prices(8)...)
	f.work([]ID{id})
	if got := f.balance(f.state().Treasury()); got != 0 {
		t.Errorf("the treasury got %v", got)
	}
	f.same()
}

// A build that had been auctioned in vain and then went to its requester's leased
// worker still paid for the place that it had in the queue of the auctions.
func TestPriorityOfALeasedBuild(t *testing.T) {
	f := leaseFarm(t, 51, 8)
	f.must(f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 4, perPeriod: credit}))
	f.tick(20_000 - 100)
	terms, cheaper := f.terms(build.LaneLease), f.terms(build.LaneLease)
	terms.Priority, cheaper.Priority = 3*credit, credit
	out := f.send(f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms}), f.command(f.requesters[1], build.TypeSubmit, &build.Submit{Terms: cheaper}))
	id := out[0].Subject
	if got := f.build(id).PriorityCharge; got != credit {
		t.Fatalf("its place costs %v", got)
	}
	f.tick(100)
	f.duties()
	f.tick(1)
	f.tick(300)
	f.duties() // nobody has bid
	f.tick(1_000)
	if b := f.build(id); b.State != build.Awarded || !b.Posted {
		t.Fatalf("%v: it is not with the leased worker", b.State)
	}
	f.work([]ID{id})
	if got := f.balance(f.state().Treasury()); got != 0 {
		t.Errorf("the treasury got %v for a place in nobody's way", got)
	}
	f.same()
}
