package duty

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gavel/api/seal"
	"gavel/coordinator/consensus"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// What the node of a farm is made of fits together.
var _ Proposer = (*consensus.Node)(nil)

// signer is a party's Ed25519 key.
type signer struct {
	key  ed25519.PrivateKey
	pkix []byte
	id   ID
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, pkix, build.AccountID(pkix)}
}

func (s *signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// member is a coordinator of the bench.
type member struct {
	*signer
	bench   *bench
	index   int
	seal    *seal.PrivateKey
	dir     string
	fsm     *raftfsm.FSM
	archive *Archive
	duties  *Duties
	stop    func()
}

// bench is a cluster of coordinators in one process: real state machines behind
// one shared log in place of Raft, and direct calls in place of the network.
type bench struct {
	t       *testing.T
	genesis *raftfsm.Genesis
	members []*member
	worker  []*signer
	asker   *signer
	admin   *signer
	store   fakeStore
	nonce   ID // what openings are lodged with instead of their own, if set

	mu      sync.Mutex
	index   uint64
	leader  int
	counts  map[build.Type]int // commands proposed
	refused []string
	silent  map[int]bool // members that peers cannot reach
	liars   map[int]bool // members whose vouches are signed over something else
	forge   func(from int, p beacon.Partial) beacon.Partial
}

// newBench makes a cluster with a house pool of machines.
func newBench(t *testing.T, coordinators, machines int) *bench {
	b := &bench{t: t, counts: map[build.Type]int{}, silent: map[int]bool{}, liars: map[int]bool{}, asker: newSigner(t), admin: newSigner(t)}
	admin := b.admin
	for range coordinators {
		key, err := seal.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		b.members = append(b.members, &member{signer: newSigner(t), bench: b, seal: key, dir: t.TempDir()})
	}
	slices.SortFunc(b.members, func(x, y *member) int { return wire.Compare32(x.id, y.id) })
	g := &raftfsm.Genesis{
		Name: "bench", Currency: "credits", Simulated: true, Params: build.DefaultParams(), AdminKey: admin.pkix, ClusterKey: newSigner(t).pkix,
		Pools:     []build.Pool{{Name: "pool", Lane: build.LaneHouse, Domain: build.DomainMachine}},
		Founders:  []raftfsm.Founder{{Key: b.asker.pkix, Name: "asker", Role: escrow.Requester}},
		Operators: []build.Admit{{Operator: "house"}},
	}
	for i, m := range b.members {
		m.index = i
		public := m.seal.Public()
		g.Coordinators = append(g.Coordinators, build.Coordinator{ID: m.id, Name: fmt.Sprint("c", i+1), Operator: "house", Key: m.pkix, SealKey: public[:]})
	}
	for i := range machines {
		b.worker = append(b.worker, newSigner(t))
		g.Operators[0].Members = append(g.Operators[0].Members, build.Member{Account: build.AccountID(b.worker[i].pkix), Machine: fmt.Sprint("m", i)})
		g.Operators[0].SortMembers()
	}
	if err := g.Sign(admin.Sign); err != nil {
		t.Fatal(err)
	}
	b.genesis = g
	for _, m := range b.members {
		fsm, err := raftfsm.New(g)
		if err != nil {
			t.Fatal(err)
		}
		m.fsm = fsm
	}
	return b
}

// start begins a member's duties, as after a start of its process.
func (m *member) start() {
	m.bench.t.Helper()
	var err error
	m.duties, err = New(Config{
		Genesis: m.bench.genesis, Self: m.id, Dir: m.dir, SealKey: m.seal, Source: NewSource(m.fsm, m.id),
		Propose: m, Peers: m, Sign: m, Store: &m.bench.store, Archive: m.archive, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.bench.t.Fatal(err)
	}
	m.stop = run(m.duties)
}

func run(d *Duties) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

func (b *bench) start() (stop func()) {
	for _, m := range b.members {
		m.start()
	}
	return func() {
		for _, m := range b.members {
			m.stop()
		}
	}
}

// Propose applies to every state machine, as a log that is never behind.
func (m *member) Propose(ctx context.Context, commands []build.Command) ([]build.Outcome, uint64, error) {
	return m.bench.apply(commands)
}

func (b *bench) apply(commands []build.Command) ([]build.Outcome, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.index++
	data := wire.Encode(&build.Batch{Commands: commands})
	var out []build.Outcome
	for _, m := range b.members {
		out = m.fsm.Apply(b.index, data)
	}
	for i := range commands {
		b.counts[commands[i].Type]++
		if out[i].Code != build.Done {
			b.refused = append(b.refused, fmt.Sprintf("%v: %s", commands[i].Type, out[i].Detail))
		}
	}
	return out, b.index, nil
}

func (m *member) Leads() bool {
	m.bench.mu.Lock()
	defer m.bench.mu.Unlock()
	return m.bench.leader == m.index
}

func (m *member) peer(to ID) (*member, error) {
	m.bench.mu.Lock()
	defer m.bench.mu.Unlock()
	for _, p := range m.bench.members {
		if p.id == to {
			if m.bench.silent[p.index] || m.bench.silent[m.index] || p.duties == nil {
				return nil, errors.New("unreachable")
			}
			return p, nil
		}
	}
	return nil, errors.New("nobody")
}

func (m *member) Partial(_ context.Context, to ID, d raftfsm.Demand, p beacon.Partial) error {
	peer, err := m.peer(to)
	if err != nil {
		return err
	}
	m.bench.mu.Lock()
	forge := m.bench.forge
	m.bench.mu.Unlock()
	if forge != nil {
		p = forge(m.index, p)
	}
	return peer.duties.TakePartial(m.id, d, p)
}

func (m *member) Vouch(ctx context.Context, to ID, kind build.Type, buildID, lease ID) ([]byte, error) {
	peer, err := m.peer(to)
	if err != nil {
		return nil, err
	}
	m.bench.mu.Lock()
	lies := m.bench.liars[peer.index]
	m.bench.mu.Unlock()
	if lies {
		return peer.Sign([]byte("something else"))
	}
	if kind == build.TypeMismatch {
		return peer.duties.VouchMismatch(ctx, buildID, lease)
	}
	return peer.duties.VouchStored(ctx, buildID, lease)
}

// fakeStore says of whose attempts it holds the outputs.
type fakeStore struct {
	mu   sync.Mutex
	held map[ID]bool // by lease
}

func (s *fakeStore) Stored(_ context.Context, b *build.Build, attempt int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held[b.Attempts[attempt].Lease(b.ID)] {
		return errors.New("manifest is missing")
	}
	return nil
}

func (s *fakeStore) put(lease ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[ID]bool{}
	}
	s.held[lease] = true
}

// send has a signed command decided and wants it done.
func (b *bench) send(from *signer, t build.Type, payload wire.Record) build.Outcome {
	b.t.Helper()
	c := build.Command{Version: build.Version, Type: t, Sender: from.id, Payload: wire.Encode(payload), ValidUntilMillis: 60_000}
	b.read(func(s *raftfsm.State) { c.ValidUntilMillis += s.Now() })
	if _, err := rand.Read(c.Request[:]); err != nil {
		b.t.Fatal(err)
	}
	c.Signature, _ = from.Sign(c.SigningBytes(b.genesis.Digest()))
	out, _, _ := b.apply([]build.Command{c})
	if out[0].Code != build.Done {
		b.t.Fatalf("%v: %s", t, out[0].Detail)
	}
	return out[0]
}

func (b *bench) tick(millis int64) {
	if _, _, err := b.apply([]build.Command{{Version: build.Version, Type: build.TypeTick, Payload: wire.Encode(&build.Tick{ElapsedMillis: millis})}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(fn func(s *raftfsm.State)) { b.members[0].fsm.Read(fn) }

func (b *bench) ready() (ok bool) {
	b.read(func(s *raftfsm.State) { ok = s.Ready() })
	return ok
}

func (b *bench) count(t build.Type) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[t]
}

// build returns a copy of a build's record.
func (b *bench) build(id ID) *build.Build {
	b.t.Helper()
	out, ok := NewSource(b.members[0].fsm, ID{}).Build(id)
	if !ok {
		b.t.Fatal("no such build")
	}
	return out
}

// settle lets everything that needs no time of its own come to rest.
func settle() { synctest.Wait() }

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
