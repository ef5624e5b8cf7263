package raftfsm

import (
	"flag"
	"fmt"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

var randomCommands = flag.Int("commands", 1_000_000, "random commands of TestRandomCommands, over all its farms")

// TestRandomCommands drives farms of three replicas with honest, dishonest,
// late, repeated and malformed commands. Replicas are replaced by ones restored
// from their snapshots at different points. All must end with equal state
// hashes, the ledger in balance, every build with a way out, and every settled
// build paid as the naive oracle says.
func TestRandomCommands(t *testing.T) {
	lanes := []build.Lane{build.LaneSpot, build.LaneBatch, build.LaneLease, build.LaneHouse, build.LaneSpot, build.LaneLottery}
	for i, lane := range lanes {
		t.Run(fmt.Sprint(i+1, lane), func(t *testing.T) {
			t.Parallel()
			randomFarm(t, lane, false, uint64(i+1), *randomCommands/(len(lanes)+1)+1)
		})
	}
	t.Run(fmt.Sprintf("%d all at once", len(lanes)+1), func(t *testing.T) {
		t.Parallel()
		randomFarm(t, build.LaneSpot, true, uint64(len(lanes)+1), *randomCommands/(len(lanes)+1)+1)
	})
}

// chaos is a farm under random commands.
type chaos struct {
	*farm
	lane    build.Lane
	nonces  map[ID]build.Reveal // by auction and worker
	checked uint64              // settlements held against the oracle
	codes   map[build.Code]int
	ends    map[build.State]int
	placed  map[build.Lane]int // builders found without an auction
	record  *certified
}

// randomFarm drives a farm of one lane, or, mixed, one of all lanes but house,
// each a pool that shares the first one's workers.
func randomFarm(t *testing.T, lane build.Lane, mixed bool, seed uint64, commands int) {
	o := farmOptions{lane: lane, workers: 9, replicas: 3, drop: 5_000 * credit, stake: 800 * credit, seed: seed, retained: 60, rules: randomRules(seed)}
	if lane == build.LaneHouse {
		o.drop, o.stake = 0, 0
	}
	c := &chaos{farm: newFarm(t, o), lane: lane, nonces: map[ID]build.Reveal{}, codes: map[build.Code]int{}, ends: map[build.State]int{}, placed: map[build.Lane]int{}}
	if mixed {
		c.sharePools(seed)
	}
	c.record = c.certify()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, after %d commands", seed, c.applied)
		}
	}()
	for step := 0; c.applied < commands; step++ {
		c.step()
		switch {
		case step%197 == 0:
			c.snapshotRestore(1)
		case step%797 == 0:
			c.snapshotRestore(2)
		case step%500 == 0:
			c.same()
		}
		c.oracle()
		if t.Failed() {
			return
		}
	}
	c.settleAll()
	c.same()
	c.oracle()
	t.Logf("seed %d, %v lane: %d commands, ends %v, placed %v, codes %v", seed, lane, c.applied, c.ends, c.placed, c.codes)
	if commands > 10_000 && len(c.state().FormerKeys()) == 0 {
		t.Error("no group key was ever handed over: the test does not reach it")
	}
	if mixed && commands > 10_000 {
		for _, l := range []build.Lane{build.LaneBatch, build.LaneLease, build.LaneLottery} {
			if c.placed[l] == 0 {
				t.Errorf("no build was given to a worker as the %v lane does: the test does not reach it", l)
			}
		}
	}
	if lane == build.LaneSpot && !mixed && commands > 100_000 {
		for _, v := range []build.State{build.Agreed, build.Judged, build.NonDeterministic, build.EnvironmentDependent, build.Unverified,
			build.Unsampled, build.Failed, build.Cancelled, build.NoBids, build.Upheld, build.Refuted, build.Undecided} {
			if c.ends[v] == 0 {
				t.Errorf("no build ended %v: the test does not reach it", v)
			}
		}
	}
}

// step sends one entry of random commands.
func (c *chaos) step() {
	var batch []build.Command
	for n := 1 + c.rng.IntN(12); n > 0; n-- {
		if m, ok := c.random(); ok {
			batch = append(batch, m)
		}
	}
	if len(batch) == 0 {
		return
	}
	if c.rng.IntN(200) == 0 { // an entry that no decoder takes
		c.garbage(wire.Encode(&build.Batch{Commands: batch}))
	}
	for i, out := range c.send(batch...) {
		c.codes[out.Code]++
		if p := new(build.Rotate); out.Code == build.Done && batch[i].Type == build.TypeRotate && wire.Decode(batch[i].Payload, p) == nil {
			c.current[p.Account] = p.NewKey
		}
		rotated := c.current[batch[i].Sender] != nil || batch[i].Type == build.TypeRotate
		if out.Code == build.CodeBadSignature && c.lane == build.LaneSpot && batch[i].Request[0] != 0xbd && !rotated {
			c.t.Fatalf("%v: %s", batch[i].Type, out.Detail)
		}
	}
	c.sent = append(c.sent, batch...)
	if len(c.sent) > 400 {
		c.sent = c.sent[len(c.sent)-200:]
	}
}

