package raftfsm

import (
	"cmp"
	"fmt"
	"slices"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// MaxPools bounds pools: each has its own queue, market and price index.
const MaxPools = 64

// Pool returns a pool of the genesis, or one made since.
func (s *State) Pool(name string) (*build.Pool, bool) {
	if p, ok := s.genesis.pool(name); ok {
		return p, true
	}
	p, ok := s.pools[name]
	return p, ok
}

// Pools returns all pools, sorted by name.
func (s *State) Pools() []*build.Pool {
	var out []*build.Pool
	for _, name := range wire.SortedKeys(s.markets, cmp.Compare[string]) {
		p, _ := s.Pool(name)
		out = append(out, p)
	}
	return out
}

// Market returns a pool's market. It must not be changed.
func (s *State) Market(pool string) (*build.Market, bool) {
	m, ok := s.markets[pool]
	return m, ok
}

// marketPool is the pool whose market has an id.
func (s *State) marketPool(id ID) (string, bool) {
	name, ok := s.poolByID[id]
	return name, ok
}

// makePool adds a pool, by the admin's word.
func (s *State) makePool(m *build.MakePool) build.Outcome {
	p := &m.Pool
	if _, ok := s.Pool(p.Name); ok {
		return build.Refuse(build.CodeExists, "there is a pool %q already: its rules cannot change", p.Name)
	}
	if err := checkPool(p, s.Pool); err != nil {
		return build.Refuse(build.CodeRefused, "%v", err)
	}
	if len(s.markets) >= MaxPools {
		return build.Refuse(build.CodeBusy, "there are %d pools, no more are taken", MaxPools)
	}
	k := build.NewMarket(s.cluster, p.Name)
	s.pools[p.Name], s.markets[p.Name], s.poolByID[k.ID] = p, k, p.Name
	s.touch(kindPool, k.ID)
	s.touch(kindMarket, k.ID)
	return build.Outcome{Subject: k.ID}
}

// checkPool holds a pool to its form, and to the pool whose workers it shares.
func checkPool(p *build.Pool, known func(name string) (*build.Pool, bool)) error {
	if !ValidName(p.Name) || !slices.IsSorted(p.Operators) || len(slices.Compact(slices.Clone(p.Operators))) != len(p.Operators) {
		return fmt.Errorf("pool %q needs a name of 1 to 64 letters, digits, '.', '_' and '-', and its operators sorted, none twice", p.Name)
	}
	if err := p.Validate(); err != nil || p.Shares == "" {
		return err
	}
	shared, ok := known(p.Shares)
	switch {
	case !ok:
		return fmt.Errorf("there is no pool %q whose workers %q could share", p.Shares, p.Name)
	case shared.Shares != "":
		return fmt.Errorf("pool %q has no workers of its own: share those of %q", p.Shares, shared.Shares)
	case (shared.Lane == build.LaneHouse) != (p.Lane == build.LaneHouse):
		return fmt.Errorf("pools %q and %q cannot share workers: those of a house pool have no stake and serve no other lane", p.Name, p.Shares)
	}
	return nil
}

// onMarket runs a transition on a pool's market.
func (s *State) onMarket(name string, transition func(*build.Env, *build.Market) build.Outcome) build.Outcome {
	pool, ok := s.Pool(name)
	if !ok {
		return build.Refuse(build.CodeRefused, "there is no pool %q (gavel pool list shows them)", name)
	}
	e, done := s.env(pool)
	out := transition(e, e.Market)
	if out.Code == build.Done {
		e.Touch()
	}
	done()
	return out
}

// applyBuyer carries out what a requester buys ahead of time.
func (s *State) applyBuyer(m *build.Command) build.Outcome {
	if a := s.accounts[m.Sender]; a.Role != escrow.Requester {
		return build.Refuse(build.CodeNotAllowed, "only a requester may do this, and %q is %v", a.Name, a.Role)
	}
	if m.Type == build.TypeLeaseBid {
		return decoded(m, func(p *build.LeaseBid) build.Outcome {
			return s.onMarket(p.Pool, func(e *build.Env, k *build.Market) build.Outcome { return k.BidLease(e, m.Sender, p) })
		})
	}
	return decoded(m, func(p *build.BuyTickets) build.Outcome {
		return s.onMarket(p.Pool, func(e *build.Env, k *build.Market) build.Outcome { return k.Buy(e, m.Sender, p) })
	})
}

// nextMarket is the market with the earliest deadline, ties by name.
func (s *State) nextMarket() (next *build.Market, at int64) {
	for _, name := range wire.SortedKeys(s.markets, cmp.Compare[string]) {
		if t, ok := s.markets[name].NextDeadline(); ok && (next == nil || t < at) {
			next, at = s.markets[name], t
		}
	}
	return next, at
}

// expireMarkets does all that has become due in markets.
func (s *State) expireMarkets() {
	for {
		k, at := s.nextMarket()
		if k == nil || at > s.now {
			return
		}
		pool, _ := s.Pool(k.Pool)
		e, done := s.env(pool)
		k.Expire(e)
		e.Touch()
		done()
	}
}

// reading is what a question about a pool's builds may know.
func (s *State) reading(pool *build.Pool) *build.Env {
	e, _ := s.env(pool)
	e.Worker = func(id ID) *build.Worker { return s.workers[id] }
	e.Touch, e.TouchPart = func() {}, func(build.Part, ID) {}
	return e
}

// env is what a transition in pool may know. When it is over done must be
// called: it keeps the indexes of other builds that it changed true.
func (s *State) env(pool *build.Pool) (e *build.Env, done func()) {
	k := s.markets[pool.Name]
	var others []*build.Build // got to be changed, each once
	known := map[ID]bool{}
	e = &build.Env{
		Cluster: s.cluster, Now: s.now, Params: &s.genesis.Params, Pool: pool, Ledger: s.ledger,
		Treasury: s.treasury, Coordinators: s.genesis.Coordinators, Market: k,
		Touch:     func() { s.touch(kindMarket, k.ID) },
		TouchPart: func(part build.Part, name ID) { s.touched[recordKey{kindMarket, k.ID, part, name}] = struct{}{} },
		Peek:      func(id ID) *build.Worker { return s.workers[id] },
		Worker: func(id ID) *build.Worker {
			w := s.workers[id]
			if w != nil {
				s.touch(kindWorker, id)
			}
			return w
		},
		Workers: func() []*build.Worker {
			var out []*build.Worker
			for _, w := range s.roster {
				if w.In(pool) {
					out = append(out, w)
				}
			}
			return out
		},
		Operator:  s.operatorOf,
		Unbonding: func(worker ID) escrow.Credits { return s.unbondingOf[worker] },
		Reserved:  s.reserved,
		Waiting:   func() []*build.Build { return slices.Clone(s.queueOf(pool.Name).waiting) },
		Committed: func() []*build.Build { return slices.Clone(s.queueOf(pool.Name).committed) },
		Build: func(id ID) *build.Build {
			b, ok := s.live[id]
			if !ok {
				return nil
			}
			if !known[id] {
				known[id] = true
				others = append(others, b)
			}
			return b
		},
	}
	return e, func() {
		for _, b := range others {
			s.changed(b)
		}
	}
}

// reserved are the workers that a lease of any pool names.
func (s *State) reserved() map[ID]bool {
	set := map[ID]bool{}
	for _, m := range s.markets { // a set has no order
		for i := range m.Leases {
			set[m.Leases[i].Worker] = true
		}
	}
	return set
}

// dispatch lets queued builds go on, as each pool's lane says.
func (s *State) dispatch() {
	if !s.keys.Done || len(s.live) == 0 {
		return
	}
	for _, pool := range s.Pools() {
		if s.draining() { // for a handover: what is under way ends, and nothing is begun
			s.seal(pool)
			continue
		}
		s.dispatchPool(pool)
	}
}

// seal lets a batch pool's committed builds be drawn for.
func (s *State) seal(pool *build.Pool) {
	if q := s.queueOf(pool.Name); pool.Lane == build.LaneBatch && len(q.committed) > 0 {
		e, done := s.env(pool)
		e.Market.Seal(e, q.committed)
		done()
	}
}

// dispatchPool lets as many queued builds go on as the pool has idle workers
// that no other auction is about to engage: the highest extra first, then the
// oldest. Batch builds are allotted to standing asks at once.
func (s *State) dispatchPool(pool *build.Pool) {
	q := s.queueOf(pool.Name)
	if pool.Lane == build.LaneBatch {
		s.dispatchBatch(pool, q)
		return
	}
	if len(q.waiting) == 0 {
		return
	}
	open, idle, leased := q.auctioned, 0, map[ID]int{} // leased by holder
	for _, w := range s.roster {
		switch {
		case !w.In(pool) || !w.Idle():
		case w.LeasedTo == ID{}:
			idle++
		default:
			leased[w.LeasedTo]++
		}
	}
	if open >= idle && len(leased) == 0 && pool.Lane != build.LaneLottery { // nobody is free
		return
	}
	waiting := slices.DeleteFunc(slices.Clone(q.waiting), func(b *build.Build) bool { return b.NotBefore > s.now })
	e, done := s.env(pool)
	defer done()
	switch pool.Lane {
	case build.LaneLease:
		waiting = e.Market.Leased(e, waiting)
	case build.LaneLottery:
		waiting = e.Market.Admitted(e, waiting, idle-open)
	}
	for i, b := range waiting {
		if open < idle+leased[b.Requester] { // who is leased serves its holder in every pool it is in
			e.Build(b.ID).Dispatch(waiting[i+1:])
			open++
		}
	}
}

// dispatchBatch begins what has been allotted, seals what has committed, and
// allots what waits.
func (s *State) dispatchBatch(pool *build.Pool, q *queue) {
	begin := func() {
		if len(q.allotted) > 0 {
			e, done := s.env(pool)
			e.Market.Begin(e, q.allotted)
			done() // the queue has moved
		}
	}
	begin() // and take back what cannot
	e, done := s.env(pool)
	e.Market.Seal(e, q.committed)
	e.Market.Allot(e, slices.Clone(q.waiting))
	done()
	begin()
}

// spendIncome does with the treasury's income what genesis says: it stays, is
// destroyed, or goes in equal parts to all who may be drawn to validate.
func (s *State) spendIncome() {
	rule := s.genesis.Params.Treasury
	a, _ := s.ledger.Account(s.treasury)
	if rule == build.TreasuryKeep || a.Available == 0 {
		return
	}
	entry := wire.NewHasher("entry").U64(s.index).Sum()
	if rule == build.TreasuryBurn {
		id := s.transferID(entry, "burn income", s.treasury, s.treasury)
		must(s.ledger.Burn(id, s.treasury, a.Available))
		must(s.ledger.Retire(id))
		return
	}
	var present []ID
	for _, w := range s.roster {
		if !w.Absent {
			present = append(present, w.ID)
		}
	}
	if len(present) == 0 || a.Available/escrow.Credits(len(present)) < leastShare {
		return
	}
	share := a.Available / escrow.Credits(len(present)) // what it does not divide stays for the next time
	for _, worker := range present {
		id := s.transferID(entry, "smooth", s.treasury, worker)
		must(s.ledger.Transfer(id, s.treasury, worker, share))
		must(s.ledger.Retire(id))
	}
}

// leastShare keeps income together until each part is worth an entry of its own.
const leastShare = escrow.One / 10

// AskDuty is a batch pool's question to a worker: what would an action cost?
type AskDuty struct {
	EpochMillis int64 // how long an epoch lasts
	Pool        string
	Epoch       uint64 // that the ask is for
	Reserve     escrow.Credits
	Metered     bool
	Sealed      bool           // the worker's ask for Epoch is in, or none is wanted
	Opens       uint64         // the epoch whose ask must be opened now, 0 for none
	Bond        escrow.Credits // an ask needs that much free stake
}

// assignAsks lists the standing asks that batch pools want of a worker.
func (s *State) assignAsks(out *Assignments, w *build.Worker) {
	for _, pool := range s.Pools() {
		if pool.Lane != build.LaneBatch || !w.In(pool) {
			continue
		}
		p := &s.markets[pool.Name].Epoch
		// Who takes no new work still opens what it has sealed: its bond is at stake.
		closed := w.Draining || w.LeasedTo != (ID{})
		if closed && !p.MustOpen(w.ID) {
			continue
		}
		duty := AskDuty{EpochMillis: pool.Batch.EpochMillis, Pool: pool.Name, Epoch: p.Number + 1, Reserve: pool.Batch.Reserve, Metered: pool.Batch.Metered, Bond: pool.Batch.Reserve, Sealed: closed || p.SealedBy(w.ID)}
		if p.MustOpen(w.ID) {
			duty.Opens = p.Number
		}
		out.Asks = append(out.Asks, duty)
	}
}
