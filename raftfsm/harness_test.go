package raftfsm

import (
	"bytes"
	"cmp"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// cheap stands in for signatures: a hash of key and message. Deals and group
// keys stay real.
type cheap struct{ cryptography }

func cheapSign(key, msg []byte) []byte {
	h := sha256.Sum256(append(append([]byte("cheap"), key...), msg...))
	return h[:]
}

func cheapBeacon(msg []byte) (sig [48]byte) {
	h := sha256.Sum256(msg)
	copy(sig[:], h[:])
	return sig
}

func (cheap) signature(pkix, msg, sig []byte) error {
	if !bytes.Equal(sig, cheapSign(pkix, msg)) {
		return errors.New("bad signature")
	}
	return nil
}

func (cheap) beacon(_ beacon.GroupKey, msg []byte, sig beacon.Signature) error {
	if sig != cheapBeacon(msg) {
		return errors.New("bad beacon")
	}
	return nil
}

func (c cheap) beacons(k beacon.GroupKey, msgs [][]byte, sigs []beacon.Signature) error {
	for i := range msgs {
		if err := c.beacon(k, msgs[i], sigs[i]); err != nil {
			return err
		}
	}
	return nil
}

// seeded is a deterministic source of bytes for key generation.
type seeded struct{ *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.Uint32())
	}
	return len(p), nil
}

// farm is a cluster of replicas in one process, with everybody's keys.
type farm struct {
	t          testing.TB
	rng        *rand.Rand
	genesis    *Genesis
	replicas   []*FSM
	index      uint64
	admin      []byte
	requesters [][]byte
	workers    [][]byte      // keys; each an operator and a machine of its own
	current    map[ID][]byte // keys that have taken another's place, by account
	seals      map[ID]hpke.PrivateKey
	sent       []build.Command
	applied    int
	sign       func(key, msg []byte) []byte
	verify     verifier
	retained   int
	judgedOnce map[ID]bool
	claims     map[ID]build.Claim // of transcripts that were judged
}

// key is the PKIX DER of a participant's Ed25519 key, the same at every run.
func key(kind string, i int) []byte {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s-key-%d", kind, i))
	private := ed25519.NewKeyFromSeed(seed[:])
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	privates.Store(string(der), private)
	return der
}

var privates sync.Map // PKIX DER → ed25519.PrivateKey

func realSign(key, msg []byte) []byte {
	private, _ := privates.Load(string(key))
	return ed25519.Sign(private.(ed25519.PrivateKey), msg)
}

type farmOptions struct {
	lane      build.Lane
	workers   int
	replicas  int
	drop      escrow.Credits
	stake     escrow.Credits
	seed      uint64
	operators int    // 0: one per worker
	buyers    int    // requesters; 0 is 2
	retained  int    // settled builds that stay; 0 is MaxSettled
	real      bool   // real signatures of participants; beacons stay cheap
	slots     uint32 // builds a worker runs at once; 0 is 1
	rules     func(*build.Pool, *build.Params)
}

// halfReal checks participants' signatures for real.
type halfReal struct{ cheap }

func (halfReal) signature(pkix, msg, sig []byte) error {
	return cryptography{}.signature(pkix, msg, sig)
}

