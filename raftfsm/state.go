package raftfsm

import (
	"cmp"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Bounds of the state.
const (
	// MaxSettled is how many settled builds stay: long enough for every node to
	// archive them, for a late client to read its result, and for evidence.
	MaxSettled = 4096
	// MaxLive bounds builds that have not settled, or are not certified; beyond it
	// Submit answers CodeBusy.
	MaxLive = 16384
	// maxUnbonds bounds one account's withdrawals under way.
	maxUnbonds = 16
	// MaxAccounts bounds participants.
	MaxAccounts = 1 << 17
	// maxValidAheadMillis is how far ahead of farm time a command may be valid.
	maxValidAheadMillis = 3_600_000
	// maxElapsedMillis is the most one tick may advance.
	maxElapsedMillis = 60_000
)

// Account is who a participant is; its balances are the ledger's.
type Account struct {
	ID       ID
	Key      []byte // PKIX DER
	Name     string
	Operator string
	Role     escrow.Role
	Founder  bool // named in genesis
}

// Code is the canonical encoding.
func (a *Account) Code(c *wire.Coder) {
	c.Bytes32(&a.ID)
	c.Blob(&a.Key, 512)
	c.String(&a.Name, build.MaxNameBytes)
	c.String(&a.Operator, build.MaxNameBytes)
	c.U8((*uint8)(&a.Role))
	c.Bool(&a.Founder)
}

// unbonding is stake on its way back to its owner.
type unbonding struct {
	Hold    escrow.TransferID
	Account ID
	Amount  escrow.Credits
	At      int64
}

func (u *unbonding) Code(c *wire.Coder) {
	c.Bytes32((*[32]byte)(&u.Hold))
	c.Bytes32(&u.Account)
	c.I64((*int64)(&u.Amount))
	c.I64(&u.At)
}

// State is the replicated state. It belongs to the FSM; readers get it under
// its lock and must copy what they keep.
type State struct {
	genesis  *Genesis
	cluster  ID
	treasury ID
	members  map[ID]int // coordinator id → position in genesis

	now, wall int64
	index     uint64 // of the last entry applied
	sequence  uint64 // builds submitted so far
	// settlements counts builds settled so far.
	settlements uint64
	accounts    map[ID]*Account
	operators   map[string]*build.Admit
	workers     map[ID]*build.Worker
	ledger      *escrow.Ledger
	builds      map[ID]*build.Build      // live and retained
	pools       map[string]*build.Pool   // made after genesis
	markets     map[string]*build.Market // by pool
	keys        KeyGeneration
	succession  succession
	keyrings    map[ID]*Keyring // of keys that were changed
	requests    map[ID]*request
	unbonds     []unbonding // in order of At
	evidence    logState
	withdrawals withdrawals

	// Derived from the above; rebuilt at restore.
	live       map[ID]*build.Build
	settled    []ID              // retained settled builds, oldest first
	verified   map[ID]ID         // newest retained build with a verified result, by cache key
	poolByID   map[ID]string     // by market id
	keyOwners  map[ID]ID         // account by every key in keyrings
	withdrawn  map[ID]int        // where withdrawals lists a build's, by build
	queues     map[string]*queue // by pool
	roster     []*build.Worker   // all, sorted by id
	deadlines  deadlineQueue
	expiry     deadlineHeap // of requests, by ValidUntil
	requestsBy map[ID]int   // remembered requests, by sender
	// unbondingOf is what of an account's held stake is on its way out.
	unbondingOf map[ID]escrow.Credits
	tree        *stateTree
	hash        ID // the tree's root after the last entry
	touched     map[recordKey]struct{}
	retained    int // settled builds that stay: MaxSettled, but in tests
	verify      verifier
}

// foundState is the state before the first entry of a genesis that is valid.
func foundState(g *Genesis, v verifier) (*State, error) {
	s := emptyState(g, v)
	must(s.ledger.Open(s.treasury, escrow.Treasury, "treasury"))
	for i := range g.Operators {
		admit := g.Operators[i]
		s.operators[admit.Operator] = &admit
	}
	found := func(key []byte, name, operator string, role escrow.Role) error {
		id := build.AccountID(key)
		if out := s.openAccount(id, key, name, operator, role); out.Code != build.Done {
			return build.Failure(out)
		}
		s.accounts[id].Founder = true
		if role == escrow.Admin {
			return nil
		}
		return s.drop(id)
	}
	if err := found(g.AdminKey, "admin", "", escrow.Admin); err != nil {
		return nil, err
	}
	for i := range g.Coordinators {
		m := &g.Coordinators[i]
		if err := found(m.Key, m.Name, m.Operator, escrow.Coordinator); err != nil {
			return nil, err
		}
	}
	for i := range g.Founders {
		if err := found(g.Founders[i].Key, g.Founders[i].Name, s.operatorOf(build.AccountID(g.Founders[i].Key)), g.Founders[i].Role); err != nil {
			return nil, err
		}
	}
	for i := range g.Pools {
		s.markets[g.Pools[i].Name] = build.NewMarket(s.cluster, g.Pools[i].Name)
	}
	s.rebuild()
	return s, nil
}

// drop gives a founding account its equal share.
func (s *State) drop(account ID) error {
	id := s.transferID(account, "drop", account, account)
	if err := s.ledger.Mint(id, account, s.genesis.Drop); err != nil {
		return err
	}
	return s.ledger.Retire(id)
}

func emptyState(g *Genesis, v verifier) *State {
	s := &State{
		genesis: g, cluster: g.Digest(), members: map[ID]int{}, verify: v, retained: MaxSettled,
		accounts: map[ID]*Account{}, operators: map[string]*build.Admit{}, workers: map[ID]*build.Worker{},
		builds: map[ID]*build.Build{}, pools: map[string]*build.Pool{}, markets: map[string]*build.Market{}, requests: map[ID]*request{},
		keyrings: map[ID]*Keyring{}, keyOwners: map[ID]ID{}, touched: map[recordKey]struct{}{},
	}
	s.treasury = wire.NewHasher("treasury").Fixed(s.cluster).Sum()
	s.ledger = escrow.New(s.cluster)
	for i := range g.Coordinators {
		s.members[g.Coordinators[i].ID] = i
	}
	return s
}

// rebuild derives the indexes and the whole state hash.
func (s *State) rebuild() {
	s.poolByID = map[ID]string{}
	for name, m := range s.markets { // order does not matter: the target is a set
		s.poolByID[m.ID] = name
	}
	s.keyOwners = map[ID]ID{}
	for _, k := range s.keyrings { // order does not matter: no key is in two
		s.indexKeys(k)
	}
	s.indexWithdrawals()
	s.roster = sortedValues(s.workers)
	s.unbondingOf = map[ID]escrow.Credits{}
	for i := range s.unbonds {
		s.unbondingOf[s.unbonds[i].Account] += s.unbonds[i].Amount
	}
	s.live, s.queues = map[ID]*build.Build{}, map[string]*queue{}
	s.deadlines = deadlineQueue{}
	for id, b := range s.builds { // order does not matter: the targets are sets, or keep their own order
		if b.State != build.Settled {
			s.live[id] = b
			s.queueOf(b.Terms.Pool).set(b)
			s.deadlines.set(b)
		}
	}
	s.settled, s.verified = nil, map[ID]ID{}
	for _, b := range bySequence(s.builds, func(a, b *build.Build) int { return cmp.Compare(a.SettledOrder, b.SettledOrder) }) {
		if b.State == build.Settled {
			s.settled = append(s.settled, b.ID)
			s.remember(b)
		}
	}
	s.expiry, s.requestsBy = nil, map[ID]int{}
	for key, r := range s.requests { // order does not matter: a heap and counts
		s.indexRequest(key, r)
	}
	s.tree = newStateTree()
	s.touchAll()
	s.rehash()
}

// remember lets a verified result answer later submissions.
func (s *State) remember(b *build.Build) {
	if _, gone := s.Withdrawn(b.ID); b.Verified() && !gone {
		s.verified[build.CacheKey(b.Requester, &b.Terms)] = b.ID
	}
}

// cached is the retained build whose result answers a submission, if there is one.
func (s *State) cached(requester ID, t *build.Terms) (*build.Build, bool) {
	pool, ok := s.Pool(t.Pool)
	if !ok || !t.Cached {
		return nil, false
	}
	b, ok := s.builds[s.verified[build.CacheKey(requester, t)]]
	return b, ok && b.Answers(t, pool.Lane == build.LaneHouse)
}

// transferID names a movement outside builds: subject is the request, or for
// the drop the account.
func (s *State) transferID(subject ID, purpose string, from, to ID) escrow.TransferID {
	return escrow.TransferIDOf(s.cluster, subject, 0, purpose, from, to)
}

// Cluster is the cluster's id: the genesis digest.
func (s *State) Cluster() ID { return s.cluster }

// Genesis is what the cluster started from. It must not be changed.
func (s *State) Genesis() *Genesis { return s.genesis }

// Now is farm time in milliseconds.
func (s *State) Now() int64 { return s.now }

// Treasury is the treasury's account.
func (s *State) Treasury() ID { return s.treasury }

// Ledger is the money. Readers must not change it.
func (s *State) Ledger() *escrow.Ledger { return s.ledger }

// Ready says that key generation is done, so that draws can be made.
func (s *State) Ready() bool { return s.keys.Done }

// Keys is the key generation, done or under way. It must not be changed.
func (s *State) Keys() *KeyGeneration { return &s.keys }

// Account returns a participant.
func (s *State) Account(id ID) (*Account, bool) {
	a, ok := s.accounts[id]
	return a, ok
}

// Accounts returns all participants, sorted by id.
func (s *State) Accounts() []*Account {
	return sortedValues(s.accounts)
}

// Name is an account's name for a person.
func (s *State) Name(id ID) string {
	if a, ok := s.accounts[id]; ok {
		return a.Name
	}
	if id == s.treasury {
		return "treasury"
	}
	if id == (ID{}) {
		return ""
	}
	return "escrow"
}

// Worker returns a registered worker.
func (s *State) Worker(id ID) (*build.Worker, bool) {
	w, ok := s.workers[id]
	return w, ok
}

// Workers returns all registered workers, sorted by id.
func (s *State) Workers() []*build.Worker { return slices.Clone(s.roster) }

// Build returns a live or retained build.
func (s *State) Build(id ID) (*build.Build, bool) {
	b, ok := s.builds[id]
	return b, ok
}

// Builds returns all live and retained builds, newest first.
func (s *State) Builds() []*build.Build {
	return bySequence(s.builds, func(a, b *build.Build) int { return cmp.Compare(b.Sequence, a.Sequence) })
}

// Live returns the builds that have not settled, oldest first.
func (s *State) Live() []*build.Build {
	return bySequence(s.live, func(a, b *build.Build) int { return cmp.Compare(a.Sequence, b.Sequence) })
}

func bySequence(m map[ID]*build.Build, compare func(a, b *build.Build) int) []*build.Build {
	out := make([]*build.Build, 0, len(m))
	for _, b := range m {
		out = append(out, b)
	}
	slices.SortFunc(out, compare)
	return out
}

func sortedValues[V any](m map[ID]*V) []*V {
	out := make([]*V, 0, len(m))
	for _, id := range wire.SortedKeys(m, wire.Compare32) {
		out = append(out, m[id])
	}
	return out
}

// NextDeadline is the farm time at which something will be due; ok is false
// while nothing is pending, and then no ticks are needed.
func (s *State) NextDeadline() (at int64, ok bool) {
	at, ok = s.deadlines.next()
	if len(s.unbonds) > 0 && (!ok || s.unbonds[0].At < at) {
		at, ok = s.unbonds[0].At, true
	}
	if d := s.keys.Deadline; d > 0 && (!ok || d < at) {
		at, ok = d, true
	}
	if k := s.NextKeys(); k != nil && k.Deadline > 0 && (!ok || k.Deadline < at) {
		at, ok = k.Deadline, true
	}
	if d, open := s.epochDeadline(); open && (!ok || d < at) {
		at, ok = d, true
	}
	if m, d := s.nextMarket(); m != nil && (!ok || d < at) {
		at, ok = d, true
	}
	return at, ok
}

// Answered says whether an earlier verified result answers a submission.
func (s *State) Answered(requester ID, t *build.Terms) bool {
	_, hit := s.cached(requester, t)
	return hit
}

// CheckSubmit says what Apply would say of a submission now.
func (s *State) CheckSubmit(requester ID, t *build.Terms) build.Outcome {
	if !s.keys.Done {
		return build.Refuse(build.CodeNotReady, "the coordinators have not generated their key yet: try again in a moment")
	}
	pool, ok := s.Pool(t.Pool)
	if !ok {
		return build.Refuse(build.CodeRefused, "there is no pool %q", t.Pool)
	}
	a, ok := s.accounts[requester]
	if !ok {
		return build.Refuse(build.CodeUnknownAccount, "the requester has no account")
	}
	if pool.Lane == build.LaneHouse && s.operatorOf(requester) == "" && !a.Founder {
		return build.Refuse(build.CodeNotAllowed, "this pool is its owner's own: the admin must list the requester under an operator (gavel account admit)")
	}
	if _, hit := s.cached(requester, t); hit {
		return build.Outcome{}
	}
	if out := s.roomForBuild(); out.Code != build.Done {
		return out
	}
	return build.Acceptable(s.reading(pool), requester, s.operatorOf(requester), t)
}

// roomForBuild refuses one more while too many are under way, or have settled and
// wait for the group's certificate: if the group cannot sign, that must not grow
// beyond what a record holds.
func (s *State) roomForBuild() build.Outcome {
	if n := len(s.live) + len(s.evidence.Waiting); n >= MaxLive {
		return build.Refuse(build.CodeBusy, "%d builds are under way or wait for their certificate: try again later", n)
	}
	return build.Outcome{}
}
