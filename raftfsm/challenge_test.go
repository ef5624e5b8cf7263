package raftfsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// certified is what a farm's log has said of settled builds.
type certified struct {
	transcripts map[ID][]byte // by digest
	items       []Item
}

// certify records what the first replica leaves from now on.
func (f *farm) certify() *certified {
	r := &certified{transcripts: map[ID][]byte{}}
	f.replicas[0].observe = func(a Applied) {
		f.judged(a)
		for _, t := range a.Transcripts {
			r.transcripts[t.Digest] = t.Bytes
		}
		r.items = append(r.items, a.Items...)
	}
	return r
}

// challengeOf is what somebody who read the log sends against a build.
func (r *certified) challengeOf(item *CertifiedItem) *build.Challenge {
	claim, rest, _ := build.SplitTranscript(r.transcripts[item.Transcript])
	return &build.Challenge{Claim: claim, Rest: rest, Certificate: item.Certificate, Reason: "it looks odd"}
}

func (r *certified) find(id ID) *CertifiedItem {
	for i := range r.items {
		if c := r.items[i].Certified; c != nil && c.Build == id {
			return c
		}
	}
	return nil
}

func (r *certified) withdrawals() (out []WithdrawalItem) {
	for i := range r.items {
		if w := r.items[i].Withdrawal; w != nil {
			out = append(out, *w)
		}
	}
	return out
}

// oldResult makes a farm with one certified build whose result is "right".
func oldResult(t *testing.T, workers int) (*farm, *build.Challenge, ID) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: workers, replicas: 2, drop: 10_000 * credit, stake: 1_000 * credit, seed: 7})
	r := f.certify()
	terms := f.terms(build.LaneSpot)
	terms.Cached = true
	id := f.submit(0, terms)
	f.auctioned(id, prices(workers)...)
	f.run(id, honest)
	f.deliver(id)
	f.duties()
	item := r.find(id)
	if item == nil {
		t.Fatal("the build was not certified")
	}
	return f, r.challengeOf(item), id
}

// contest takes a challenge to its end; outcome says what a seat gets.
func (f *farm) contest(by []byte, m *build.Challenge, outcome func(w int, a *build.Attempt) (string, build.Status)) *build.Build {
	f.t.Helper()
	id := f.must(f.command(by, build.TypeChallenge, m))
	if b := f.build(id); b.State != build.Challenged {
		f.t.Fatalf("the challenge is %v", b.State)
	}
	f.duties()
	f.run(id, outcome)
	b := f.build(id)
	if b.State != build.Settled {
		f.t.Fatalf("the challenge is %v", b.State)
	}
	f.duties()
	return b
}

// A fresh panel has the old result: who doubted it pays the panel and its bond.
func TestChallengeUpheld(t *testing.T) {
	f, m, old := oldResult(t, 8)
	r := f.certify()
	by := build.AccountID(f.requesters[1])
	before, treasury := f.balance(by), f.balance(f.state().Treasury())
	b := f.contest(f.requesters[1], m, honest)
	if b.Verdict != build.Upheld || b.Contest.Build != old {
		t.Fatalf("verdict %v: %s", b.Verdict, b.Reason)
	}
	panel := b.Round(build.RoundPanel)
	first := f.build(old)
	for _, a := range panel {
		for _, o := range first.Attempts {
			if a.Domain == o.Domain {
				t.Errorf("%s had a part in the old build and sits on the panel", a.Domain)
			}
		}
	}
	if len(panel) != 5 { // 2k+1, and 8 domains without 3
		t.Errorf("a panel of %d", len(panel))
	}
	if got, want := before-f.balance(by), 15*credit; got != want {
		t.Errorf("the challenger is %v poorer, want the bond and five fees, %v", got, want)
	}
	if got := f.balance(f.state().Treasury()) - treasury; got != 10*credit {
		t.Errorf("the treasury has %v more", got)
	}
	if len(r.withdrawals()) != 0 || r.find(b.ID) == nil {
		t.Error("something was withdrawn, or the challenge was not certified")
	}
	again := *m
	again.Reason = "still"
	if b := f.contest(f.requesters[1], &again, honest); b.Verdict != build.Upheld { // it may be doubted again, for another bond
		t.Errorf("verdict %v", b.Verdict)
	}
	f.snapshotRestore(1)
	f.same()
}