func newFarm(t testing.TB, o farmOptions) *farm {
	t.Helper()
	f := &farm{t: t, current: map[ID][]byte{}, rng: rand.New(rand.NewPCG(o.seed, 1)), admin: key("admin", 0), sign: cheapSign, verify: cheap{}, retained: cmp.Or(o.retained, MaxSettled), judgedOnce: map[ID]bool{}, claims: map[ID]build.Claim{}}
	if o.real {
		f.sign, f.verify = realSign, halfReal{}
	}
	g := &Genesis{
		Name: "test", Currency: "credits", Params: build.DefaultParams(), Drop: o.drop,
		Pools:    []build.Pool{{Name: "pool", Lane: o.lane, Domain: build.DomainOperator}},
		AdminKey: f.admin, ClusterKey: key("cluster", 0),
	}
	switch o.lane {
	case build.LaneHouse:
		g.Pools[0].Domain = build.DomainMachine
	case build.LaneBatch:
		g.Pools[0].Batch = build.BatchRules{EpochMillis: 10_000, Reserve: 10_000_000, Pricing: auction.PricingVCG}
	case build.LaneLease:
		g.Pools[0].Lease = build.LeaseRules{PeriodMillis: 60_000, OpeningMillis: 10_000, EndingMillis: 10_000, Samples: 10, Slots: 5, Reserve: 1_000_000}
	case build.LaneLottery:
		g.Pools[0].Lottery = build.LotteryRules{Price: 500_000, Rule: auction.TicketAllPay, Lookahead: 2, SlotMillis: 5_000}
	}
	if o.rules != nil {
		o.rules(&g.Pools[0], &g.Params)
	}
	seals := map[ID]hpke.PrivateKey{}
	for i := range 3 {
		k := key("coordinator", i)
		seed := sha256.Sum256(k)
		priv, err := ecdh.X25519().NewPrivateKey(seed[:])
		check(t, err)
		sealed, err := hpke.NewDHKEMPrivateKey(priv)
		check(t, err)
		seals[build.AccountID(k)] = sealed
		g.Coordinators = append(g.Coordinators, build.Coordinator{
			ID: build.AccountID(k), Name: fmt.Sprintf("coordinator-%d", i+1), Operator: fmt.Sprintf("c%d", i+1),
			Key: k, SealKey: priv.PublicKey().Bytes(),
		})
	}
	slices.SortFunc(g.Coordinators, func(a, b build.Coordinator) int { return wire.Compare32(a.ID, b.ID) })
	for i := range cmp.Or(o.buyers, 2) {
		f.requesters = append(f.requesters, key("requester", i))
		g.Founders = append(g.Founders, Founder{f.requesters[i], fmt.Sprintf("requester-%d", i+1), escrow.Requester})
	}
	for i := range o.workers {
		f.workers = append(f.workers, key("worker", i))
		g.Founders = append(g.Founders, Founder{f.workers[i], fmt.Sprintf("worker-%d", i+1), escrow.Worker})
		operator := fmt.Sprintf("op-%03d", i)
		if o.operators > 0 {
			operator = fmt.Sprintf("op-%03d", i%o.operators)
		}
		at := slices.IndexFunc(g.Operators, func(a build.Admit) bool { return a.Operator == operator })
		if at < 0 {
			g.Operators = append(g.Operators, build.Admit{Operator: operator})
			at = len(g.Operators) - 1
		}
		g.Operators[at].Members = append(g.Operators[at].Members, build.Member{Account: build.AccountID(f.workers[i]), Machine: fmt.Sprintf("m-%03d", i)})
		g.Operators[at].SortMembers()
	}
	slices.SortFunc(g.Operators, func(a, b build.Admit) int { return cmp.Compare(a.Operator, b.Operator) })
	d := g.Digest()
	g.Signature = cheapSign(f.admin, d[:])
	// Validate's own check of the admin's signature is the real one; the state
	// machine's is put aside for these keys.
	f.genesis = g
	for range o.replicas {
		f.replicas = append(f.replicas, f.startReplica())
	}
	f.seals = seals
	f.generateKeys()
	for i, k := range f.workers {
		operator := fmt.Sprintf("op-%03d", i)
		if o.operators > 0 {
			operator = fmt.Sprintf("op-%03d", i%o.operators)
		}
		f.must(f.command(k, build.TypeRegister, &build.Register{
			Key: k, Name: fmt.Sprintf("worker-%d", i+1), Pool: "pool", Operator: operator, Machine: fmt.Sprintf("m-%03d", i),
			Class: "linux/amd64", Platforms: []string{"host"}, Slots: cmp.Or(o.slots, 1), Stake: o.stake,
		}))
	}
	return f
}

func (f *farm) startReplica() *FSM {
	f.t.Helper()
	s, err := foundState(f.genesis, f.verify)
	check(f.t, err)
	s.retained = f.retained
	return &FSM{genesis: f.genesis, state: s, changed: make(chan struct{}), observe: f.judged}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *farm) state() *State { return f.replicas[0].state }