func (c *chaos) garbage(raw []byte) {
	c.index++
	raw = raw[:len(raw)-1-c.rng.IntN(3)]
	for i, r := range c.replicas {
		out := r.Apply(c.index, raw)
		if len(out) != 1 || out[0].Code != build.CodeMalformed {
			c.t.Fatalf("replica %d took a truncated entry: %v", i, out)
		}
	}
}

// random is one command of any kind.
func (c *chaos) random() (build.Command, bool) {
	switch p := c.rng.IntN(100); {
	case p < 16:
		return c.command(nil, build.TypeTick, &build.Tick{ElapsedMillis: c.elapsed()}), true
	case p < 38:
		if all := c.coordinatorCommands(); len(all) > 0 {
			return all[c.rng.IntN(len(all))], true
		}
	case p < 50:
		return c.opening()
	case p < 88:
		return c.workerCommand(c.rng.IntN(len(c.workers)))
	case p < 91 && len(c.state().live) < 12:
		return c.command(c.requesters[c.rng.IntN(2)], build.TypeSubmit, &build.Submit{Terms: c.randomTerms()}), true
	case p < 94:
		return c.nuisance(), true
	case p < 96 && len(c.sent) > 0:
		return c.sent[c.rng.IntN(len(c.sent))], true // harmless repetition
	case p < 97:
		return c.cancel()
	case p < 99:
		return c.buyer()
	case c.rng.IntN(4) == 0:
		return c.keyChange(), true
	default:
		return c.challengeAny()
	}
	return build.Command{}, false
}

func (c *chaos) elapsed() int64 {
	switch c.rng.IntN(60) {
	case 0:
		return 30_000
	case 1:
		return 2_100
	}
	return int64(c.rng.IntN(150))
}

func (c *chaos) randomTerms() build.Terms {
	pool := c.anyPool()
	t := c.terms(pool.Lane)
	t.Pool = pool.Name
	t.Validators = uint32(1 + c.rng.IntN(2))
	if c.rng.IntN(3) == 0 {
		t.SamplePPM = 400_000
	}
	t.TimeoutMillis = int64(1_000 + c.rng.IntN(20_000))
	if c.rng.IntN(4) == 0 {
		t.Vary = build.VaryHostname | build.VaryClock
	}
	if c.lane != build.LaneHouse {
		t.Priority = escrow.Credits(c.rng.IntN(3)) * credit / 2
		t.Budget = t.MinBudget(&c.genesis.Params) + escrow.Credits(c.rng.IntN(2))*credit
	}
	if c.rng.IntN(20) == 0 {
		t.Validators = 7 // too few workers for that
	}
	return t
}

// nuisance is a command that is not allowed, not funded, or moves money outside builds.
func (c *chaos) nuisance() build.Command {
	w := c.workers[c.rng.IntN(len(c.workers))]
	r := c.requesters[c.rng.IntN(2)]
	to := build.AccountID(w)
	amount := escrow.Credits(c.rng.IntN(40)) * credit
	switch c.rng.IntN(8) {
	case 0:
		return c.command(c.admin, build.TypeMint, &build.Money{Account: build.AccountID(r), Amount: amount})
	case 1:
		return c.command(c.admin, build.TypeBurn, &build.Money{Account: to, Amount: amount})
	case 2:
		return c.command(c.admin, build.TypeGrant, &build.Money{Account: to, Amount: amount / 8})
	case 3:
		return c.command(r, build.TypeMint, &build.Money{Account: to, Amount: amount}) // not the admin
	case 4:
		return c.command(w, build.TypeStake, &build.Stake{Amount: amount - 20*credit})
	case 5:
		m := c.command(r, build.TypeSubmit, &build.Submit{Terms: c.terms(c.lane)})
		m.Signature = cheapSign(w, m.SigningBytes(c.state().Cluster()))
		m.Request[0] = 0xbd // marks what must fail
		return m
	case 6:
		m := c.command(w, build.TypeUpdate, &build.Update{Platforms: []string{"host"}})
		m.ValidUntilMillis = c.state().Now() - 1
		m.Signature = cheapSign(w, m.SigningBytes(c.state().Cluster()))
		return m
	}
	return c.command(w, build.TypeUpdate, &build.Update{Platforms: []string{"host"}})
}

