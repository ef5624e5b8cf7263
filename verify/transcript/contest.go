package transcript

import (
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// contest judges a challenge, PROTOCOL section 9.1: a build without auction and
// winner, of which a panel alone has results.
func (j *judge) contest() {
	b, x := j.b, j.b.Contest
	id := wire.NewHasher("challenge").Fixed(j.t.Cluster).Fixed(b.Requester).Var(b.Request[:]).Fixed(x.Transcript).Sum()
	expect(j, "Build.ID", id, b.ID)
	j.contestTerms()
	j.challenged()
	j.field()
	j.draws()
	j.sortAttempts()
	j.unauctioned(0)
	expect(j, "Build.Posted", false, b.Posted)
	expect(j, "Build.Allotted", [32]byte{}, b.Allotted)
	expect(j, "Build.Epoch", 0, b.Epoch)
	expect(j, "Build.Priced", false, b.Priced)
	expect(j, "Build.Share", 0, b.Share)
	expect(j, "Build.Seal", 0, b.Seal)
	expect(j, "Build.Slot", 0, b.Slot)
	expect(j, "Build.AuctionNumber", 0, b.AuctionNumber)
	expect(j, "Build.Sampling", 0, b.Sampling)
	expect(j, "Build.OpenedAt", b.SubmittedAt, b.OpenedAt)
	for _, list := range [][]at{j.attempts.builders, j.attempts.seats, j.attempts.rechecks} {
		j.noMore(list, "a challenge is a panel's alone")
	}
	j.ending.slashed = map[int]bool{}
	j.mismatches()
	j.freshPanel()
}

// contestTerms are what the challenged transcript claims, k and a budget of the
// bond and the panel's fees; a challenge has no price.
func (j *judge) contestTerms() {
	b, x, t := j.b, j.b.Contest, &j.b.Terms
	j.between("Build.Terms.Validators", int64(t.Validators), 1, build.MaxSeats)
	j.between("Build.Terms.TimeoutMillis", t.TimeoutMillis, 1, day)
	size := panelSize(t.Validators, int(b.Domains))
	var bond, fees escrow.Credits
	if !j.house {
		bond, fees = j.t.Params.ChallengeBond, escrow.Credits(max(0, size))*j.t.Params.ValidatorFee
	}
	expect(j, "Build.Contest.Bond", bond, x.Bond)
	expect(j, "Build.Terms.Budget", bond+fees, t.Budget)
	expect(j, "Build.Terms.SamplePPM", ppm, t.SamplePPM)
	expect(j, "Build.Terms.Reserve", 0, t.Reserve)
	expect(j, "Build.Terms.Value", 0, len(t.Value.Steps))
	expect(j, "Build.Terms.Priority", 0, t.Priority)
	expect(j, "Build.Terms.ValueAtRisk", 0, t.ValueAtRisk)
	expect(j, "Build.Terms.DeadlineMillis", 0, t.DeadlineMillis)
	expect(j, "Build.Terms.LogKey", [32]byte{}, t.LogKey)
	expect(j, "Build.Terms.Vary", 0, t.Vary)
	expect(j, "Build.Terms.Cached", false, t.Cached)
	expect(j, "Build.Terms.Expect", 0, len(t.Expect))
}

// challenged holds the challenge to the transcript that it is about.
func (j *judge) challenged() {
	b, x, t := j.b, j.b.Contest, &j.b.Terms
	if j.trust.Challenged == nil {
		j.notProven("what the challenged transcript %s claims, and that its stake, domains and result are those here: it was not given", show(x.Transcript)[:16])
		return
	}
	m, ok := j.trust.Challenged(x.Transcript)
	if !ok {
		j.deviate("Build.Contest.Transcript", "a transcript that the reader has", show(x.Transcript))
		return
	}
	if !m.Delivers || m.Verdict != build.Agreed && m.Verdict != build.Judged && m.Verdict != build.Unsampled {
		j.deviatef("Build.Contest.Transcript", "one that delivered a result as agreed, judged or unsampled", "%v", m.Verdict)
	}
	expect(j, "Build.Contest.Build", m.Build, x.Build)
	expect(j, "Build.Contest.Requester", m.Requester, x.Requester)
	expect(j, "Build.Contest.Result", m.Result, x.Result)
	expect(j, "Build.Terms.Pool", m.Pool, t.Pool)
	expect(j, "Build.Terms.ActionDigest", m.ActionDigest, t.ActionDigest)
	expect(j, "Build.Terms.ActionBytes", m.ActionBytes, t.ActionBytes)
	expect(j, "Build.Terms.Platform", m.Platform, t.Platform)
	expect(j, "Build.Terms.TimeoutMillis", m.TimeoutMillis, t.TimeoutMillis)
	expect(j, "Build.Terms.InputBytes", m.InputBytes, t.InputBytes)
	expect(j, "Build.Terms.Validators", m.Validators, t.Validators)
	expect(j, "Build.Stake", m.Stake, b.Stake)
	for i, c := range b.Eligible {
		if contains(m.Took, c.Domain) {
			j.deviate(fmt.Sprintf("Build.Eligible[%d].Domain", i), "one that had no part in the challenged build", show(c.Domain))
		}
	}
}

// freshPanel holds the panel to its draw, and decides by what it opened: two thirds
// on the old result uphold it, two thirds on another that hit no limit refute it.
func (j *judge) freshPanel() {
	b, x := j.b, j.b.Contest
	j.ending.verdict = build.Undecided
	size := panelSize(b.Terms.Validators, int(b.Domains))
	if size < 3 {
		j.deviatef("Build.Domains", "at least 3: else the challenge is refused", "%d", b.Domains)
	}
	seed, made := j.seed(build.PurposePanel)
	if !made {
		j.deviate("Build.Draws", "the draw of the panel", "none")
		return
	}
	j.expectNames(names(seed, b.Eligible))
	var found [32]byte
	if j.seatPanel(-1, size) > 0 {
		opened, count := j.openedPanel()
		for _, a := range opened {
			d := a.result()
			switch {
			case len(opened) < 3 || 3*count[d] < 2*len(opened):
				continue
			case d == x.Result:
				j.ending.verdict = build.Upheld
			case !a.limited():
				j.ending.verdict, found = build.Refuted, d
			default:
				continue
			}
			j.slash(opened, d)
		}
	}
	expect(j, "Build.Contest.Found", found, x.Found)
}

// reimbursed puts in place what the treasury pays back to whoever was right to
// challenge: as much of the fees as it has, which one build's record cannot show.
func (j *judge) reimbursed(settlement []movement) []movement {
	b := j.b
	if b.Contest == nil || b.Verdict != build.Refuted {
		return settlement
	}
	var fees escrow.Credits
	at := 0
	for i, m := range settlement {
		if m.purpose == "panel" && m.from == j.escrow {
			fees += m.amount
		}
		if m.purpose != "refund" {
			at = i + 1
		}
	}
	for i := range b.Transfers {
		t := &b.Transfers[i]
		if t.Purpose != "reimbursement" {
			continue
		}
		j.notChecked("that the treasury had %v and no more to pay back of fees of %v", t.Amount, fees)
		m := movement{"reimbursement", j.treasury, b.Requester, max(1, min(t.Amount, fees)), 0}
		return append(settlement[:at:at], append([]movement{m}, settlement[at:]...)...)
	}
	if fees > 0 {
		j.notChecked("that the treasury had nothing to pay back of fees of %v", fees)
	}
	return settlement
}