// command signs a command that is valid for a minute of farm time.
func (f *farm) command(key []byte, t build.Type, payload wire.Record) build.Command {
	m := build.Command{Version: build.Version, Type: t, Sender: build.AccountID(key), Payload: wire.Encode(payload)}
	if !t.Signed() {
		m.Sender = ID{}
		return m
	}
	m.ValidUntilMillis = f.state().Now() + 60_000
	seeded{f.rng}.Read(m.Request[:])
	m.Signature = f.sign(f.keyOf(key), m.SigningBytes(f.state().Cluster()))
	return m
}

// keyOf is the key that now signs for the account of a first key.
func (f *farm) keyOf(first []byte) []byte {
	if k := f.current[build.AccountID(first)]; k != nil {
		return k
	}
	return first
}

// send applies one entry to every replica and holds their answers together.
func (f *farm) send(commands ...build.Command) []build.Outcome {
	f.t.Helper()
	f.index++
	raw := wire.Encode(&build.Batch{Commands: commands})
	var first []build.Outcome
	for i, r := range f.replicas {
		out := r.Apply(f.index, raw)
		if i == 0 {
			first = out
		} else if !slices.Equal(first, out) {
			f.t.Fatalf("entry %d: replica %d answers %v, replica 0 %v", f.index, i, out, first)
		}
	}
	f.applied += len(commands)
	return first
}

// must sends one command and wants it done.
func (f *farm) must(m build.Command) ID {
	f.t.Helper()
	out := f.send(m)[0]
	if out.Code != build.Done {
		f.t.Fatalf("%v: code %d: %s", m.Type, out.Code, out.Detail)
	}
	return out.Subject
}

// refused sends one command and wants it refused with code.
func (f *farm) refused(code build.Code, m build.Command) string {
	f.t.Helper()
	out := f.send(m)[0]
	if out.Code != code {
		f.t.Fatalf("%v: code %d (%s), want %d", m.Type, out.Code, out.Detail, code)
	}
	return out.Detail
}

// tick advances farm time.
func (f *farm) tick(millis int64) {
	f.t.Helper()
	for millis > 0 {
		step := min(millis, maxElapsedMillis)
		f.must(build.Command{Version: build.Version, Type: build.TypeTick, Payload: wire.Encode(&build.Tick{ElapsedMillis: step})})
		millis -= step
	}
}

// same holds all replicas' hashes together and the ledger to its invariants.
func (f *farm) same() {
	f.t.Helper()
	_, want := f.replicas[0].Applied()
	for i, r := range f.replicas {
		if _, h := r.Applied(); h != want {
			f.t.Fatalf("entry %d: replica %d has state hash %x, replica 0 %x", f.index, i, h, want)
		}
		check(f.t, r.state.ledger.Check())
		check(f.t, queuesTrue(r.state))
	}
}

// snapshotRestore replaces a replica by one restored from its snapshot.
func (f *farm) snapshotRestore(i int) {
	f.t.Helper()
	_, snap := f.replicas[i].Snapshot()
	fresh := f.startReplica()
	check(f.t, fresh.Restore(bytes.NewReader(snap)))
	f.replicas[i] = fresh
}

// terms are a plain build's.
func (f *farm) terms(lane build.Lane) build.Terms {
	t := build.Terms{
		Pool: "pool", ActionBytes: 100, Platform: "host", TimeoutMillis: 600_000, Validators: 2, SamplePPM: 1_000_000,
		DeadlineMillis: f.state().Now() + 3_600_000,
	}
	f.rng.Uint64()
	seeded{f.rng}.Read(t.ActionDigest[:])
	if lane != build.LaneHouse {
		if lane != build.LaneLottery {
			t.Reserve = 10_000_000
		}
		t.Value = auction.Constant(t.Reserve)
		t.Budget = t.MinBudget(&f.genesis.Params)
	}
	return t
}

func (f *farm) submit(requester int, t build.Terms) ID {
	f.t.Helper()
	return f.must(f.command(f.requesters[requester], build.TypeSubmit, &build.Submit{Terms: t}))
}

