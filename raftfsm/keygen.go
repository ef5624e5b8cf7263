package raftfsm

import (
	"bytes"
	"slices"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// KeyGeneration is the ceremony that makes the group key, on the Raft log as
// bulletin board: every coordinator deals, then every coordinator confirms or
// complains, then accused dealers answer in the open or are left out.
type KeyGeneration struct {
	// Round counts ceremonies that ended with too few honest dealers; deals are
	// bound to theirs.
	Round uint64
	Deals [][]byte // canonical beacon.Deal of dealer i+1; nil until dealt
	// Answers are each member's complaints (dealers, ascending); Answered says
	// that member i+1 has spoken.
	Answered []bool
	Answers  [][]uint32
	// Justified holds canonical beacon.Justifications, in order of arrival.
	Justified [][]byte
	// Deadline is when accused dealers must have answered; 0 while none must. Of a
	// handover it is the end of each stage.
	Deadline int64
	// Closed and Muted say, of a handover, that nobody may deal or answer any more:
	// who did not was away.
	Closed, Muted bool
	Done          bool
	// Qualified are the dealers whose deals make the key, ascending.
	Qualified []uint32
	Group     beacon.Group
}

// Code is the canonical encoding.
func (k *KeyGeneration) Code(c *wire.Coder) {
	c.U64(&k.Round)
	wire.List(c, &k.Deals, MaxCoordinators, func(c *wire.Coder, b *[]byte) { c.Blob(b, build.MaxPayloadBytes) })
	wire.List(c, &k.Answered, MaxCoordinators, (*wire.Coder).Bool)
	wire.List(c, &k.Answers, MaxCoordinators, func(c *wire.Coder, v *[]uint32) {
		wire.List(c, v, MaxCoordinators, (*wire.Coder).U32)
	})
	wire.List(c, &k.Justified, MaxCoordinators*MaxCoordinators, func(c *wire.Coder, b *[]byte) { c.Blob(b, 4096) })
	c.I64(&k.Deadline)
	c.Bool(&k.Closed)
	c.Bool(&k.Muted)
	c.Bool(&k.Done)
	wire.List(c, &k.Qualified, MaxCoordinators, (*wire.Coder).U32)
	if k.Done {
		k.Group.Code(c)
	}
}

// justifyMillis is how long an accused dealer has to answer.
const justifyMillis = 30_000

// Ceremony names the key generation that made, or makes, the key in use.
func (s *State) Ceremony() beacon.Ceremony { return s.ceremony(&s.keys) }

// NextCeremony names that of a handover under way.
func (s *State) NextCeremony() beacon.Ceremony { return s.ceremony(s.generating()) }

func (s *State) ceremony(k *KeyGeneration) beacon.Ceremony {
	return beacon.Ceremony{Cluster: s.cluster, Round: k.Round, Members: uint32(len(s.members))}
}

// touchKeys marks both records that a key generation may lie in.
func (s *State) touchKeys() {
	s.touch(kindKeys, ID{})
	s.touch(kindSuccession, ID{})
}

// Threshold is t: how many coordinators make a signature or vouch together.
func (s *State) Threshold() int { return beacon.Threshold(len(s.members)) }

// ShareIndex is a coordinator's number in the group, from 1; 0 for others.
func (s *State) ShareIndex(coordinator ID) uint32 {
	if i, ok := s.members[coordinator]; ok {
		return uint32(i) + 1
	}
	return 0
}

func (k *KeyGeneration) sized(n int) {
	if len(k.Deals) < n {
		k.Deals, k.Answered, k.Answers = make([][]byte, n), make([]bool, n), make([][]uint32, n)
	}
}

func (s *State) deal(sender ID, m *build.Deal) build.Outcome {
	i := int(s.ShareIndex(sender)) - 1
	k := s.generating()
	k.sized(len(s.members))
	s.touchKeys()
	switch {
	case k.Deals[i] != nil && bytes.Equal(k.Deals[i], m.Deal):
		return build.Outcome{}
	case k.Deals[i] != nil:
		return build.Refuse(build.CodeExists, "this coordinator has already dealt")
	case k.Closed:
		return build.Refuse(build.CodeStale, "the time to deal is over")
	}
	var d beacon.Deal
	if err := wire.Decode(m.Deal, &d); err != nil {
		return build.Refuse(build.CodeMalformed, "%v", err)
	}
	if int(d.Dealer) != i+1 {
		return build.Refuse(build.CodeNotAllowed, "a deal of dealer %d from coordinator %d", d.Dealer, i+1)
	}
	if err := s.verify.deal(&d, s.ceremony(k)); err != nil {
		return build.Refuse(build.CodeMalformed, "%v", err)
	}
	k.Deals[i] = m.Deal
	s.advanceHandover()
	return build.Outcome{}
}

// dealt says that every member's deal is in, or that the time for that is over.
func (k *KeyGeneration) dealt(n int) bool {
	return len(k.Deals) == n && (k.Closed || !slices.ContainsFunc(k.Deals, func(b []byte) bool { return b == nil }))
}

func (s *State) complain(sender ID, m *build.Complain) build.Outcome {
	n := len(s.members)
	i := int(s.ShareIndex(sender)) - 1
	k := s.generating()
	if m.Round != k.Round {
		return build.Refuse(build.CodeStale, "this is round %d of key generation, not %d", k.Round, m.Round)
	}
	if !k.dealt(n) {
		return build.Refuse(build.CodeWrongState, "not every coordinator has dealt")
	}
	for j, dealer := range m.Dealers {
		if dealer < 1 || int(dealer) > n || j > 0 && m.Dealers[j-1] >= dealer {
			return build.Refuse(build.CodeMalformed, "complaints must name dealers 1 to %d, ascending", n)
		}
		if k.Deals[dealer-1] == nil {
			return build.Refuse(build.CodeMalformed, "dealer %d has not dealt", dealer)
		}
	}
	if k.Answered[i] {
		if slices.Equal(k.Answers[i], m.Dealers) {
			return build.Outcome{}
		}
		return build.Refuse(build.CodeExists, "this coordinator has already answered")
	}
	if k.Muted {
		return build.Refuse(build.CodeStale, "the time to answer is over")
	}
	k.Answered[i], k.Answers[i] = true, slices.Clone(m.Dealers)
	s.touchKeys()
	s.proceedKeys(k)
	return build.Outcome{}
}

func (s *State) justify(sender ID, m *build.Justify) build.Outcome {
	k := s.generating()
	var j beacon.Justification
	if err := wire.Decode(m.Justification, &j); err != nil {
		return build.Refuse(build.CodeMalformed, "%v", err)
	}
	if j.Dealer != s.ShareIndex(sender) || !k.accused(j.Dealer, j.Accuser) {
		return build.Refuse(build.CodeNotAllowed, "nobody complained of that")
	}
	for _, done := range k.Justified {
		if bytes.Equal(done, m.Justification) {
			return build.Outcome{}
		}
	}
	if k.Done {
		return build.Refuse(build.CodeStale, "the key is made")
	}
	var d beacon.Deal
	must(wire.Decode(k.Deals[j.Dealer-1], &d))
	if err := s.verify.justification(&j, &d, s.ceremony(k)); err != nil {
		return build.Refuse(build.CodeNoMatch, "%v", err)
	}
	k.Justified = append(k.Justified, m.Justification)
	s.touchKeys()
	s.proceedKeys(k)
	return build.Outcome{}
}

// proceedKeys takes a key generation on.
func (s *State) proceedKeys(k *KeyGeneration) {
	if k == &s.keys {
		s.concludeKeys(k)
		return
	}
	s.advanceHandover()
}

// accused says whether accuser complained of dealer.
func (k *KeyGeneration) accused(dealer, accuser uint32) bool {
	return accuser >= 1 && int(accuser) <= len(k.Answers) && slices.Contains(k.Answers[accuser-1], dealer)
}

// unanswered are the complaints (dealer, accuser) without a justification.
func (k *KeyGeneration) unanswered() [][2]uint32 {
	justified := map[[2]uint32]bool{}
	for _, raw := range k.Justified {
		var j beacon.Justification
		must(wire.Decode(raw, &j))
		justified[[2]uint32{j.Dealer, j.Accuser}] = true
	}
	var out [][2]uint32
	for i, dealers := range k.Answers {
		for _, d := range dealers {
			if c := [2]uint32{d, uint32(i) + 1}; !justified[c] {
				out = append(out, c)
			}
		}
	}
	return out
}

// concludeKeys makes the group key once every member has answered and every
// complaint is justified, or the time for that is over.
func (s *State) concludeKeys(k *KeyGeneration) {
	if k.Done || !k.dealt(len(s.members)) || !k.Muted && slices.Contains(k.Answered, false) {
		return
	}
	open := k.unanswered()
	if len(open) > 0 && k.Deadline == 0 {
		k.Deadline = s.now + justifyMillis
		return
	}
	if len(open) > 0 && s.now < k.Deadline {
		return
	}
	out := map[uint32]bool{}
	for _, c := range open {
		out[c[0]] = true
	}
	k.Deadline = 0
	k.Qualified = nil
	for dealer := uint32(1); int(dealer) <= len(s.members); dealer++ {
		if !out[dealer] && k.Deals[dealer-1] != nil {
			k.Qualified = append(k.Qualified, dealer)
		}
	}
	group, err := s.verify.assemble(s.ceremony(k), k.qualifiedDeals())
	switch {
	case err != nil && k != &s.keys:
		s.endHandover("too few coordinators dealt honestly")
		return
	case err != nil:
		// Too few dealers were honest: the ceremony starts over.
		s.keys = KeyGeneration{Round: k.Round + 1}
		return
	}
	k.Group, k.Done = *group, true
}

func (k *KeyGeneration) qualifiedDeals() []*beacon.Deal {
	var deals []*beacon.Deal
	for _, dealer := range k.Qualified {
		d := new(beacon.Deal)
		must(wire.Decode(k.Deals[dealer-1], d))
		deals = append(deals, d)
	}
	return deals
}

// KeyDuty is what key generation asks of a coordinator now.
type KeyDuty struct {
	Deal      bool     // deal
	Check     bool     // open the shares dealt to it, then confirm or complain
	Justify   []uint32 // answer these accusers
	Deals     [][]byte // canonical beacon.Deal, by dealer
	Qualified []uint32 // once done: whose shares make its own
	Done      bool
}

// KeyDuty returns what the generation of the key in use asks of a coordinator.
func (s *State) KeyDuty(coordinator ID) KeyDuty { return s.keyDuty(&s.keys, coordinator) }

// NextKeyDuty returns what a handover under way asks of it.
func (s *State) NextKeyDuty(coordinator ID) KeyDuty { return s.keyDuty(s.generating(), coordinator) }

func (s *State) keyDuty(k *KeyGeneration, coordinator ID) KeyDuty {
	n := len(s.members)
	index := s.ShareIndex(coordinator)
	d := KeyDuty{Deals: k.Deals, Qualified: k.Qualified, Done: k.Done}
	if index == 0 || k.Done {
		return d
	}
	d.Deal = !k.Closed && (len(k.Deals) < n || k.Deals[index-1] == nil)
	d.Check = k.dealt(n) && !k.Muted && !k.Answered[index-1]
	if k.dealt(n) {
		for _, c := range k.unanswered() {
			if c[0] == index {
				d.Justify = append(d.Justify, c[1])
			}
		}
	}
	return d
}