func (c *chaos) cancel() (build.Command, bool) {
	live := c.state().Live()
	if len(live) == 0 {
		return build.Command{}, false
	}
	b := live[c.rng.IntN(len(live))]
	for _, k := range c.requesters {
		if build.AccountID(k) == b.Requester {
			return c.command(k, build.TypeCancel, &build.Cancel{Build: b.ID}), true
		}
	}
	return build.Command{}, false
}

// opening opens a lodged opening, or has it found not to match, or stores a result.
func (c *chaos) opening() (build.Command, bool) {
	s := c.state()
	if duties := s.Openings(); len(duties) > 0 {
		d := duties[c.rng.IntN(len(duties))]
		if c.rng.IntN(25) == 0 {
			return c.vouch(build.TypeMismatch, d.Build, d.Lease, d.Commitment, 1+c.rng.IntN(3)), true
		}
		return c.openCommand(d), true
	}
	for _, b := range s.Live() {
		if b.State.Delivering() && c.rng.IntN(3) > 0 {
			return c.vouch(build.TypeStored, b.ID, b.Attempts[b.Uploader].Lease(b.ID), b.Delivered, 1+c.rng.IntN(3)), true
		}
	}
	return build.Command{}, false
}

// workerCommand is something a worker could do now, well or badly.
func (c *chaos) workerCommand(w int) (build.Command, bool) {
	s := c.state()
	id := build.AccountID(c.workers[w])
	a := s.Assignments(id)
	switch {
	case a.Absent && c.rng.IntN(2) == 0:
		return c.command(c.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}}), true
	case len(a.Leases) > 0:
		l := a.Leases[c.rng.IntN(len(a.Leases))]
		ref := &build.LeaseRef{Build: l.Build, Lease: l.Lease}
		switch q := c.rng.IntN(40); {
		case q == 0:
			return c.command(c.workers[w], build.TypeAbandon, ref), true
		case q < 8:
			return c.command(c.workers[w], build.TypeHeartbeat, ref), true
		case !l.Started:
			return c.command(c.workers[w], build.TypeStart, ref), true
		}
		return c.commitCommand(w, l.Build, l.Lease, c.outcome(w, l)), true
	case len(a.Reveals) > 0:
		return c.reveal(w, a.Reveals[c.rng.IntN(len(a.Reveals))]), true
	case len(a.Auctions) > 0:
		return c.bid(w, a.Auctions[c.rng.IntN(len(a.Auctions))]), true
	}
	return c.ask(w, a.Asks)
}

// outcome is what a worker makes of a build: the build's own bytes say of what kind it is.
func (c *chaos) outcome(w int, l Lease) build.Opening {
	b := c.build(l.Build)
	switch kind := b.ID[0] % 8; {
	case kind == 0: // differs every time
		return result(fmt.Sprint("time ", c.rng.Uint64()), build.StatusExited)
	case kind == 1: // depends on the machine
		return result(fmt.Sprint("machine ", w%3), build.StatusExited)
	case kind == 2 && c.rng.IntN(4) == 0:
		return result("", build.StatusTimeout)
	case kind < 6 && c.rng.IntN(8) == 0:
		return result(fmt.Sprint("forged ", c.rng.Uint64()), build.StatusExited)
	}
	return result("right", build.StatusExited)
}

func (c *chaos) bid(w int, o AuctionOffer) build.Command {
	id := build.AccountID(c.workers[w])
	r := build.Reveal{Build: o.Build, Auction: o.Auction, Price: escrow.Credits(c.rng.IntN(110)) * credit / 10, FinishMillis: int64(c.rng.IntN(5000))}
	seeded{c.rng}.Read(r.Nonce[:])
	slot := wire.NewHasher("test").Fixed(o.Auction).Fixed(id).Sum()
	if _, had := c.nonces[slot]; !had {
		c.nonces[slot] = r
	}
	r = c.nonces[slot]
	return c.command(c.workers[w], build.TypeBid, &build.PlaceBid{Build: o.Build, Auction: o.Auction,
		Commitment: build.BidCommitment(c.state().Cluster(), o.Auction, id, r.Price, r.FinishMillis, r.Result, r.Nonce)})
}