func (f *farm) build(id ID) *build.Build {
	f.t.Helper()
	b, ok := f.state().Build(id)
	if !ok {
		f.t.Fatalf("build %x is gone", id[:4])
	}
	return b
}

// duties does what honest coordinators do until nothing is asked of them.
func (f *farm) duties() {
	f.t.Helper()
	for {
		cmds := f.coordinatorCommands()
		if len(cmds) == 0 {
			return
		}
		for _, m := range cmds {
			f.must(m)
		}
	}
}

// coordinatorCommands are the draws and acts that the state asks for.
func (f *farm) coordinatorCommands() []build.Command {
	s := f.state()
	var out []build.Command
	for _, d := range s.Demands() {
		out = append(out, f.command(nil, build.TypeBeacon, &build.Beacon{
			Purpose: d.Purpose, Build: d.Build, Round: d.Round, Signature: cheapBeacon(d.Message(s.Cluster())),
		}))
	}
	for i := range f.genesis.Coordinators {
		m := &f.genesis.Coordinators[i]
		for _, a := range s.AuctioneerDuties(m.ID) {
			out = append(out, f.command(m.Key, build.TypeAuctioneer, &a))
		}
		if duty := s.NextKeyDuty(m.ID); duty.Deal {
			out = append(out, f.dealing(i))
		} else if duty.Check {
			out = append(out, f.answer(i))
		}
	}
	return out
}

// lodged is an opening "sealed" for the test's coordinators: in the clear.
func lodged(o *build.Opening) []byte {
	raw := wire.Encode(o)
	return wire.Encode(&build.Lodgement{Sealed: [][]byte{raw, raw, raw}})
}

// result is the opening of a made-up result.
func result(content string, status build.Status) build.Opening {
	m := build.Manifest{Status: status}
	if !status.ResourceLimit() {
		m.Outputs = []build.Output{{Path: "out", Type: build.OutputFile, Digest: sha256.Sum256([]byte(content)), Size: 10}}
	}
	return build.Opening{Summary: m.Summarise()}
}

// commitCommand commits worker w to a result.
func (f *farm) commitCommand(w int, b, lease ID, o build.Opening) build.Command {
	seeded{f.rng}.Read(o.Nonce[:])
	id := build.AccountID(f.workers[w])
	return f.command(f.workers[w], build.TypeCommit, &build.Commit{
		Build: b, Lease: lease, Lodged: lodged(&o),
		Commitment: o.Commitment(f.state().Cluster(), id, b),
	})
}

// open proposes every opening that may be made now.
func (f *farm) open() {
	f.t.Helper()
	for _, d := range f.state().Openings() {
		f.must(f.openCommand(d))
	}
}

func (f *farm) openCommand(d OpeningDuty) build.Command {
	var l build.Lodgement
	check(f.t, wire.Decode(d.Lodged, &l))
	var o build.Opening
	check(f.t, wire.Decode(l.Sealed[0], &o))
	return f.command(nil, build.TypeOpening, &build.OpeningOf{Build: d.Build, Lease: d.Lease, Opening: o})
}

// vouch signs for a lease with n coordinators.
func (f *farm) vouch(t build.Type, b, lease, digest ID, n int) build.Command {
	v := build.Vouched{Build: b, Lease: lease, Digest: digest}
	msg := build.VouchBytes(t, f.state().Cluster(), b, lease, digest)
	for i := range f.genesis.Coordinators[:n] {
		m := &f.genesis.Coordinators[i]
		v.Vouches = append(v.Vouches, build.Vouch{Coordinator: m.ID, Signature: f.sign(m.Key, msg)})
	}
	return f.command(nil, t, &v)
}

// workerIndex finds a worker by account.
func (f *farm) workerIndex(id ID) int {
	return slices.IndexFunc(f.workers, func(k []byte) bool { return build.AccountID(k) == id })
}

// balance is available + held + stake of an account.
func (f *farm) balance(id ID) escrow.Credits {
	a, ok := f.state().Ledger().Account(id)
	if !ok {
		f.t.Fatalf("no account %x", id[:4])
	}
	return a.Available + a.Held + a.Stake
}
