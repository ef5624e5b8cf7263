package raftfsm

import (
	"slices"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// Bounds of a handover.
const (
	// stageMillis is how long coordinators have to deal, and then to check what they
	// were dealt: one that is away must not keep the others from a new key.
	stageMillis = 30_000
	// maxFormerKeys is how many former group keys the state remembers, the newest;
	// the log has all. A certificate under an older one cannot be challenged any more.
	maxFormerKeys = 64
)

// FormerKey is a group key that another has taken the place of.
type FormerKey struct {
	Key        beacon.GroupKey
	FarmMillis int64 // when
	Index      uint64
}

// Code is the canonical encoding.
func (f *FormerKey) Code(c *wire.Coder) {
	f.Key.Code(c)
	c.I64(&f.FarmMillis)
	c.U64(&f.Index)
}

// HandoverStage is how far a handover is.
type HandoverStage uint8

// The stages of a handover.
const (
	HandoverDealing   HandoverStage = 1 // coordinators deal
	HandoverAnswering HandoverStage = 2 // they check, and confirm or complain
	HandoverMaking    HandoverStage = 3 // complaints are answered, and the key is made
	HandoverDraining  HandoverStage = 4 // what is under way ends under the old key
	HandoverSigning   HandoverStage = 5 // the old group signs for the new one
)

func (h HandoverStage) String() string {
	return [...]string{"", "dealing", "checking", "making the key", "draining", "signing"}[h]
}

// Handover is the making of a new group key while the old one is in use.
type Handover struct {
	Stage  HandoverStage // up to HandoverMaking: the later ones are read off the state
	Next   KeyGeneration
	Reason string
}

// Code is the canonical encoding.
func (h *Handover) Code(c *wire.Coder) {
	c.U8((*uint8)(&h.Stage))
	h.Next.Code(c)
	c.String(&h.Reason, build.MaxReasonBytes)
	if c.Decoding() && c.Err() == nil && (h.Stage < HandoverDealing || h.Stage > HandoverMaking) {
		c.Refuse("a handover in stage %d", h.Stage)
	}
}

// succession is the state's record of group keys.
type succession struct {
	Round  uint64      // of the last key generation that a handover began
	Open   []*Handover // the one under way, if there is one
	Note   string      // how the last one ended
	Former []FormerKey
}

// Code is the canonical encoding.
func (v *succession) Code(c *wire.Coder) {
	c.U64(&v.Round)
	wire.List(c, &v.Open, 1, codePointer[Handover])
	c.String(&v.Note, 1024)
	wire.Records(c, &v.Former, maxFormerKeys)
}

// HandoverItem is a new group key, signed for by the old one, as the log records it.
type HandoverItem struct {
	Old, New beacon.GroupKey
	// Round is that of the new key's generation, and of the message.
	Round     uint64
	Signature [48]byte // the old group's on H("draw" ‖ cluster ‖ "handover" ‖ HandoverSubject ‖ Round)
	Reason    string
	// FarmMillis, WallMillis and Index say when: from the next command on the new key is in use.
	FarmMillis int64
	WallMillis int64
	Index      uint64
}

// Code is the canonical encoding.
func (i *HandoverItem) Code(c *wire.Coder) {
	i.Old.Code(c)
	i.New.Code(c)
	c.U64(&i.Round)
	wire.Fixed48(c, &i.Signature)
	c.String(&i.Reason, build.MaxReasonBytes)
	c.I64(&i.FarmMillis)
	c.I64(&i.WallMillis)
	c.U64(&i.Index)
}

// HandoverSubject is what the old group signs for: H("handover" ‖ cluster ‖ old ‖ new).
func HandoverSubject(cluster ID, before, after beacon.GroupKey) ID {
	return wire.NewHasher("handover").Fixed(cluster).Var(before[:]).Var(after[:]).Sum()
}

// open is the handover under way, nil if there is none.
func (v *succession) open() *Handover {
	if len(v.Open) == 0 {
		return nil
	}
	return v.Open[0]
}

// FormerKeys are the group keys that are no longer in use, oldest first.
func (s *State) FormerKeys() []FormerKey { return slices.Clone(s.succession.Former) }

// HandoverUnderWay says how far a handover is, if there is one, and how the last
// one ended.
func (s *State) HandoverUnderWay() (stage HandoverStage, note string) {
	h := s.succession.open()
	switch {
	case h == nil:
		return 0, s.succession.Note
	case !h.Next.Done:
		return h.Stage, s.succession.Note
	case !s.drained():
		return HandoverDraining, s.succession.Note
	}
	return HandoverSigning, s.succession.Note
}

// NextKeys is the key generation of a handover under way, nil if there is none. It
// must not be changed.
func (s *State) NextKeys() *KeyGeneration {
	if h := s.succession.open(); h != nil {
		return &h.Next
	}
	return nil
}

// generating is the key generation that deals and complaints are about.
func (s *State) generating() *KeyGeneration {
	if k := s.NextKeys(); k != nil {
		return k
	}
	return &s.keys
}

// handOver begins a handover, or gives one up.
func (s *State) handOver(m *build.Handover) build.Outcome {
	v := &s.succession
	h := v.open()
	switch {
	case !build.ValidReason(m.Reason):
		return build.Refuse(build.CodeMalformed, "a reason has at most %d bytes and no control characters", build.MaxReasonBytes)
	case m.GiveUp && h == nil:
		return build.Refuse(build.CodeWrongState, "no handover is under way")
	case m.GiveUp:
		s.endHandover("given up by the admin")
		return build.Outcome{}
	case !s.keys.Done:
		return build.Refuse(build.CodeNotReady, "the coordinators have not generated their first key yet")
	case h != nil:
		return build.Refuse(build.CodeExists, "a handover is under way already")
	}
	v.Round = max(v.Round, s.keys.Round) + 1
	h = &Handover{Stage: HandoverDealing, Next: KeyGeneration{Round: v.Round, Deadline: s.now + stageMillis}, Reason: m.Reason}
	h.Next.sized(len(s.members))
	v.Open = []*Handover{h}
	s.touch(kindSuccession, ID{})
	return build.Outcome{}
}

// endHandover forgets a handover that came to nothing: the old key stays.
func (s *State) endHandover(note string) {
	s.succession.Open, s.succession.Note = nil, note
	s.touch(kindSuccession, ID{})
}

// advanceHandover takes a handover on when a stage's work is done or its time is
// over. Who is away neither deals nor complains: t that do are enough, for fewer
// than t collude.
func (s *State) advanceHandover() {
	h := s.succession.open()
	if h == nil || h.Next.Done {
		return
	}
	s.touch(kindSuccession, ID{})
	k, n := &h.Next, len(s.members)
	if h.Stage == HandoverDealing {
		dealt := n - count(k.Deals, func(d []byte) bool { return d == nil })
		switch {
		case dealt < n && s.now < k.Deadline:
			return
		case dealt < s.Threshold():
			s.endHandover("too few coordinators dealt")
			return
		}
		k.Closed = true
		h.Stage, k.Deadline = HandoverAnswering, s.now+stageMillis
	}
	if h.Stage == HandoverAnswering {
		answered := count(k.Answered, func(b bool) bool { return b })
		switch {
		case answered < n && s.now < k.Deadline:
			return
		case answered < s.Threshold():
			s.endHandover("too few coordinators confirmed what they were dealt")
			return
		}
		k.Muted = true
		h.Stage, k.Deadline = HandoverMaking, 0
	}
	s.concludeKeys(k)
}

func count[T any](list []T, is func(T) bool) (n int) {
	for _, v := range list {
		if is(v) {
			n++
		}
	}
	return n
}

// draining says that a new key is made and nothing new is begun until the old
// group has signed for it: every build's draws, and its certificate, are under one key.
func (s *State) draining() bool {
	k := s.NextKeys()
	return k != nil && k.Done
}

// drained says that nothing is under way that was drawn for, or waits for a
// certificate.
func (s *State) drained() bool {
	if len(s.evidence.Waiting) > 0 {
		return false
	}
	for _, b := range s.live { // all must be so: the order does not matter
		if b.State != build.Challenged && (b.State != build.Queued || b.Dispatched) {
			return false
		}
	}
	return true
}

// handoverDemand is the old group's signature under the new key.
func (s *State) handoverDemand() (Demand, bool) {
	if !s.draining() || !s.drained() {
		return Demand{}, false
	}
	k := s.NextKeys()
	return Demand{Purpose: build.PurposeHandover, Build: HandoverSubject(s.cluster, s.keys.Group.Key, k.Group.Key), Round: k.Round}, true
}

// completeHandover puts the new key in the old one's place: it is in use from the
// next command on.
func (s *State) completeHandover(m *build.Beacon, proven map[[48]byte]bool) build.Outcome {
	d, ok := s.handoverDemand()
	if !ok || d.Purpose != m.Purpose || d.Build != m.Build || d.Round != m.Round {
		return build.Refuse(build.CodeStale, "nothing waits for this handover")
	}
	if out := s.checkBeacon(m, proven); out.Code != build.Done {
		return out
	}
	v, h := &s.succession, s.succession.open()
	before := s.keys.Group.Key
	if len(v.Former) == maxFormerKeys {
		v.Former = slices.Delete(v.Former, 0, 1)
	}
	v.Former = append(v.Former, FormerKey{before, s.now, s.index})
	s.keys = h.Next
	s.endHandover("a new group key is in use")
	s.touch(kindKeys, ID{})
	s.evidence.items = append(s.evidence.items, Item{Handover: &HandoverItem{
		Old: before, New: s.keys.Group.Key, Round: m.Round, Signature: m.Signature, Reason: h.Reason,
		FarmMillis: s.now, WallMillis: s.wall, Index: s.index,
	}})
	return build.Outcome{Subject: m.Build}
}

// groupKey says whether a key is the group's, or was.
func (s *State) groupKey(key beacon.GroupKey) bool {
	return key == s.keys.Group.Key || slices.ContainsFunc(s.succession.Former, func(f FormerKey) bool { return f.Key == key })
}
