package raftfsm

import (
	"strings"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
)

func TestMoneyOutsideBuilds(t *testing.T) {
	f, before := spot(t)
	r := build.AccountID(f.requesters[0])
	mint := f.command(f.admin, build.TypeMint, &build.Money{Account: r, Amount: 5 * credit})
	f.must(mint)
	f.must(mint) // the same request: once
	if got := f.balance(r) - before; got != 5*credit {
		t.Errorf("minting twice with one request gave %v", got)
	}
	f.refused(build.CodeNotAllowed, f.command(f.requesters[0], build.TypeMint, &build.Money{Account: r, Amount: 1}))
	f.refused(build.CodeFunds, f.command(f.admin, build.TypeBurn, &build.Money{Account: r, Amount: 1 << 50}))
	f.refused(build.CodeMalformed, f.command(f.admin, build.TypeBurn, &build.Money{Account: r, Amount: -1}))
	f.must(f.command(f.admin, build.TypeBurn, &build.Money{Account: r, Amount: 5 * credit}))
	w := build.AccountID(f.workers[0])
	f.must(f.command(f.workers[0], build.TypeStake, &build.Stake{Amount: -100 * credit}))
	a, _ := f.state().Ledger().Account(w)
	if a.Held != 100*credit || a.Stake != 900*credit {
		t.Errorf("unbonding holds %v and leaves a stake of %v", a.Held, a.Stake)
	}
	f.tick(f.genesis.Params.UnbondMillis)
	a, _ = f.state().Ledger().Account(w)
	if a.Held != 0 || a.Available != 9_100*credit {
		t.Errorf("after unbonding %v are held, %v available", a.Held, a.Available)
	}
	f.same()
}

func TestSubmitRefusals(t *testing.T) {
	f, before := spot(t)
	for _, tc := range []struct {
		name, says string
		code       build.Code
		change     func(*build.Terms)
	}{
		{"balance", "does not cover", build.CodeFunds, func(t *build.Terms) {
			t.Reserve = 20_000 * credit
			t.Value = auction.Constant(t.Reserve)
			t.Budget = t.MinBudget(&f.genesis.Params)
		}},
		{"too few", "too few independent validators", build.CodeTooFew, func(t *build.Terms) {
			t.Validators = 5
			t.Budget = t.MinBudget(&f.genesis.Params)
		}},
		{"odds", "with a chance above", build.CodeTooFew, func(t *build.Terms) { t.Validators = 1 }},
		{"budget", "below", build.CodeRefused, func(t *build.Terms) { t.Budget-- }},
		{"platform", "no worker of pool", build.CodePlatform, func(t *build.Terms) { t.Platform = "sha256:" + strings.Repeat("0", 64) }},
		{"past deadline", "deadline", build.CodeStale, func(t *build.Terms) { t.DeadlineMillis = 0 }},
		{"value above reserve", "value function", build.CodeRefused, func(t *build.Terms) { t.Value = auction.Constant(t.Reserve + 1) }},
		{"pool", "no pool", build.CodeRefused, func(t *build.Terms) { t.Pool = "other" }},
	} {
		terms := f.terms(build.LaneSpot)
		tc.change(&terms)
		detail := f.refused(tc.code, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms}))
		if !strings.Contains(detail, tc.says) {
			t.Errorf("%s: %q does not say %q", tc.name, detail, tc.says)
		}
	}
	if f.left(0, before) != 0 {
		t.Error("a refused submission cost something")
	}
	f.same()
}

// A repeated submit names the same build and pays once.
func TestSubmitTwice(t *testing.T) {
	f, before := spot(t)
	terms := f.terms(build.LaneSpot)
	m := f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: terms})
	if a, b := f.must(m), f.must(m); a != b {
		t.Errorf("builds %x and %x", a, b)
	}
	if got := f.left(0, before); got != terms.Budget {
		t.Errorf("%v are in escrow, want %v once", got, terms.Budget)
	}
}

// A verified result answers the same requester's next submission of the action,
// if it asks for that and for no more evidence; nothing moves.
func TestCached(t *testing.T) {
	f, _ := spot(t)
	terms := f.terms(build.LaneSpot)
	terms.Cached = true
	first := f.submit(0, terms)
	f.auctioned(first, prices(8)...)
	f.run(first, honest)
	f.deliver(first)
	before := f.balance(build.AccountID(f.requesters[0]))
	if id := f.submit(0, terms); id != first {
		t.Fatalf("build %x was made instead of answering with %x", id[:4], first[:4])
	}
	if f.left(0, before) != 0 {
		t.Error("a cached answer moved money")
	}
	for name, change := range map[string]func(*build.Terms){
		"not asked for":  func(t *build.Terms) { t.Cached = false },
		"more at risk":   func(t *build.Terms) { t.ValueAtRisk = 1 },
		"another action": func(t *build.Terms) { t.ActionDigest[0]++ },
	} {
		other := terms
		change(&other)
		if id := f.submit(0, other); id == first {
			t.Errorf("%s: answered from the cache", name)
		}
	}
	if id := f.submit(1, terms); id == first {
		t.Error("another requester was answered from the cache")
	}
	f.snapshotRestore(1)
	f.same()
}

// Nobody speaks for an operator whose admission does not list its key: otherwise
// one machine could be every domain.
func TestRegisterNeedsAdmission(t *testing.T) {
	f, _ := spot(t)
	mallory := key("mallory", 0)
	register := func(k []byte, operator, machine string) build.Command {
		return f.command(k, build.TypeRegister, &build.Register{Key: k, Name: "mallory", Pool: "pool", Operator: operator, Machine: machine,
			Platforms: []string{"host"}, Slots: 1})
	}
	f.refused(build.CodeNotAllowed, register(mallory, "op-000", "m-000"))
	admit := &build.Admit{Operator: "op-m", Members: []build.Member{{Account: build.AccountID(mallory), Machine: "m-m"}}}
	f.refused(build.CodeNotAllowed, f.command(f.requesters[0], build.TypeAdmit, admit))
	f.must(f.command(f.admin, build.TypeAdmit, admit))
	f.refused(build.CodeNotAllowed, register(mallory, "op-m", "m-000"))
	f.must(register(mallory, "op-m", "m-m"))
	taken := &build.Admit{Operator: "op-n", Members: []build.Member{{Account: build.AccountID(key("other", 0)), Machine: "m-m"}}}
	f.refused(build.CodeExists, f.command(f.admin, build.TypeAdmit, taken))
}

// A submission is carried out once, even when its build has left the state.
func TestSubmitAfterForgetting(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 2, drop: 10_000 * credit, stake: 1_000 * credit, seed: 7, retained: 1})
	first := f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: f.terms(build.LaneSpot)})
	id := f.must(first)
	f.must(f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: id}))
	for range 2 {
		other := f.submit(0, f.terms(build.LaneSpot))
		f.must(f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: other}))
	}
	if _, ok := f.state().Build(id); ok {
		t.Fatal("the build is still there")
	}
	before := f.balance(build.AccountID(f.requesters[0]))
	if again := f.must(first); again != id || f.left(0, before) != 0 {
		t.Errorf("a repeated submission made build %x and took %v", again[:4], f.left(0, before))
	}
	f.tick(61_000)
	f.refused(build.CodeStale, first)
	f.same()
}
