package audittest

import (
	"cmp"
	"crypto/hpke"
	"fmt"
	"math/rand/v2"
	"slices"

	"gavel/raftfsm"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Options size a world.
type Options struct {
	Builds int    // at least as many are submitted and settled; 0 is one of each kind
	Seed   uint64 // of what is left to chance
	Live   int    // builds under way at once; 0 is 24
	Keys   bool   // keys are revoked and replaced on the way, the cluster's too
}

// Proposed is one Raft entry as it was proposed.
type Proposed struct {
	Index uint64
	Data  []byte // canonical build.Batch
}

// World is a market that has run, with everybody's keys and all that it left.
type World struct {
	Genesis *raftfsm.Genesis
	Cluster raftfsm.ID
	// ClusterKey, Coordinators (as genesis sorts them), Admin, Requesters: who signs what.
	ClusterKey   *Party
	Admin        *Party
	Coordinators []*Party
	Requesters   []*Party
	// Entries are the log of Raft, Applied what each of them left.
	Entries []Proposed
	Applied []raftfsm.Applied
	// Manifests are results in full, by SHA-256 of their bytes.
	Manifests map[raftfsm.ID]*build.Manifest
	// Ends counts settled builds by lane and verdict.
	Ends map[build.Lane]map[build.State]int

	workers []*worker
	// clusterKeys are all that the cluster ever had, by their PKIX DER.
	clusterKeys map[string]*Party
	changesKeys bool
	byID        map[raftfsm.ID]*Party
	seals       map[raftfsm.ID]hpke.PrivateKey
	group       beacon.Share
	rng         *rand.Rand
	replay      *raftfsm.Replay
	clock       int64                // wall milliseconds
	plans       map[raftfsm.ID]*plan // of builds that have not settled
	orders      map[raftfsm.ID]int   // of submission, by build
	nonces      map[raftfsm.ID]build.Reveal
}

const credit = escrow.One

// The pools of a world: all but house share the first one's workers.
const (
	poolSpot    = "spot"
	poolBatch   = "batch"
	poolMetered = "metered"
	poolLease   = "lease"
	poolLottery = "lottery"
	poolHouse   = "house"
)

func pools() []build.Pool {
	all := []build.Pool{
		{Name: poolSpot, Lane: build.LaneSpot, Domain: build.DomainOperator},
		{Name: poolHouse, Lane: build.LaneHouse, Domain: build.DomainMachine},
		{Name: poolBatch, Lane: build.LaneBatch, Domain: build.DomainOperator, Shares: poolSpot,
			Batch: build.BatchRules{EpochMillis: 3_000, Reserve: 10 * credit, Pricing: auction.PricingVCG}},
		{Name: poolMetered, Lane: build.LaneBatch, Domain: build.DomainOperator, Shares: poolSpot,
			Batch: build.BatchRules{EpochMillis: 4_000, Reserve: credit / 10, Pricing: auction.PricingUniform, Metered: true}},
		{Name: poolLease, Lane: build.LaneLease, Domain: build.DomainOperator, Shares: poolSpot,
			Lease: build.LeaseRules{PeriodMillis: 5_000, OpeningMillis: 1_000, EndingMillis: 2_000, Samples: 7, Slots: 5, Reserve: credit / 2}},
		{Name: poolLottery, Lane: build.LaneLottery, Domain: build.DomainOperator, Shares: poolSpot,
			Lottery: build.LotteryRules{Price: credit / 2, Rule: auction.TicketWinnerPays, Lookahead: 2, SlotMillis: 1_000}},
	}
	slices.SortFunc(all, func(a, b build.Pool) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// New runs a market until every build of it has settled and been certified, and
// its last epoch has ended.
func New(o Options) (*World, error) {
	w := &World{
		ClusterKey: newParty("cluster"), Admin: newParty("admin"), Coordinators: parties("coordinator", 3), Requesters: parties("requester", 3),
		Manifests: map[raftfsm.ID]*build.Manifest{}, Ends: map[build.Lane]map[build.State]int{},
		byID: map[raftfsm.ID]*Party{}, seals: map[raftfsm.ID]hpke.PrivateKey{}, rng: rand.New(rand.NewPCG(o.Seed, 5)),
		plans: map[raftfsm.ID]*plan{}, orders: map[raftfsm.ID]int{}, nonces: map[raftfsm.ID]build.Reveal{}, clock: 1_790_000_000_000,
	}
	w.clusterKeys, w.changesKeys = map[string]*Party{string(w.ClusterKey.PKIX): w.ClusterKey}, o.Keys
	if err := w.found(); err != nil {
		return nil, fmt.Errorf("founding a world: %w", err)
	}
	if err := w.generateKeys(); err != nil {
		return nil, fmt.Errorf("generating a world's keys: %w", err)
	}
	if err := w.run(max(o.Builds, len(kinds)), cmp.Or(o.Live, 24)); err != nil {
		return nil, fmt.Errorf("running a world: %w", err)
	}
	return w, nil
}

// found makes the genesis and starts the state machine from it.
func (w *World) found() error {
	g := &raftfsm.Genesis{
		Name: "audited", CreatedWallMillis: w.clock, Currency: "credits", Simulated: true, Params: build.DefaultParams(), Pools: pools(),
		AdminKey: w.Admin.PKIX, ClusterKey: w.ClusterKey.PKIX, Drop: 1_000_000 * credit,
	}
	g.Params.RevealMillis, g.Params.UnbondMillis, g.Params.Treasury = 2_000, 20_000, build.TreasurySmooth
	slices.SortFunc(w.Coordinators, func(a, b *Party) int { return wire.Compare32(a.ID, b.ID) })
	for i, p := range w.Coordinators {
		key, public, err := sealKey(p)
		if err != nil {
			return err
		}
		w.seals[p.ID] = key
		g.Coordinators = append(g.Coordinators, build.Coordinator{ID: p.ID, Name: p.Name, Operator: fmt.Sprintf("coordinating-%d", i+1), Key: p.PKIX, SealKey: public})
	}
	for _, p := range w.Requesters {
		g.Founders = append(g.Founders, raftfsm.Founder{Key: p.PKIX, Name: p.Name, Role: escrow.Requester})
	}
	for i := range 12 {
		p := newParty(fmt.Sprintf("worker-%02d", i+1))
		w.workers = append(w.workers, &worker{Party: p, pool: poolSpot, operator: fmt.Sprintf("operator-%02d", i+1), machine: "machine-" + p.Name, class: "linux/amd64/v3", stake: int64(20_000 * credit)})
	}
	for i := range 4 {
		p := newParty(fmt.Sprintf("house-%d", i+1))
		w.workers = append(w.workers, &worker{Party: p, pool: poolHouse, operator: "house", machine: "machine-" + p.Name, class: "linux/amd64/v3"})
	}
	for _, k := range w.workers {
		g.Founders = append(g.Founders, raftfsm.Founder{Key: k.PKIX, Name: k.Name, Role: escrow.Worker})
		at := slices.IndexFunc(g.Operators, func(a build.Admit) bool { return a.Operator == k.operator })
		if at < 0 {
			g.Operators = append(g.Operators, build.Admit{Operator: k.operator})
			at = len(g.Operators) - 1
		}
		g.Operators[at].Members = append(g.Operators[at].Members, build.Member{Account: k.ID, Machine: k.machine})
		g.Operators[at].SortMembers()
		w.byID[k.ID] = k.Party
	}
	slices.SortFunc(g.Operators, func(a, b build.Admit) int { return cmp.Compare(a.Operator, b.Operator) })
	for _, p := range append(append([]*Party{w.Admin}, w.Coordinators...), w.Requesters...) {
		w.byID[p.ID] = p
	}
	if err := g.Sign(w.Admin.Sign); err != nil {
		return err
	}
	replay, err := raftfsm.NewReplay(g)
	if err != nil {
		return err
	}
	w.Genesis, w.Cluster, w.replay = g, g.Digest(), replay
	return nil
}

func (w *World) state() *raftfsm.State { return w.replay.State() }

// command is signed by its sender and valid for a minute of farm time.
func (w *World) command(by *Party, t build.Type, payload wire.Record) build.Command {
	m := build.Command{Version: build.Version, Type: t, Payload: wire.Encode(payload)}
	if by == nil {
		return m
	}
	m.Sender, m.ValidUntilMillis = by.ID, w.state().Now()+60_000
	_, _ = seeded{w.rng}.Read(m.Request[:]) // never fails
	m.Signature = by.sign(m.SigningBytes(w.Cluster))
	return m
}

// send applies one entry.
func (w *World) send(commands ...build.Command) []build.Outcome {
	return w.sendRaw(wire.Encode(&build.Batch{Commands: commands}))
}

func (w *World) sendRaw(data []byte) []build.Outcome { return w.apply(data, w.replay.Apply) }

// sendChecked applies an entry in which a signature of the beacon may be forged.
func (w *World) sendChecked(commands ...build.Command) []build.Outcome {
	return w.apply(wire.Encode(&build.Batch{Commands: commands}), w.replay.ApplyChecked)
}

func (w *World) apply(data []byte, apply func(uint64, []byte) raftfsm.Applied) []build.Outcome {
	// Raft's own entries take an index now and then: indexes have gaps.
	index := uint64(1)
	if n := len(w.Entries); n > 0 {
		index = w.Entries[n-1].Index + 1
		if n%50 == 0 {
			index++
		}
	}
	out := apply(index, data)
	w.Entries = append(w.Entries, Proposed{index, data})
	w.Applied = append(w.Applied, out)
	return out.Outcomes
}

// tick advances farm time.
func (w *World) tick(millis int64) {
	w.clock += millis
	w.send(w.command(nil, build.TypeTick, &build.Tick{ElapsedMillis: millis, WallMillis: w.clock}))
}

// GroupKey is the beacon's public key.
func (w *World) GroupKey() beacon.GroupKey { return w.state().Keys().Group.Key }

// Key is the public key of a participant, PKIX DER; nil for nobody.
func (w *World) Key(id raftfsm.ID) []byte {
	if p := w.byID[id]; p != nil {
		return p.PKIX
	}
	return nil
}