// It has another: the result is withdrawn, the bond returns, who sided with it pays.
func TestChallengeRefuted(t *testing.T) {
	f, m, old := oldResult(t, 8)
	r := f.certify()
	by := build.AccountID(f.requesters[1])
	before := f.balance(by)
	terms := f.build(old).Terms
	dissent := true
	b := f.contest(f.requesters[1], m, func(w int, a *build.Attempt) (string, build.Status) {
		if a.Seat == 2 && dissent {
			return "right", build.StatusExited
		}
		return "other", build.StatusExited
	})
	if b.Verdict != build.Refuted || b.Contest.Found != result2("other") {
		t.Fatalf("verdict %v: %s", b.Verdict, b.Reason)
	}
	slashed := 0
	for _, a := range b.Attempts {
		if a.Slashed {
			slashed++
		}
	}
	if slashed != 1 || f.balance(by) != before { // the slash of 22 paid four fees
		t.Errorf("%d are slashed, the challenger lost %v", slashed, before-f.balance(by))
	}
	got := r.withdrawals()
	if len(got) != 1 || got[0].Build != old || got[0].Challenge != b.ID || got[0].Transcript != m.Transcript() || got[0].Found != b.Contest.Found ||
		got[0].Result != result2("right") || got[0].Number != 1 || got[0].Panel != r.find(b.ID).Transcript {
		t.Errorf("the log is told %+v", got)
	}
	if list, n, chain := f.state().Withdrawals(); n != 1 || chain != got[0].Chain || len(list) != 1 || list[0].Build != old {
		t.Errorf("the state lists %+v", list)
	}
	if id := f.submit(0, terms); id == old {
		t.Error("a withdrawn result answers from the cache")
	}
	f.refused(build.CodeExists, f.command(f.requesters[1], build.TypeChallenge, m))
	f.snapshotRestore(1)
	if id := f.submit(0, terms); id == old {
		t.Error("a withdrawn result answers from the cache of a restored state")
	}
	f.same()
}

func result2(content string) ID {
	o := result(content, build.StatusExited)
	return o.Summary.Digest()
}

// Where no two thirds agree, or a limit was hit, the old result stands and the bond returns.
func TestChallengeUndecided(t *testing.T) {
	for name, outcome := range map[string]func(w int, a *build.Attempt) (string, build.Status){
		"split": func(_ int, a *build.Attempt) (string, build.Status) {
			return []string{"right", "right", "a", "a", "b"}[a.Seat-1], build.StatusExited
		},
		"slow": func(int, *build.Attempt) (string, build.Status) { return "", build.StatusTimeout },
	} {
		f, m, _ := oldResult(t, 8)
		by := build.AccountID(f.requesters[1])
		before := f.balance(by)
		b := f.contest(f.requesters[1], m, outcome)
		if b.Verdict != build.Undecided {
			t.Errorf("%s: verdict %v: %s", name, b.Verdict, b.Reason)
		}
		for _, a := range b.Attempts {
			if a.Slashed {
				t.Errorf("%s: seat %d is slashed", name, a.Seat)
			}
		}
		if got := before - f.balance(by); got != 5*credit {
			t.Errorf("%s: the challenger paid %v, want five fees", name, got)
		}
		f.same()
	}
}

// Seats that fall silent are replaced while names last; with fewer than three
// opened nothing is decided. A lie in a commitment costs the stake.
func TestChallengeSilence(t *testing.T) {
	f, m, _ := oldResult(t, 9)
	id := f.must(f.command(f.requesters[1], build.TypeChallenge, m))
	f.duties()
	f.tick(5_000) // all five seats lapse; one name is left
	b := f.build(id)
	if b.State != build.Panel || len(b.Attempts) != 6 {
		t.Fatalf("%v with %d attempts", b.State, len(b.Attempts))
	}
	f.run(id, honest)
	if b = f.build(id); b.Verdict != build.Undecided {
		t.Errorf("verdict %v: %s", b.Verdict, b.Reason)
	}
	f.same()
}

