package raftfsm

import (
	"cmp"
	"crypto/sha256"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Bounds of an epoch of the log: whichever is reached first ends it.
const (
	maxEpochEntries = 4096    // an auditor replays them one by one
	maxEpochBytes   = 4 << 20 // and reads them at once
	// MaxEntryBytes bounds an entry's record that is read back.
	MaxEntryBytes = 64 << 20
)

// Balance is an account's money after an entry that touched it.
type Balance struct {
	Account                ID
	Gone                   bool // the account was closed: a settled build's escrow
	Available, Held, Stake escrow.Credits
}

// Code is the canonical encoding.
func (b *Balance) Code(c *wire.Coder) {
	c.Bytes32(&b.Account)
	c.Bool(&b.Gone)
	b.Available.Code(c)
	b.Held.Code(c)
	b.Stake.Code(c)
}

// Entry is one applied Raft entry and what came of it: an epoch is a list of them.
type Entry struct {
	Index     uint64
	Data      []byte // a canonical build.Batch, as it was proposed
	Codes     []uint32
	Movements []escrow.Movement
	Balances  []Balance // of the accounts that changed, sorted
}

// Code is the canonical encoding.
func (e *Entry) Code(c *wire.Coder) {
	c.U64(&e.Index)
	c.Blob(&e.Data, MaxEntryBytes)
	wire.List(c, &e.Codes, build.MaxBatch, (*wire.Coder).U32)
	wire.Records(c, &e.Movements, 1<<20)
	wire.Records(c, &e.Balances, 1<<20)
}

// Chain is H("chain" ‖ the chain before ‖ index ‖ SHA-256(record)): what binds
// every entry since genesis. Before the first it is zero.
func Chain(before ID, index uint64, record []byte) ID {
	return wire.NewHasher("chain").Fixed(before).U64(index).Fixed(sha256.Sum256(record)).Sum()
}

// EpochItem is an epoch that has ended.
type EpochItem struct {
	Number      uint64 // from 1, without gaps
	First, Last uint64 // Raft indexes of its entries; there may be fewer than between them
	Entries     uint64
	Before      ID // the chain before its first entry
	Chain       ID // after its last entry
	State       ID // the state hash then
	FarmMillis  int64
	WallMillis  int64
	// Secrets are what its entries reveal of things that are not over: until none
	// stands any more (State.Secret), its entries are the coordinators' alone.
	Secrets []Secret
}

// Code is the canonical encoding.
func (e *EpochItem) Code(c *wire.Coder) {
	c.U64(&e.Number)
	c.U64(&e.First)
	c.U64(&e.Last)
	c.U64(&e.Entries)
	c.Bytes32(&e.Before)
	c.Bytes32(&e.Chain)
	c.Bytes32(&e.State)
	c.I64(&e.FarmMillis)
	c.I64(&e.WallMillis)
	wire.Records(c, &e.Secrets, MaxLive+MaxPools)
}

// Secret is a build without a verdict whose prices or results are open to the
// coordinators, or an epoch of a batch pool whose asks are.
type Secret struct {
	Subject ID     // the build, or the market
	Epoch   uint64 // of the market; 0 for a build
}

// Code is the canonical encoding.
func (x *Secret) Code(c *wire.Coder) { c.Bytes32(&x.Subject); c.U64(&x.Epoch) }

// secretBuild says that bids or results of a build are in the log and its
// verdict is not. Of a challenge all is secret until then: a seat that knew which
// result is in doubt could repeat it.
func secretBuild(b *build.Build) bool {
	return b.Verdict == 0 && (b.State >= build.Revealing && b.State <= build.Panel || b.Contest != nil)
}

// secrets lists what the log must not show yet, sorted.
func (s *State) secrets() (out []Secret) {
	for _, id := range wire.SortedKeys(s.live, wire.Compare32) {
		if secretBuild(s.live[id]) {
			out = append(out, Secret{Subject: id})
		}
	}
	for _, name := range wire.SortedKeys(s.markets, cmp.Compare[string]) {
		if m := s.markets[name]; m.AsksOpen() {
			out = append(out, Secret{m.ID, m.Epoch.Number})
		}
	}
	return out
}

// Secret says whether x still stands.
func (s *State) Secret(x Secret) bool {
	if x.Epoch == 0 {
		b, live := s.live[x.Subject]
		return live && secretBuild(b)
	}
	m, ok := s.markets[s.poolByID[x.Subject]]
	return ok && m.Epoch.Number == x.Epoch && m.AsksOpen()
}

// CertifiedItem is a settled build whose transcript the group has signed.
type CertifiedItem struct {
	Build       ID
	Transcript  ID
	Certificate build.Certificate
}

// Code is the canonical encoding.
func (i *CertifiedItem) Code(c *wire.Coder) {
	c.Bytes32(&i.Build)
	c.Bytes32(&i.Transcript)
	i.Certificate.Code(c)
}

// Item is what the log records next: one of its fields is set.
type Item struct {
	Epoch      *EpochItem
	Certified  *CertifiedItem
	Key        *KeyItem
	Withdrawal *WithdrawalItem
	Handover   *HandoverItem
}

// The kinds of items in their encoding. Numbers are append-only.
const (
	itemEpoch      = 1
	itemCertified  = 2
	itemKey        = 3
	itemWithdrawal = 4
	itemHandover   = 5
)

// Code is the canonical encoding.
func (i *Item) Code(c *wire.Coder) {
	var kind uint8
	switch {
	case i.Epoch != nil:
		kind = itemEpoch
	case i.Certified != nil:
		kind = itemCertified
	case i.Key != nil:
		kind = itemKey
	case i.Withdrawal != nil:
		kind = itemWithdrawal
	case i.Handover != nil:
		kind = itemHandover
	}
	c.U8(&kind)
	switch kind {
	case itemEpoch:
		codeItem(c, &i.Epoch)
	case itemCertified:
		codeItem(c, &i.Certified)
	case itemKey:
		codeItem(c, &i.Key)
	case itemWithdrawal:
		codeItem(c, &i.Withdrawal)
	case itemHandover:
		codeItem(c, &i.Handover)
	default:
		c.Refuse("unknown kind of item %d", kind)
	}
}

// codeItem codes what an item points to.
func codeItem[T any, P interface {
	*T
	wire.Record
}](c *wire.Coder, p *P) {
	if c.Decoding() {
		*p = new(T)
	}
	(*p).Code(c)
}

// TranscriptOf is a transcript as it was when its build settled.
type TranscriptOf struct {
	Build, Digest ID
	Bytes         []byte
}

// Applied is what one entry leaves for the log.
type Applied struct {
	Index       uint64
	Record      []byte // canonical Entry
	Chain       ID     // after it
	Outcomes    []build.Outcome
	Transcripts []TranscriptOf // of builds that settled in it
	FirstItem   uint64         // how many items all entries before it left
	Items       []Item
}

// waiting is a settled build whose transcript is not certified yet.
type waiting struct{ Build, Transcript ID }

// Code is the canonical encoding.
func (w *waiting) Code(c *wire.Coder) { c.Bytes32(&w.Build); c.Bytes32(&w.Transcript) }

// logState is the state's record of what the log has yet to say.
type logState struct {
	Chain   ID
	Before  ID     // the chain before the open epoch's first entry
	Epochs  uint64 // that have ended
	First   uint64 // index of the open epoch's first entry
	Entries uint64 // in the open epoch
	Bytes   uint64
	Since   int64  // farm time of the first
	Items   uint64 // left so far, of all kinds
	// Waiting are settled builds in order; the first Certifying of them are what
	// the group is asked to sign now.
	Waiting    []waiting
	Certifying uint32

	// What the entry under way leaves; not part of the record.
	transcripts []TranscriptOf
	items       []Item
}

// Code is the canonical encoding.
func (v *logState) Code(c *wire.Coder) {
	c.Bytes32(&v.Chain)
	c.Bytes32(&v.Before)
	c.U64(&v.Epochs)
	c.U64(&v.First)
	c.U64(&v.Entries)
	c.U64(&v.Bytes)
	c.I64(&v.Since)
	c.U64(&v.Items)
	wire.Records(c, &v.Waiting, MaxLive+MaxSettled)
	c.U32(&v.Certifying)
	if c.Decoding() && int(v.Certifying) > len(v.Waiting) {
		c.Refuse("more builds under certification than wait for it")
	}
}

// certifying are the transcripts that the group is asked to sign, and their subject.
func (v *logState) certifying() (transcripts []ID, subject ID) {
	for i := range v.Waiting[:v.Certifying] {
		transcripts = append(transcripts, v.Waiting[i].Transcript)
	}
	return transcripts, build.CertificateSubject(transcripts)
}

// settledNow makes the transcript of a build that has just settled.
func (s *State) settledNow(b *build.Build) {
	pool, _ := s.Pool(b.Terms.Pool)
	t := build.Transcript{
		Cluster: s.cluster, Simulated: s.genesis.Simulated, GroupKey: s.keys.Group.Key, WallMillis: s.wall,
		Params: s.genesis.Params, Pool: *pool, Coordinators: s.genesis.Coordinators, Build: *b,
	}
	for _, id := range b.Named() {
		p := build.Party{ID: id, Operator: s.operatorOf(id)}
		if a, ok := s.accounts[id]; ok {
			p.Key, p.Name = a.Key, a.Name
		}
		if w, ok := s.workers[id]; ok {
			p.Name, p.Operator, p.Machine, p.Class = w.Name, w.Operator, w.Machine, w.Class
		}
		t.Parties = append(t.Parties, p)
	}
	raw := wire.Encode(&t)
	of := TranscriptOf{b.ID, build.TranscriptDigest(raw), raw}
	s.evidence.transcripts = append(s.evidence.transcripts, of)
	s.evidence.Waiting = append(s.evidence.Waiting, waiting{b.ID, of.Digest})
	if b.Verdict == build.Refuted {
		s.withdraw(b, of.Digest)
	}
}

// certificateDemand is the signature that certifies the oldest settled builds.
func (s *State) certificateDemand() (Demand, bool) {
	if s.evidence.Certifying == 0 {
		return Demand{}, false
	}
	_, subject := s.evidence.certifying()
	return Demand{Purpose: build.PurposeCertificate, Build: subject}, true
}

// certify applies the group's signature under the transcripts that wait for it.
func (s *State) certify(m *build.Beacon, proven map[[48]byte]bool) build.Outcome {
	d, ok := s.certificateDemand()
	if !ok || d.Purpose != m.Purpose || d.Build != m.Build || d.Round != m.Round {
		return build.Refuse(build.CodeStale, "nothing waits for this certificate")
	}
	if out := s.checkBeacon(m, proven); out.Code != build.Done {
		return out
	}
	v := &s.evidence
	transcripts, _ := v.certifying()
	for _, w := range v.Waiting[:v.Certifying] {
		v.items = append(v.items, Item{Certified: &CertifiedItem{w.Build, w.Transcript, build.Certificate{Transcripts: transcripts, Signature: m.Signature}}})
	}
	v.Waiting = append([]waiting(nil), v.Waiting[v.Certifying:]...)
	v.Certifying = 0
	return build.Outcome{Subject: m.Build}
}

// checkBeacon verifies a signature that is demanded, unless the entry's were
// verified together.
func (s *State) checkBeacon(m *build.Beacon, proven map[[48]byte]bool) build.Outcome {
	msg, sig := beacon.Message(s.cluster, m.Purpose, m.Build, m.Round), beacon.Signature(m.Signature)
	if !proven[provenKey(s.keys.Group.Key, msg, sig)] {
		if err := s.verify.beacon(s.keys.Group.Key, msg, sig); err != nil {
			return build.Refuse(build.CodeBadBeacon, "%v", err)
		}
	}
	return build.Outcome{Subject: m.Build}
}

// conclude ends an entry: what it left is bound into the chain, the state is
// hashed, and an epoch that has run long enough ends.
func (s *State) conclude(index uint64, data []byte, outcomes []build.Outcome) Applied {
	v := &s.evidence
	if v.Certifying == 0 && len(v.Waiting) > 0 {
		v.Certifying = uint32(min(len(v.Waiting), build.MaxCertified))
	}
	record := wire.Encode(s.entry(index, data, outcomes))
	if v.Entries == 0 {
		v.First, v.Since, v.Before = index, s.now, v.Chain
	}
	v.Chain = Chain(v.Chain, index, record)
	v.Entries++
	v.Bytes += uint64(len(record))
	var ended *EpochItem
	if v.Entries >= maxEpochEntries || v.Bytes >= maxEpochBytes || s.now >= v.Since+s.genesis.Params.EpochMillis {
		v.Epochs++
		ended = &EpochItem{Number: v.Epochs, First: v.First, Last: index, Entries: v.Entries, Before: v.Before, Chain: v.Chain, FarmMillis: s.now, WallMillis: s.wall}
		v.First, v.Entries, v.Bytes, v.Since = 0, 0, 0, 0
	}
	first := v.Items
	v.Items += uint64(len(v.items))
	if ended != nil {
		v.Items++
	}
	s.touch(kindEvidence, ID{})
	s.rehash()
	if ended != nil {
		ended.State, ended.Secrets = s.hash, s.secrets()
		v.items = append(v.items, Item{Epoch: ended})
	}
	out := Applied{Index: index, Record: record, Chain: v.Chain, Outcomes: outcomes, Transcripts: v.transcripts, FirstItem: first, Items: v.items}
	v.transcripts, v.items = nil, nil
	return out
}

// entry is the record of what an entry did.
func (s *State) entry(index uint64, data []byte, outcomes []build.Outcome) *Entry {
	e := &Entry{Index: index, Data: data, Movements: s.ledger.Movements()}
	for i := range outcomes {
		e.Codes = append(e.Codes, uint32(outcomes[i].Code))
	}
	accounts, _ := s.ledger.Touched()
	for _, id := range accounts {
		a, ok := s.ledger.Account(id)
		e.Balances = append(e.Balances, Balance{Account: id, Gone: !ok, Available: a.Available, Held: a.Held, Stake: a.Stake})
	}
	return e
}

// epochDeadline is when the open epoch ends, if it has an entry.
func (s *State) epochDeadline() (at int64, ok bool) {
	return s.evidence.Since + s.genesis.Params.EpochMillis, s.evidence.Entries > 0
}
