// Package duty owns what a coordinator does because the applied state demands it:
// its part in key generation and in every beacon signature, its acts as a drawn
// auctioneer, the decryption of lodged openings, its word on stored outputs, and
// the archive of settled builds. It never decides anything and never performs an
// effect that Apply asked for directly: every duty is read off the state, so that
// doing it twice, late or after a restart is harmless. It keeps these invariants:
// nothing is signed, and no opening decrypted for proposal, unless this node's own
// applied state asks for it; the beacon share is on disk before it signs.
//
// A duty ends when the state no longer names it; until then it is tried again.
// The leader acts at once, the others after a delay by rank, should it be silent.
package duty

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"gavel/api/seal"
	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
)

// ID names coordinators, builds and leases.
type ID = build.ID

// Proposer decides commands; consensus.Node is one.
type Proposer interface {
	Propose(ctx context.Context, commands []build.Command) ([]build.Outcome, uint64, error)
	// Leads says whether this node takes itself for the leader.
	Leads() bool
}

// Peers reaches the other coordinators.
type Peers interface {
	// Partial delivers a partial signature to a coordinator.
	Partial(ctx context.Context, to ID, d raftfsm.Demand, p beacon.Partial) error
	// Vouch asks a coordinator for its signature on build.VouchBytes of kind
	// TypeMismatch or TypeStored. An error says why it does not vouch.
	Vouch(ctx context.Context, to ID, kind build.Type, buildID, lease ID) (signature []byte, err error)
}

// Signer signs with this coordinator's key.
type Signer interface {
	Sign(msg []byte) ([]byte, error)
}

// Store looks after the outputs of builds.
type Store interface {
	// Stored returns nil if manifest and outputs of the attempt with this index in
	// b.Attempts are complete and intact in the farm's store.
	Stored(ctx context.Context, b *build.Build, attempt int) error
}

// Config is what New needs. All fields are needed except Archive and Log.
type Config struct {
	Genesis *raftfsm.Genesis
	Self    ID               // which coordinator this node is
	Dir     string           // for the beacon's secret files; must exist
	SealKey *seal.PrivateKey // the private half of this coordinator's SealKey in genesis
	Source  Source
	Propose Proposer
	Peers   Peers
	Sign    Signer
	Store   Store
	Archive *Archive // takes settled builds; nil keeps none
	Log     *slog.Logger
}

// Duties is one coordinator's share of the work.
type Duties struct {
	config  Config
	cluster ID
	index   int // in genesis, from 0
	members []build.Coordinator
	log     *slog.Logger

	keys     *keeper
	partials *partials
	crypto   chan struct{}        // a slot for each computation of signatures or decryption
	farm     atomic.Int64         // farm time in milliseconds, as of the last look
	revoked  atomic.Pointer[[]ID] // coordinators whose keys were, as of the last look
	loops    sync.WaitGroup
}

// New prepares the duties of a coordinator; Run does them.
func New(c Config) (*Duties, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := &Duties{
		config: c, cluster: c.Genesis.Digest(), index: -1, members: c.Genesis.Coordinators, log: c.Log,
		crypto: make(chan struct{}, maxComputations),
	}
	for i := range d.members {
		if d.members[i].ID == c.Self {
			d.index = i
		}
	}
	if d.index < 0 {
		return nil, errors.New("this node's key is not that of a coordinator in genesis: check the key file")
	}
	// With a wrong key every lodged opening would look forged, and this node would
	// vouch for slashing honest workers.
	if public := c.SealKey.Public(); string(public[:]) != string(d.members[d.index].SealKey) {
		return nil, fmt.Errorf("the seal key of coordinator %s is not the one in genesis: check the key file", d.members[d.index].Name)
	}
	d.keys = newKeeper(d)
	d.partials = newPartials(len(d.members))
	return d, nil
}

// Run does this coordinator's duties until ctx ends, and returns when all that it
// started has ended.
func (d *Duties) Run(ctx context.Context) {
	if d.config.Archive != nil {
		d.loops.Go(func() { d.archiveLoop(ctx) })
	}
	keys := newTasks[keyStep](ctx, &d.loops, d.keys.step)
	beacons := newTasks[keyedDemand](ctx, &d.loops, d.answerDemand)
	acts := newTasks[build.Auctioneer](ctx, &d.loops, d.act)
	openings := newTasks[leaseKey](ctx, &d.loops, d.open)
	for {
		changed := d.config.Source.Changed() // before looking, so that no change is missed
		look := d.config.Source.Look()
		d.farm.Store(look.FarmMillis)
		d.revoked.Store(&look.Revoked)
		keys.reconcile(d.keys.due(&look))
		beacons.reconcile(keyed(&look))
		d.partials.demanded(look.Demands)
		acts.reconcile(wanted(look.Acts, func(x build.Auctioneer) build.Auctioneer { return x }))
		openings.reconcile(wanted(look.Openings, func(x raftfsm.OpeningDuty) leaseKey { return leaseKey{x.Build, x.Lease} }))
		select {
		case <-changed:
		case <-ctx.Done():
			d.loops.Wait()
			return
		}
	}
}

type leaseKey struct{ Build, Lease ID }

// compute runs fn in one of the slots for heavy computation.
func (d *Duties) compute(ctx context.Context, fn func()) error {
	select {
	case d.crypto <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.crypto }()
	fn()
	return nil
}

// others are the coordinators but this one.
func (d *Duties) others() []build.Coordinator {
	var out []build.Coordinator
	for i := range d.members {
		if i != d.index {
			out = append(out, d.members[i])
		}
	}
	return out
}

func (d *Duties) threshold() int { return beacon.Threshold(len(d.members)) }
