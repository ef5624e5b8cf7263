package transcript

import (
	"gavel/raftfsm/build"
)

// Agreement is a participant whose first or panel build gave the delivered result.
type Agreement struct {
	Worker                    [32]byte
	Name, Operator, Machine   string
	Domain                    string
	Builder, Panel            bool
	StartedWall, FinishedWall int64 // its own clock, milliseconds since 1970
}

// Facts are what a policy asks of a build. They are the record's: with deviations
// they mean nothing.
type Facts struct {
	Cluster, Build, Transcript [32]byte
	Pool                       string
	Lane                       build.Lane
	Requester                  [32]byte
	RequesterOperator          string
	ActionDigest               [32]byte
	Platform                   string
	Verdict                    build.State
	Reason                     string
	Delivers                   bool
	Delivered                  [32]byte // the result digest
	Validators                 int      // k that was asked for
	Seats, PanelSeats          int      // that opened a result: of the first round beside the builder, and of the panel
	DomainKind                 build.Domain
	Eligible                   int // N: independent domains that could serve the build
	// Agreed had the delivered result: the builder, if it had, then seats and panel.
	Agreed []Agreement
	// Domains and Operators are how many distinct ones there are among Agreed.
	Domains, Operators int
	Winner             [32]byte // the builder; zero where nobody built
	Sampling           build.Sampling
	SamplePPM          uint32
	Vary               build.Dimensions // in what validators varied the environment
	Draws              []build.DrawProof
	Simulated          bool
	WallMillis         int64 // the leader's clock at settlement, milliseconds since 1970; informative
	Expected           []build.Expected
	Contest            *build.Contest // of a challenge: whose result a fresh panel looked at
	Paid               int64          // to the builder, micro-credits; below zero it paid
}

// facts collects what the record says.
func (j *judge) facts() {
	t, b := j.t, j.b
	f := Facts{
		Cluster: t.Cluster, Build: b.ID, Transcript: j.report.Facts.Transcript, Pool: t.Pool.Name, Lane: t.Pool.Lane, Requester: b.Requester,
		RequesterOperator: b.Operator, ActionDigest: b.Terms.ActionDigest, Platform: b.Terms.Platform, Verdict: b.Verdict, Reason: b.Reason,
		Delivers: b.Delivers, Delivered: b.Delivered, Validators: int(b.Terms.Validators), DomainKind: t.Pool.Domain, Eligible: int(b.Domains),
		Sampling: b.Sampling, SamplePPM: b.Terms.SamplePPM, Vary: b.Terms.Vary, Simulated: t.Simulated, WallMillis: t.WallMillis,
		Expected: b.Terms.Expect, Paid: int64(b.Payment), Draws: b.Draws, Contest: b.Contest,
	}
	domains, operators := map[string]bool{}, map[string]bool{}
	for i := range b.Attempts {
		a := at{&b.Attempts[i], i}
		if a.Round == build.RoundRecheck || !a.opened() {
			continue
		}
		builder := j.attempts.winner != nil && j.attempts.winner.index == i
		switch {
		case a.Round == build.RoundPanel:
			f.PanelSeats++
		case !builder:
			f.Seats++
		}
		if !b.Delivers || a.result() != b.Delivered || j.ending.slashed[i] {
			continue
		}
		agreed := Agreement{
			Worker: a.Worker, Domain: a.Domain, Builder: builder, Panel: a.Round == build.RoundPanel,
			StartedWall: a.Opening.StartedWallMillis, FinishedWall: a.Opening.FinishedWallMillis,
		}
		if p, ok := t.Party(a.Worker); ok {
			agreed.Name, agreed.Operator, agreed.Machine = p.Name, p.Operator, p.Machine
		}
		f.Agreed = append(f.Agreed, agreed)
		domains[a.Domain], operators[agreed.Operator] = true, true
	}
	f.Domains, f.Operators = len(domains), len(operators)
	if w := j.attempts.winner; w != nil {
		f.Winner = w.Worker
	}
	j.report.Facts = f
}

// remarks lists what no record of one build shows.
func (j *judge) remarks() {
	b := j.b
	j.earlier()
	if len(b.Bids)+len(b.Attempts) > 0 {
		j.notChecked("that bids and commitments are those that their authors sent, and that none was left out: the signed commands are in the log")
	}
	j.notChecked("that the eligible set is complete: who was registered, present and had the stake when it was fixed")
	if b.Operator != "" || j.operators[b.Requester] != "" {
		j.notChecked("that the requester belonged to operator %q when it submitted", b.Operator)
	}
	j.notChecked("farm times: they are ordered, and the ticks they count are in the log")
	j.notProven("that a result is harmless, or that its provenance statements are signed: the bundles say the latter")
	if j.t.Simulated {
		j.notProven("independence: one machine plays all parts (simulated)")
	}
	if len(j.t.Coordinators) == 1 {
		j.notProven("that draws were unpredictable to the one coordinator: they are verifiable, no more")
	}
}
