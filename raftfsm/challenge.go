package raftfsm

import (
	"slices"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// MaxWithdrawals is how many withdrawals the state lists, the newest; the log has
// all. A build that the state still retains is among them: each withdrawal has
// settled a build of its own since.
const MaxWithdrawals = MaxSettled

// Withdrawal says that an old result is no longer stood by.
type Withdrawal struct {
	Build      ID // whose result it was
	Transcript ID // of that build
	Result     ID // that was delivered
	Challenge  ID // the build that refuted it
	Found      ID // the result that its panel has instead
	FarmMillis int64
	WallMillis int64
	Index      uint64 // of the Raft entry
}

// Code is the canonical encoding.
func (w *Withdrawal) Code(c *wire.Coder) {
	for _, id := range []*ID{&w.Build, &w.Transcript, &w.Result, &w.Challenge, &w.Found} {
		c.Bytes32(id)
	}
	c.I64(&w.FarmMillis)
	c.I64(&w.WallMillis)
	c.U64(&w.Index)
}

// WithdrawalItem is a withdrawal as the log records it.
type WithdrawalItem struct {
	Withdrawal
	Panel  ID     // transcript of the challenge
	Reason string // a sentence
	Number uint64 // of withdrawals so far, from 1
	Chain  ID     // over all of them
}

// Code is the canonical encoding.
func (i *WithdrawalItem) Code(c *wire.Coder) {
	i.Withdrawal.Code(c)
	c.Bytes32(&i.Panel)
	c.String(&i.Reason, 1024)
	c.U64(&i.Number)
	c.Bytes32(&i.Chain)
}

// withdrawals is the state's record of them.
type withdrawals struct {
	Count uint64 // ever
	Chain ID     // H("withdrawal" ‖ the chain before ‖ the withdrawal)
	List  []Withdrawal
}

// Code is the canonical encoding.
func (v *withdrawals) Code(c *wire.Coder) {
	c.U64(&v.Count)
	c.Bytes32(&v.Chain)
	wire.Records(c, &v.List, MaxWithdrawals)
}

// Withdrawals lists the newest withdrawals, oldest first, and says how many there
// were ever and what binds them: the chain of H("withdrawal" ‖ before ‖ withdrawal).
func (s *State) Withdrawals() (list []Withdrawal, count uint64, chain ID) {
	return slices.Clone(s.withdrawals.List), s.withdrawals.Count, s.withdrawals.Chain
}

// Withdrawn says whether a build's result was withdrawn, as far as the state lists it.
func (s *State) Withdrawn(id ID) (Withdrawal, bool) {
	i, ok := s.withdrawn[id]
	if !ok {
		return Withdrawal{}, false
	}
	return s.withdrawals.List[i], true
}

// indexWithdrawals derives where each build's withdrawal is listed: of two, since two
// challenges can run at once, the older.
func (s *State) indexWithdrawals() {
	list := s.withdrawals.List
	s.withdrawn = make(map[ID]int, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		s.withdrawn[list[i].Build] = i
	}
}

// withdraw takes back what a challenge has refuted: it answers no submission any
// more, and the log says so.
func (s *State) withdraw(b *build.Build, panel ID) {
	x, v := b.Contest, &s.withdrawals
	w := Withdrawal{
		Build: x.Build, Transcript: x.Transcript, Result: x.Result, Challenge: b.ID, Found: x.Found,
		FarmMillis: s.now, WallMillis: s.wall, Index: s.index,
	}
	if len(v.List) == MaxWithdrawals {
		v.List = slices.Delete(v.List, 0, 1)
	}
	v.List = append(v.List, w)
	s.indexWithdrawals() // there are few, and the state hashes the whole list as well
	v.Count++
	v.Chain = wire.NewHasher("withdrawal").Fixed(v.Chain).Var(wire.Encode(&w)).Sum()
	s.touch(kindWithdrawals, ID{})
	if old := s.builds[w.Build]; old != nil {
		if key := build.CacheKey(old.Requester, &old.Terms); s.verified[key] == old.ID {
			delete(s.verified, key)
			for _, id := range s.settled { // oldest first: an older result may answer again
				if o := s.builds[id]; build.CacheKey(o.Requester, &o.Terms) == key {
					s.remember(o)
				}
			}
		}
	}
	s.evidence.items = append(s.evidence.items, Item{Withdrawal: &WithdrawalItem{Withdrawal: w, Panel: panel, Reason: b.Reason, Number: v.Count, Chain: v.Chain}})
}

// challenge takes a challenge of an old result, or finds it taken.
func (s *State) challenge(sender ID, request [16]byte, m *build.Challenge) build.Outcome {
	id := build.ChallengeID(s.cluster, sender, request, m.Transcript())
	if _, ok := s.builds[id]; ok {
		return build.Outcome{Subject: id}
	}
	claim, out := s.CheckChallenge(sender, m)
	if out.Code != build.Done {
		return out
	}
	pool, _ := s.Pool(claim.Pool)
	e, done := s.env(pool)
	defer done()
	b, out := build.NewChallenge(e, sender, s.operatorOf(sender), request, m, claim, s.sequence)
	if out.Code != build.Done {
		return out
	}
	s.sequence++
	s.builds[b.ID] = b
	s.live[b.ID] = b
	s.changed(b)
	return out
}

// CheckChallenge says what Apply would say of a challenge now, but for the panel
// and the money, and returns what the challenged transcript claims.
func (s *State) CheckChallenge(sender ID, m *build.Challenge) (*build.Claim, build.Outcome) {
	claim := new(build.Claim)
	if err := wire.Decode(m.Claim, claim); err != nil {
		return nil, build.Refuse(build.CodeMalformed, "the claim: %v", err)
	}
	if out := claim.Challengeable(); out.Code != build.Done {
		return nil, out
	}
	pool, ok := s.Pool(claim.Pool)
	account := s.accounts[sender]
	switch {
	case !s.keys.Done:
		return nil, build.Refuse(build.CodeNotReady, "the coordinators have not generated their key yet: try again in a moment")
	case claim.Cluster != s.cluster || !ok:
		return nil, build.Refuse(build.CodeRefused, "the challenged build is of another farm")
	case !build.ValidReason(m.Reason):
		return nil, build.Refuse(build.CodeMalformed, "a reason has at most %d bytes and no control characters", build.MaxReasonBytes)
	case account == nil:
		return nil, build.Refuse(build.CodeUnknownAccount, "the challenger has no account")
	case pool.Lane == build.LaneHouse && s.operatorOf(sender) == "" && !account.Founder:
		return nil, build.Refuse(build.CodeNotAllowed, "this pool is its owner's own: the admin must list the challenger under an operator (gavel account admit)")
	}
	if out := s.roomForBuild(); out.Code != build.Done {
		return nil, out
	}
	if w, ok := s.Withdrawn(claim.Build); ok {
		return nil, build.Refuse(build.CodeExists, "this result was withdrawn already, by challenge %x", w.Challenge)
	}
	for _, b := range s.live { // any match refuses: the order does not matter
		if b.Contest != nil && b.Contest.Build == claim.Build {
			return nil, build.Refuse(build.CodeExists, "this result is under challenge already")
		}
	}
	return claim, s.certified(claim, m)
}

// certified says whether the group, under its key then or now, signed for the
// transcript that a challenge shows.
func (s *State) certified(claim *build.Claim, m *build.Challenge) build.Outcome {
	if !s.groupKey(claim.GroupKey) {
		return build.Refuse(build.CodeRefused, "the build was certified under a group key that is not, or no longer, known here")
	}
	if !slices.Contains(m.Certificate.Transcripts, m.Transcript()) {
		return build.Refuse(build.CodeNoMatch, "the certificate is not about the transcript that is shown")
	}
	msg := beacon.Message(s.cluster, build.PurposeCertificate, build.CertificateSubject(m.Certificate.Transcripts), 0)
	if err := s.verify.beacon(claim.GroupKey, msg, m.Certificate.Signature); err != nil {
		return build.Refuse(build.CodeBadBeacon, "the certificate: %v", err)
	}
	return build.Outcome{}
}
