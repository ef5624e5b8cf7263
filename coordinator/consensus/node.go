// Package consensus owns one node's part in the Raft cluster: log, snapshots,
// transport, the batching and forwarding of proposals, and the ticks by which
// the leader advances farm time. It never looks into commands or state beyond
// what the FSM interface says, and never repeats a proposal by itself. It keeps
// these invariants: a caller that gets outcomes gets them from an entry that a
// majority has on disk and this node has applied; a caller told ErrNoLeader,
// ErrBusy or ErrRefused knows that nothing was proposed; ticks come from the
// leader alone, while the state waits for a time and before a command after a pause.
package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Node is a running member of the cluster.
type Node struct {
	config   Config
	raft     *raft.Raft
	store    *store
	calls    chan *call
	ctx      context.Context // ends when Close begins
	cancel   context.CancelFunc
	batching chan struct{} // closed when batchLoop has ended
	stopped  chan struct{} // closed when raft has shut down
	loops    sync.WaitGroup
	ticks    atomic.Uint64             // proposed by this process
	ticked   atomic.Pointer[time.Time] // when the last was applied

	observer     *raft.Observer
	observations chan raft.Observation

	mu      sync.Mutex
	changed chan struct{} // closed at the next change of leader; guarded by mu

	once   sync.Once
	closed error // what Close returns; set by once
}

// Open starts this node: it reads what lies in Dir, forms the cluster where
// there is none yet, and begins to serve. A crash during Open leaves either no
// cluster or the one that Peers describes, which every node writes alike.
func Open(c Config) (*Node, error) {
	if c.Timing == (Timing{}) {
		c.Timing = DefaultTiming
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("starting node %s: %w", c.Name, err)
	}
	st, err := openStore(c.Dir, c.Log)
	if err != nil {
		return nil, fmt.Errorf("starting node %s: %w", c.Name, err)
	}
	trans, err := newTransport(&c, c.Log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting node %s: %w", c.Name, err), st.bolt.Close())
	}
	r, err := startRaft(&c, st, trans)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting node %s: %w", c.Name, err), trans.Close(), st.bolt.Close())
	}
	n := &Node{
		config: c, raft: r, store: st,
		calls: make(chan *call, maxQueuedCalls), batching: make(chan struct{}), stopped: make(chan struct{}),
		observations: make(chan raft.Observation, 16), changed: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.start()
	return n, nil
}

func startRaft(c *Config, st *store, trans transport) (*raft.Raft, error) {
	known, err := raft.HasExistingState(st.log, st.bolt, st.snapshots)
	if err != nil {
		return nil, fmt.Errorf("reading the raft log: %w", err)
	}
	rc := c.raft()
	if !known {
		if err := raft.BootstrapCluster(rc, st.log, st.bolt, st.snapshots, trans, c.members()); err != nil {
			return nil, fmt.Errorf("forming the cluster: %w", err)
		}
	}
	r, err := raft.NewRaft(rc, c.FSM, st.log, st.bolt, st.snapshots, trans)
	if err != nil {
		return nil, fmt.Errorf("starting raft: %w", err)
	}
	return r, nil
}

// start begins the loops.
func (n *Node) start() {
	n.observer = raft.NewObserver(n.observations, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(n.observer)
	t := &ticker{
		interval: n.config.Tick, pending: n.config.Pending, changed: n.config.FSM.Changed,
		leading: n.raft.LeaderCh(), propose: n.tick,
	}
	n.loops.Go(n.batchLoop)
	n.loops.Go(n.watchLeader)
	n.loops.Go(func() { t.run(n.ctx) })
}

// watchLeader wakes those who wait for a change of leader. An observation that
// raft drops because the channel is full is no loss: the ones in it wake the same.
func (n *Node) watchLeader() {
	for {
		select {
		case <-n.observations:
			n.mu.Lock()
			close(n.changed)
			n.changed = make(chan struct{})
			n.mu.Unlock()
		case <-n.ctx.Done():
			return
		}
	}
}

// LeaderChanged is closed at the next change of leader. Take it before asking
// for the leader.
func (n *Node) LeaderChanged() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// Leader is the member that leads as far as this node knows.
func (n *Node) Leader() (Peer, bool) {
	_, id := n.raft.LeaderWithID()
	return n.config.peer(string(id))
}

// Leads says whether this node takes itself for the leader. Another may know better.
func (n *Node) Leads() bool { return n.raft.State() == raft.Leader }

// Status is this node's own view. What it has applied, its FSM knows better: raft
// counts an entry as applied when it hands it over.
type Status struct {
	State  string // leader, follower, candidate or shutdown
	Term   uint64
	Leader Peer // empty where none is known
}

// Status returns this node's own view.
func (n *Node) Status() Status {
	leader, _ := n.Leader()
	s := Status{Term: n.raft.CurrentTerm(), Leader: leader}
	switch n.raft.State() {
	case raft.Leader:
		s.State = "leader"
	case raft.Follower:
		s.State = "follower"
	case raft.Candidate:
		s.State = "candidate"
	default:
		s.State = "shutdown"
	}
	return s
}

// Close stops the node. Proposals under way end with ErrOutcomeUnknown, or
// undone if they had not left the queue. What was acknowledged is on disk.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.cancel()
		n.raft.DeregisterObserver(n.observer)
		// Raft first: it answers the entry that batchLoop may be waiting for. Its
		// shutdown closes the transport too.
		err := n.raft.Shutdown().Error()
		close(n.stopped)
		n.loops.Wait()
		n.closed = errors.Join(err, n.store.bolt.Close())
	})
	return n.closed
}