// What a challenge must show, and of whom it is taken.
func TestChallengeRefusals(t *testing.T) {
	f, m, _ := oldResult(t, 8)
	by := f.requesters[1]
	send := func(change func(*build.Challenge)) build.Command {
		c := *m
		c.Claim = append([]byte(nil), m.Claim...)
		change(&c)
		return f.command(by, build.TypeChallenge, &c)
	}
	f.refused(build.CodeMalformed, send(func(c *build.Challenge) { c.Claim = c.Claim[1:] }))
	f.refused(build.CodeMalformed, send(func(c *build.Challenge) { c.Reason = "a\nb" }))
	f.refused(build.CodeNoMatch, send(func(c *build.Challenge) { c.Rest[0]++ }))
	f.refused(build.CodeNoMatch, send(func(c *build.Challenge) { c.Claim[32+96+5]++ })) // another build
	f.refused(build.CodeNoMatch, send(func(c *build.Challenge) { c.Certificate.Transcripts = nil }))
	f.refused(build.CodeBadBeacon, send(func(c *build.Challenge) { c.Certificate.Signature[0]++ }))
	f.refused(build.CodeRefused, send(func(c *build.Challenge) { c.Claim[0]++ })) // another cluster
	f.refused(build.CodeUnknownAccount, f.command(key("stranger", 1), build.TypeChallenge, m))

	taken := f.must(send(func(*build.Challenge) {}))
	if says := f.refused(build.CodeExists, send(func(*build.Challenge) {})); !strings.Contains(says, "under challenge") {
		t.Errorf("it is told %q", says)
	}
	if b := f.build(taken); b.Operator != "" {
		t.Errorf("operator %q", b.Operator)
	}

	g, few, _ := oldResult(t, 6) // only three had no part; one of them asks itself
	g.refused(build.CodeTooFew, g.command(g.workers[3], build.TypeChallenge, few))
	h, poor, _ := oldResult(t, 8)
	id := build.AccountID(h.requesters[1])
	h.must(h.command(h.admin, build.TypeBurn, &build.Money{Account: id, Amount: h.balance(id) - 14*credit}))
	h.refused(build.CodeFunds, h.command(h.requesters[1], build.TypeChallenge, poor))
}

// A result without a claim to be right cannot be doubted.
func TestChallengeOfLabelled(t *testing.T) {
	f, _ := spot(t)
	r := f.certify()
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	n := 0
	f.run(id, func(int, *build.Attempt) (string, build.Status) {
		n++
		return fmt.Sprint("time ", n), build.StatusExited
	})
	f.deliver(id)
	f.duties()
	if b := f.build(id); b.Verdict != build.NonDeterministic {
		t.Fatalf("verdict %v", b.Verdict)
	}
	f.refused(build.CodeRefused, f.command(f.requesters[1], build.TypeChallenge, r.challengeOf(r.find(id))))
}

// A house pool has no amounts, but challenges.
func TestChallengeInHouse(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneHouse, workers: 7, replicas: 2, seed: 3})
	r := f.certify()
	id := f.submit(0, f.terms(build.LaneHouse))
	f.duties()
	f.run(id, honest)
	f.deliver(id)
	f.duties()
	b := f.contest(f.requesters[1], r.challengeOf(r.find(id)), func(int, *build.Attempt) (string, build.Status) { return "other", build.StatusExited })
	if b.Verdict != build.Refuted || len(b.Transfers) != 0 || len(r.withdrawals()) != 1 {
		t.Errorf("verdict %v, %d transfers, %d withdrawals", b.Verdict, len(b.Transfers), len(r.withdrawals()))
	}
	f.same()
}

// challengeAny doubts some certified build, now and then with what is not right.
func (c *chaos) challengeAny() (build.Command, bool) {
	items := c.record.items
	if len(items) > 200 {
		c.record.items = items[len(items)-100:]
	}
	for range 20 {
		if len(c.record.items) == 0 {
			break
		}
		item := c.record.items[c.rng.IntN(len(c.record.items))].Certified
		if item == nil {
			continue
		}
		m := c.record.challengeOf(item)
		switch c.rng.IntN(20) {
		case 0:
			m.Rest[3]++
		case 1:
			m.Certificate.Signature[3]++
		}
		return c.command(c.requesters[c.rng.IntN(2)], build.TypeChallenge, m), true
	}
	return build.Command{}, false
}