func (c *chaos) reveal(w int, d RevealDuty) build.Command {
	r := c.nonces[wire.NewHasher("test").Fixed(d.Auction).Fixed(build.AccountID(c.workers[w])).Sum()]
	if c.rng.IntN(30) == 0 {
		r.Price++ // does not match
	}
	return c.command(c.workers[w], build.TypeReveal, &r)
}

// settleAll lets every build come to its end.
func (c *chaos) settleAll() {
	for i := 0; len(c.state().Live()) > 0; i++ {
		if i > 5000 {
			for _, b := range c.state().Live() {
				c.t.Errorf("build %x is stuck in %v", b.ID[:4], b.State)
			}
			return
		}
		for _, m := range c.coordinatorCommands() {
			c.send(m)
		}
		c.open()
		for w := range c.workers {
			if m, ok := c.workerCommand(w); ok {
				c.send(m)
			}
		}
		c.tick(int64(500 + c.rng.IntN(2000)))
	}
}

// oracle holds every newly settled build to the naive rules, and every live one
// to having a way out.
func (c *chaos) oracle() {
	s := c.state()
	for i := len(s.settled) - int(s.settlements-c.checked); i < len(s.settled); i++ {
		b := s.builds[s.settled[i]]
		c.ends[b.Verdict]++
		if pool, _ := s.Pool(b.Terms.Pool); b.Posted || b.Slot != 0 {
			c.placed[pool.Lane]++
		}
		if err := settlementOracle(s, b); err != nil {
			c.t.Errorf("build %x, %v: %v", b.ID[:4], b.Verdict, err)
		}
	}
	c.checked = s.settlements
	for _, b := range s.live {
		_, deadline := b.NextDeadline()
		pool, _ := s.Pool(b.Terms.Pool)
		_, draw := b.Demand(pool.Lane)
		if pool.Lane == build.LaneBatch && (b.State == build.Committed || b.State == build.Pricing) {
			k, _ := s.Market(pool.Name)
			_, sealed := k.Demand()
			_, timed := k.NextDeadline()
			draw = sealed || timed
		}
		_, act := b.Act()
		if !deadline && !draw && !act && len(b.OpenNow()) == 0 {
			c.t.Errorf("build %x in %v has no way out", b.ID[:4], b.State)
		}
	}
}

// settlementOracle recomputes from the record what each party must have got,
// by the sentences of DESIGN section 4 and not by the code that paid it.
func settlementOracle(s *State, b *build.Build) error {
	got := map[string]escrow.Credits{}
	var in, out escrow.Credits
	esc := build.EscrowID(b.ID)
	for _, t := range b.Transfers {
		got[t.Purpose] += t.Amount
		if t.To == esc {
			in += t.Amount
		}
		if t.From == esc {
			out += t.Amount
		}
	}
	if in != out || in != b.Terms.Budget+b.Terms.Priority {
		return fmt.Errorf("%v went into escrow, %v came out, want %v", in, out, b.Terms.Budget+b.Terms.Priority)
	}
	if _, ok := s.ledger.Account(esc); ok {
		return fmt.Errorf("its escrow is still open")
	}
	p := &s.genesis.Params
	slashed := map[ID]bool{}
	for i := range b.Attempts {
		if b.Attempts[i].Slashed {
			slashed[b.Attempts[i].Worker] = true
		}
	}
	want := map[string]escrow.Credits{}
	seat := p.ValidatorFee
	if b.Terms.Vary != 0 { // one more build, in another environment
		seat *= 2
	}
	spotLane := b.Terms.Budget > 0
	for i := range b.Attempts {
		a := &b.Attempts[i]
		built := a.State == build.AttemptOpened || a.State == build.AttemptCommitted
		if !spotLane || !built || slashed[a.Worker] {
			continue
		}
		switch {
		case a.Round == build.RoundRecheck:
			want["recheck"] += p.ValidatorFee
		case a.Round == build.RoundPanel:
			want["panel"] += seat
		case a.Seat > 0:
			want["validator"] += seat
		}
	}
	for _, purpose := range []string{"validator", "recheck", "panel"} {
		if got[purpose] != want[purpose] {
			return fmt.Errorf("%s fees of %v were paid, want %v", purpose, got[purpose], want[purpose])
		}
	}
	if spotLane && b.Earner != (ID{}) && got["auctioneer"] != p.AuctioneerFee {
		return fmt.Errorf("the auctioneer got %v", got["auctioneer"])
	}
	if got["slash"] > b.Stake*escrow.Credits(len(slashed)) {
		return fmt.Errorf("more was slashed than staked")
	}
	if b.Contest != nil {
		return contestOracle(b, got)
	}
	return winnerOracle(b, got)
}
