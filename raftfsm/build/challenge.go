package build

import (
	"fmt"
	"slices"

	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Challenge asks for a fresh panel over an old result. It shows what the group
// certified then, because the build itself has left the state long ago.
type Challenge struct {
	Claim       []byte // canonical Claim of the old build's transcript
	Rest        ID     // hash of the transcript's rest
	Certificate Certificate
	Reason      string
}

// Code is the canonical encoding.
func (m *Challenge) Code(c *wire.Coder) {
	c.Blob(&m.Claim, MaxClaimBytes)
	c.Bytes32(&m.Rest)
	m.Certificate.Code(c)
	c.String(&m.Reason, MaxReasonBytes)
}

// Transcript is the digest of the transcript that is shown.
func (m *Challenge) Transcript() ID { return ClaimedTranscript(m.Claim, m.Rest) }

// Contest makes a build a challenge: nobody is auctioned, a panel alone builds.
type Contest struct {
	Build      ID // whose result is in doubt
	Requester  ID // of that build: whose inputs they are
	Transcript ID
	Result     ID // that was delivered then
	Bond       escrow.Credits
	Found      ID // of Refuted: what two thirds of the panel have instead
	Reason     string
}

// Code is the canonical encoding.
func (x *Contest) Code(c *wire.Coder) {
	c.Bytes32(&x.Build)
	c.Bytes32(&x.Requester)
	c.Bytes32(&x.Transcript)
	c.Bytes32(&x.Result)
	x.Bond.Code(c)
	c.Bytes32(&x.Found)
	c.String(&x.Reason, MaxReasonBytes)
}

// Inputs is the account whose inputs the build is made of.
func (b *Build) Inputs() ID {
	if b.Contest != nil {
		return b.Contest.Requester
	}
	return b.Requester
}

// PurposePanel is what a challenge's panel is drawn under.
const PurposePanel = "panel"

// ChallengeID is H("challenge" ‖ cluster ‖ challenger ‖ request id ‖ transcript).
func ChallengeID(cluster, challenger ID, request [16]byte, transcript ID) ID {
	return wire.NewHasher("challenge").Fixed(cluster).Fixed(challenger).Var(request[:]).Fixed(transcript).Sum()
}

// Challengeable says whether what a claim asserts can be put to a fresh panel: a
// result was delivered as right, or as what one machine said.
func (m *Claim) Challengeable() Outcome {
	if !m.Delivers || m.Verdict != Agreed && m.Verdict != Judged && m.Verdict != Unsampled {
		return Refuse(CodeRefused, "the build ended %v: nobody was told that a result of it is right", m.Verdict)
	}
	if m.Validators < 1 || m.Validators > MaxSeats || m.TimeoutMillis <= 0 || m.TimeoutMillis > MaxTimeoutMillis {
		return Refuse(CodeMalformed, "a claim of %d validators and a timeout of %d ms", m.Validators, m.TimeoutMillis)
	}
	return Outcome{}
}

// contestField are the workers that may sit on a challenge's panel: present, with
// the old stake, of no domain that had a part in the build nor of the challenger's
// operator. On the machines' own root only those are asked whose class is one of
// those that had the result: another root may honestly give another.
func (e *Env) contestField(m *Claim, requester ID, operator string) Field {
	var members []*Worker
	for _, w := range e.Workers() {
		_, took := slices.BinarySearch(m.Took, w.DomainIn(e.Pool))
		alike := m.Platform != PlatformHost || slices.Contains(m.Classes, w.Class)
		mine := operator != "" && w.Operator == operator
		if e.takesWork(w) && w.Offers(m.Platform) && w.Serves(requester) && alike && !took && !mine && e.wholeStake(w) >= m.Stake {
			members = append(members, w)
		}
	}
	f := e.fieldOf(members)
	f.Stake = m.Stake
	return f
}

// panelOf is a panel's size: the largest odd number of at most 2k+1 and of the
// domains that are left.
func panelOf(validators uint32, left int) int {
	seats := min(2*int(validators)+1, left)
	if seats%2 == 0 {
		seats--
	}
	return seats
}

// ChallengeCost is what a challenge puts into escrow: the bond and the panel's fees.
func ChallengeCost(e *Env, seats int) (bond, fees escrow.Credits) {
	if e.house() {
		return 0, 0
	}
	return e.Params.ChallengeBond, escrow.Credits(seats) * e.Params.ValidatorFee
}

// NewChallenge takes a challenge whose certificate the caller has checked.
func NewChallenge(e *Env, challenger ID, operator string, request [16]byte, m *Challenge, claim *Claim, sequence uint64) (*Build, Outcome) {
	f := e.contestField(claim, challenger, operator)
	seats := panelOf(claim.Validators, f.Domains)
	if seats < 3 {
		return nil, Refuse(CodeTooFew, "%d %ss of pool %q could sit on a fresh panel, at least 3 are needed: who built it or validated it then, and the challenger's own, are not asked", f.Domains, e.Pool.Domain, e.Pool.Name)
	}
	bond, fees := ChallengeCost(e, seats)
	a, ok := e.Ledger.Account(challenger)
	if !ok || a.Available < bond+fees {
		return nil, Refuse(CodeFunds, "the balance of %s credits does not cover a bond of %s and a panel's fees of %s", a.Available, bond, fees)
	}
	transcript := m.Transcript()
	b := &Build{
		ID: ChallengeID(e.Cluster, challenger, request, transcript), Requester: challenger, Operator: operator, Request: request, Sequence: sequence,
		Terms: Terms{
			Pool: claim.Pool, ActionDigest: claim.ActionDigest, ActionBytes: claim.ActionBytes, Platform: claim.Platform, TimeoutMillis: claim.TimeoutMillis,
			InputBytes: claim.InputBytes, Validators: claim.Validators, SamplePPM: draw.PPM, Budget: bond + fees,
		},
		State: Challenged, SubmittedAt: e.Now, OpenedAt: e.Now, Eligible: f.Eligible, Domains: uint32(f.Domains), Stake: f.Stake, PanelSeats: uint32(seats),
		Contest: &Contest{Build: claim.Build, Requester: claim.Requester, Transcript: transcript, Result: claim.Result, Bond: bond, Reason: m.Reason},
	}
	b.lockEscrow(e)
	return b, Outcome{Subject: b.ID}
}

// drawPanel permutes the eligible domains and seats a challenge's panel.
func (b *Build) drawPanel(e *Env, seed [32]byte) {
	b.Names, b.NextName = draw.Domains(seed, b.Eligible), 0
	b.State = Panel
	b.seatPanel(e)
}

// JudgeContest decides a challenge from the panel's opened results: two thirds on
// the old result uphold it, two thirds on another refute it, anything else, and
// fewer than three, leaves it undecided. Killed are results that hit a limit: a
// slow machine refutes nothing. The order of panel does not matter.
func JudgeContest(old ID, panel []ID, killed map[ID]bool) (verdict State, found ID) {
	if len(panel) < 3 {
		return Undecided, ID{}
	}
	counts := map[ID]int{}
	for _, d := range panel {
		counts[d]++
	}
	for _, d := range wire.SortedKeys(counts, wire.Compare32) {
		switch {
		case 3*counts[d] < 2*len(panel):
		case d == old:
			return Upheld, d
		case !killed[d]:
			return Refuted, d
		}
	}
	return Undecided, ID{}
}

// decideContest applies the panel's judgement: whoever of it differs from what two
// thirds have is slashed, as on any panel.
func (b *Build) decideContest(e *Env) {
	x := b.Contest
	seats := b.Round(RoundPanel)
	var panel []ID
	killed := map[ID]bool{}
	for _, a := range seats {
		if a.State == AttemptOpened {
			panel = append(panel, a.Result())
			killed[a.Result()] = a.Opening.Summary.Status.ResourceLimit()
		}
	}
	verdict, found := JudgeContest(x.Result, panel, killed)
	if verdict == Undecided {
		b.conclude(e, Undecided, fmt.Sprintf("of %d opened seats no two thirds share a result that decides", len(panel)))
		return
	}
	with := 0
	for _, a := range seats {
		switch {
		case a.State != AttemptOpened:
		case a.Result() == found:
			with++
		case !a.Opening.Summary.Status.ResourceLimit():
			a.Slashed = true
		}
	}
	if verdict == Upheld {
		b.conclude(e, Upheld, fmt.Sprintf("%d of %d on a fresh panel have the old result", with, len(panel)))
		return
	}
	x.Found = found
	b.conclude(e, Refuted, fmt.Sprintf("%d of %d on a fresh panel have another result than the old one", with, len(panel)))
}

// settleBond says what becomes of a challenge's bond, after fees were paid out of
// escrow: one that was wrong loses it to the treasury; one that was right has it
// back, and from the treasury, as far as that has anything, the fees.
func (b *Build) settleBond(e *Env, fees escrow.Credits) {
	switch b.Verdict {
	case Upheld:
		b.pay(e, due{to: e.Treasury, amount: b.Contest.Bond, purpose: "challenge"})
	case Refuted:
		t, _ := e.Ledger.Account(e.Treasury)
		amount := min(fees, t.Available)
		if amount == 0 {
			return
		}
		id := b.record(e, e.Treasury, due{to: b.Requester, amount: amount, purpose: "reimbursement"})
		must(e.Ledger.Transfer(id, e.Treasury, b.Requester, amount))
		b.Used = append(b.Used, id)
	}
}