// contestOracle recomputes a challenge's verdict and its bond's fate by counting.
func contestOracle(b *build.Build, got map[string]escrow.Credits) error {
	opened, old := 0, 0
	best, slow := map[ID]int{}, map[ID]bool{}
	for _, a := range b.Attempts {
		if a.Round != build.RoundPanel {
			return fmt.Errorf("a %v seat in a challenge", a.Round)
		}
		if a.State == build.AttemptOpened {
			opened++
			best[a.Result()]++
			slow[a.Result()] = a.Opening.Summary.Status == build.StatusTimeout
			if a.Result() == b.Contest.Result {
				old++
			}
		}
	}
	want := build.Undecided
	for d, n := range best {
		if opened >= 3 && 3*n >= 2*opened && d != b.Contest.Result && !slow[d] {
			want = build.Refuted
		}
	}
	if opened >= 3 && 3*old >= 2*opened {
		want = build.Upheld
	}
	if b.Verdict != want {
		return fmt.Errorf("want %v of %v", want, best)
	}
	lost := escrow.Credits(0)
	if want == build.Upheld {
		lost = b.Contest.Bond
	}
	if got["challenge"] != lost || got["price"] != 0 {
		return fmt.Errorf("the bond lost %v, want %v; %v were paid as price", got["challenge"], lost, got["price"])
	}
	if want != build.Refuted && got["reimbursement"] != 0 || got["reimbursement"] > got["panel"] {
		return fmt.Errorf("%v were reimbursed of fees of %v", got["reimbursement"], got["panel"])
	}
	return nil
}

// fullOfWithdrawals is a state that lists as many as it can, but free ones.
func fullOfWithdrawals(t testing.TB, free int) *State {
	s := newFarm(t, farmOptions{lane: build.LaneHouse, workers: 3, replicas: 1, seed: 7}).state()
	for i := range MaxWithdrawals - free {
		s.withdrawals.List = append(s.withdrawals.List, Withdrawal{Build: ID{1, byte(i), byte(i >> 8)}, Index: uint64(i)})
	}
	s.indexWithdrawals()
	return s
}

// The state finds of a build what looking through the list finds, also once the list
// is full and drops the older of two withdrawals of one build.
func TestWithdrawnIsWhatTheListSays(t *testing.T) {
	s := fullOfWithdrawals(t, 2)
	first, second := s.withdrawals.List[0].Build, s.withdrawals.List[1].Build
	for i, of := range []ID{second, first, {2}, {3}, {2}, first} {
		s.withdraw(&build.Build{ID: ID{4, byte(i)}, Contest: &build.Contest{Build: of}}, ID{})
		seen := map[ID]Withdrawal{}
		for _, w := range s.withdrawals.List {
			if _, ok := seen[w.Build]; !ok {
				seen[w.Build] = w
			}
		}
		for _, id := range []ID{first, second, {1, 2}, {2}, {3}, {9}} {
			want, listed := seen[id]
			if got, ok := s.Withdrawn(id); got != want || ok != listed {
				t.Fatalf("after %d more build %x: %+v, %t, want %+v, %t", i+1, id[:3], got, ok, want, listed)
			}
		}
	}
	if n := len(s.withdrawals.List); n != MaxWithdrawals {
		t.Errorf("%d are listed", n)
	}
}

// BenchmarkWithdrawn compares looking a build up among as many withdrawals as there
// can be with looking through them.
func BenchmarkWithdrawn(b *testing.B) {
	s := fullOfWithdrawals(b, 0)
	list := s.withdrawals.List
	var looked, through time.Duration
	for b.Loop() {
		began := time.Now()
		for i := range list {
			if w, _ := s.Withdrawn(list[i].Build); w.Index != uint64(i) {
				b.Fatalf("found %d at %d", w.Index, i)
			}
		}
		found := time.Now()
		for i := range list {
			if at := slices.IndexFunc(list, func(w Withdrawal) bool { return w.Build == list[i].Build }); at != i {
				b.Fatalf("found %d at %d", at, i)
			}
		}
		looked, through = looked+found.Sub(began), through+time.Since(found)
	}
	b.ReportMetric(0, "ns/op") // of both together
	b.ReportMetric(float64(looked)/float64(through), "x-looking-through")
}
