package raftfsm

import (
	"bytes"
	"errors"
	"fmt"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/wire"
)

// Replay is the state machine as an auditor runs it: entry by entry, from genesis.
// Signatures of the beacon are taken as they come and proved many at once by
// Prove; every other check is Apply's own.
type Replay struct {
	state  *State
	proofs *deferred
}

// NewReplay starts from a genesis.
func NewReplay(g *Genesis) (*Replay, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	v := &deferred{}
	s, err := foundState(g, v)
	if err != nil {
		return nil, err
	}
	return &Replay{s, v}, nil
}

// Apply carries out the entry at index. A signature of the beacon that decides
// something counts as good until Prove. It panics only where the state machine
// of a cluster would have: a broken invariant.
func (r *Replay) Apply(index uint64, data []byte) Applied { return r.state.applyEntry(index, data) }

// ApplyChecked is Apply that checks every signature of the beacon as it comes: for
// an entry in which the log says that one was refused.
func (r *Replay) ApplyChecked(index uint64, data []byte) Applied {
	r.proofs.checked = true
	defer func() { r.proofs.checked = false }()
	return r.state.applyEntry(index, data)
}

// Snapshot is the state so far, from which ResumeReplay goes on. What waits for
// Prove is not in it: prove that first.
func (r *Replay) Snapshot() []byte { return wire.Encode(snapshot{r.state}) }

// ResumeReplay goes on from a snapshot. The caller holds Hash to what the log says
// of the state then: a snapshot is nobody's word but its maker's.
func ResumeReplay(g *Genesis, snapshot []byte) (*Replay, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	v := &deferred{}
	s, err := restore(g, v, bytes.NewReader(snapshot))
	if err != nil {
		return nil, fmt.Errorf("resuming replay: %w", err)
	}
	return &Replay{s, v}, nil
}

// State is the state so far. It must not be changed.
func (r *Replay) State() *State { return r.state }

// Hash is the state hash after the last entry.
func (r *Replay) Hash() ID { return r.state.hash }

// Chain binds every entry so far.
func (r *Replay) Chain() ID { return r.state.evidence.Chain }

// Unproven is how many beacon signatures wait for Prove.
func (r *Replay) Unproven() (n int) {
	for i := range r.proofs.open {
		n += len(r.proofs.open[i].msgs)
	}
	return n
}

// Prove verifies the beacon signatures since the last call, two pairings for all
// of a group key's, and returns the messages and signatures of those that are forged.
func (r *Replay) Prove() (forged []ForgedBeacon) {
	for _, o := range r.proofs.open {
		r.proofs.find(o.key, o.msgs, o.sigs, &forged)
	}
	r.proofs.open = nil
	return forged
}

// ForgedBeacon is a signature that is not the group's.
type ForgedBeacon struct {
	Message   []byte
	Signature beacon.Signature
	Err       error
}

// deferred takes beacon signatures on credit. A handover changes the group key, and
// a challenge may show what was certified under a former one: each is proved under
// its own.
type deferred struct {
	cryptography
	open    []onCredit // by group key, in the order they came
	checked bool       // nothing on credit
}

// onCredit are signatures that wait to be proved under one group key.
type onCredit struct {
	key  beacon.GroupKey
	msgs [][]byte
	sigs []beacon.Signature
}

func (d *deferred) beacon(key beacon.GroupKey, msg []byte, sig beacon.Signature) error {
	if d.checked {
		return d.cryptography.beacon(key, msg, sig)
	}
	i := len(d.open) - 1
	for i >= 0 && d.open[i].key != key {
		i--
	}
	if i < 0 {
		d.open = append(d.open, onCredit{key: key})
		i = len(d.open) - 1
	}
	o := &d.open[i]
	o.msgs, o.sigs = append(o.msgs, msg), append(o.sigs, sig)
	return nil
}

// beacons proves nothing together, so that each is asked for when its turn comes:
// among an entry's there may be some that nothing waits for, and whether they hold
// is no matter.
func (d *deferred) beacons(key beacon.GroupKey, msgs [][]byte, sigs []beacon.Signature) error {
	if d.checked {
		return d.cryptography.beacons(key, msgs, sigs)
	}
	return errOnCredit
}

var errOnCredit = errors.New("taken on credit, one by one")

// find halves a batch that does not hold until the forged ones are alone.
func (d *deferred) find(key beacon.GroupKey, msgs [][]byte, sigs []beacon.Signature, forged *[]ForgedBeacon) {
	switch {
	case len(msgs) == 0:
	case len(msgs) == 1:
		if err := d.cryptography.beacon(key, msgs[0], sigs[0]); err != nil {
			*forged = append(*forged, ForgedBeacon{msgs[0], sigs[0], err})
		}
	case beacon.VerifyBatch(key, msgs, sigs) != nil:
		half := len(msgs) / 2
		d.find(key, msgs[:half], sigs[:half], forged)
		d.find(key, msgs[half:], sigs[half:], forged)
	}
}
