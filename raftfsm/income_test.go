package raftfsm

import (
	"fmt"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// What the treasury takes in is kept, burned, or shared among all workers that
// are present in equal parts, of which what does not divide stays; whatever it
// is, all balances sum to what was minted and not burned.
func TestIncome(t *testing.T) {
	for _, rule := range []build.TreasuryRule{build.TreasuryKeep, build.TreasuryBurn, build.TreasurySmooth} {
		t.Run(fmt.Sprint(rule), func(t *testing.T) { income(t, rule) })
	}
}

func income(t *testing.T, rule build.TreasuryRule) {
	f := newFarm(t, farmOptions{lane: build.LaneLottery, workers: 7, replicas: 2, drop: 1_000 * credit, stake: 100 * credit, seed: 60,
		rules: func(p *build.Pool, params *build.Params) {
			params.Treasury = rule
			p.Lottery = build.LotteryRules{Price: 123_457, Rule: auction.TicketAllPay, SlotMillis: 5_000}
		}})
	ledger := func() *escrow.Ledger { return f.state().Ledger() }
	minted := ledger().Minted()
	workers := make([]escrow.Credits, 7)
	for w := range workers {
		workers[w] = f.account(f.workers[w]).Available
	}
	var taken, burned, rest escrow.Credits
	present := 7
	buy := func(n uint64) {
		t.Helper()
		cost := 123_457 * escrow.Credits(n)
		had := f.account(f.requesters[0]).Available
		f.must(f.ticketCommand(0, n))
		taken += cost
		switch rule {
		case build.TreasuryKeep:
			rest += cost
		case build.TreasuryBurn:
			burned += cost
		case build.TreasurySmooth:
			rest += cost
			if rest/escrow.Credits(present) < credit/10 {
				break
			}
			for w := range workers {
				if !f.worker(w).Absent {
					workers[w] += rest / escrow.Credits(present)
				}
			}
			rest %= escrow.Credits(present)
		}
		if a, _ := ledger().Account(f.state().Treasury()); a.Available != rest {
			t.Errorf("after %v the treasury has %v, want %v", taken, a.Available, rest)
		}
		for w := range workers {
			if got := f.account(f.workers[w]).Available; got != workers[w] {
				t.Errorf("after %v worker %d has %v, want %v", taken, w+1, got, workers[w])
			}
		}
		if got := ledger().Burned(); got != burned {
			t.Errorf("%v were burned, want %v", got, burned)
		}
		if got := ledger().Minted(); got != minted {
			t.Errorf("%v were minted, want %v", got, minted)
		}
		if got := had - f.account(f.requesters[0]).Available; got != cost {
			t.Errorf("the buyer paid %v for what costs %v", got, cost)
		}
		f.same()
	}
	buy(1)
	buy(100)
	buy(7)
	// Who is absent is not present: it gets no part, until it is heard of again.
	id := f.submit(0, f.terms(build.LaneLottery))
	f.duties()
	f.tick(5_000) // its builder lets the lease lapse
	for w := range workers {
		if f.worker(w).Absent {
			present--
		}
	}
	if present != 6 || f.build(id).State == build.Settled {
		t.Fatalf("%d workers are present, the build is %v", present, f.build(id).State)
	}
	buy(3)
	f.snapshotRestore(1)
	buy(2)
}

// Parts below 0.1 credits are not paid: income is kept together until they are more.
func TestIncomeIsNotSharedInCrumbs(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneLottery, workers: 7, replicas: 1, drop: 1_000 * credit, stake: 100 * credit, seed: 61,
		rules: func(p *build.Pool, params *build.Params) {
			params.Treasury = build.TreasurySmooth
			p.Lottery = build.LotteryRules{Price: 100, Rule: auction.TicketAllPay, SlotMillis: 5_000}
		}})
	had := f.account(f.workers[0]).Available
	for n := range 7 {
		if got := f.account(f.workers[0]).Available; got != had {
			t.Fatalf("after %d a worker got %v", n*100_000, got-had)
		}
		f.must(f.ticketCommand(0, 1_000))
	}
	if got := f.account(f.workers[0]).Available - had; got != 100_000 {
		t.Errorf("of 0.7 among 7 a worker got %v", got)
	}
	f.same()
}
