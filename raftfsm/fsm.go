package raftfsm

import (
	"context"
	"fmt"
	"io"
	"sync"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// FSM is the state machine as a node drives it, entry by entry.
type FSM struct {
	mu      sync.RWMutex
	genesis *Genesis
	state   *State
	changed chan struct{} // closed, and replaced, by every Apply and Restore
	observe func(Applied)
}

// Observe has fn told of every entry that is applied from now on, under the
// state's lock and in order: it must be quick. It is called before the first Apply.
func (f *FSM) Observe(fn func(Applied)) { f.observe = fn }

// New makes the state machine of a cluster, before its first entry.
func New(g *Genesis) (*FSM, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	s, err := foundState(g, cryptography{})
	if err != nil {
		return nil, fmt.Errorf("starting from genesis: %w", err)
	}
	return &FSM{genesis: g, state: s, changed: make(chan struct{})}, nil
}

// Apply carries out one Raft entry, a canonical build.Batch, and returns
// an outcome for each command.
func (f *FSM) Apply(index uint64, data []byte) []build.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.state.applyEntry(index, data)
	if f.observe != nil {
		f.observe(out)
	}
	f.announce()
	return out.Outcomes
}

// announce wakes who waits for a change.
func (f *FSM) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Read calls fn with the state under the lock. What fn keeps it must copy.
func (f *FSM) Read(fn func(s *State)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	fn(f.state)
}

// Changed returns a channel that is closed at the next change. Get it before
// reading, so that no change slips between.
func (f *FSM) Changed() <-chan struct{} {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.changed
}

// Applied returns the index of the last entry applied and the state hash after it.
func (f *FSM) Applied() (index uint64, hash ID) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.index, f.state.hash
}

// WaitApplied returns once the entry at index is applied here.
func (f *FSM) WaitApplied(ctx context.Context, index uint64) error {
	for {
		changed := f.Changed()
		if at, _ := f.Applied(); at >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for entry %d to be applied: %w", index, ctx.Err())
		}
	}
}

// Snapshot encodes the state as it is now.
func (f *FSM) Snapshot() (index uint64, raw []byte) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.index, wire.Encode(snapshot{f.state})
}

// Restore replaces the state by a snapshot's.
func (f *FSM) Restore(r io.Reader) error {
	s, err := restore(f.genesis, f.state.verify, r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.retained = f.state.retained
	f.state = s
	f.announce()
	return nil
}
