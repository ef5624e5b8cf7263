package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"gavel/raftfsm/build"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// FSM is the replicated state machine. Its Apply returns []build.Outcome, one
// per command of the batch that the entry carries.
type FSM interface {
	raft.FSM
	// WaitApplied returns once the entry at index has been applied here.
	WaitApplied(ctx context.Context, index uint64) error
	// Changed is closed at the next Apply or Restore.
	Changed() <-chan struct{}
}

// Forwarder hands commands to the leader, over gRPC in a farm. An error that
// wraps ErrNoLeader or ErrBusy says that nothing was proposed; after any other
// the outcome is unknown.
type Forwarder interface {
	Forward(ctx context.Context, leader Peer, commands []build.Command) (outcomes []build.Outcome, index uint64, err error)
}

// Peer is a member of the cluster.
type Peer struct {
	Name     string // also its Raft server id: addresses may change, names must not
	RaftAddr string // host:port by which the others reach its Raft
	GRPCAddr string // host:port of its API
}

// Config is what Open needs.
type Config struct {
	// Dir holds the Raft log and the snapshots. It belongs to one process at a time.
	Dir string
	// Name says which of Peers this node is.
	Name string
	// Bind is the host:port to listen on for Raft; empty takes the RaftAddr of
	// this node's own entry in Peers.
	Bind string
	// Peers are all members, this node among them: the same list on every node.
	Peers []Peer
	// FSM is what entries are applied to.
	FSM FSM
	// Forwarder reaches the leader from a follower.
	Forwarder Forwarder
	// Pending says whether the applied state waits for a farm time: only then does
	// the leader tick.
	Pending func() bool
	// Tick is how often it then advances farm time.
	Tick time.Duration
	// Timing is DefaultTiming where it is zero.
	Timing Timing
	// Log takes Raft's own log; nil discards it.
	Log hclog.Logger
}

// Timing is how patient the nodes are with each other.
type Timing struct {
	// Election is how long a follower hears nothing before it asks for votes, and
	// how long it then waits for them; both are stretched at random up to twofold.
	Election time.Duration
	// Lease is how long a leader goes on without hearing from a majority.
	Lease time.Duration
}

// DefaultTiming suits nodes on one machine or in one building. It is no shorter
// because builds compete with the nodes for the processors: an election is
// harmless, but costs a second in which nothing is decided.
var DefaultTiming = Timing{Election: time.Second, Lease: 750 * time.Millisecond}

func (c *Config) validate() error {
	self := false
	seen := make(map[string]bool)
	for _, p := range c.Peers {
		if p.Name == "" || seen[p.Name] {
			return fmt.Errorf("peer %q is named twice or not at all", p.Name)
		}
		seen[p.Name] = true
		if _, err := net.ResolveTCPAddr("tcp", p.RaftAddr); err != nil {
			return fmt.Errorf("raft address of peer %s: %w", p.Name, err)
		}
		self = self || p.Name == c.Name
	}
	switch {
	case !self:
		return fmt.Errorf("node %q is not among its own peers", c.Name)
	case len(c.Peers) > maxPeers:
		return fmt.Errorf("%d peers, at most %d", len(c.Peers), maxPeers)
	case c.Dir == "" || c.FSM == nil || c.Forwarder == nil || c.Pending == nil:
		return errors.New("a directory, a state machine, its pending times and a forwarder are needed")
	case c.Tick <= 0:
		return fmt.Errorf("a tick of %v, want above 0", c.Tick)
	}
	return nil
}

// peer finds a member by name.
func (c *Config) peer(name string) (Peer, bool) {
	for _, p := range c.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}

// raft translates the configuration.
func (c *Config) raft() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.Name)
	rc.Logger = c.Log
	rc.HeartbeatTimeout = c.Timing.Election
	rc.ElectionTimeout = c.Timing.Election
	rc.LeaderLeaseTimeout = c.Timing.Lease
	// Followers learn that an entry is committed with the next message, and a
	// caller of theirs waits for that: the default of 50 ms would be most of the
	// latency of a command.
	rc.CommitTimeout = commitTimeout
	rc.MaxAppendEntries = maxAppendEntries
	rc.SnapshotInterval = snapshotInterval
	rc.SnapshotThreshold = snapshotThreshold
	rc.TrailingLogs = trailingLogs
	rc.NoLegacyTelemetry = true
	return rc
}

// members is the first configuration, that of a cluster that has none yet.
func (c *Config) members() raft.Configuration {
	var out raft.Configuration
	for _, p := range c.Peers {
		out.Servers = append(out.Servers, raft.Server{ID: raft.ServerID(p.Name), Address: raft.ServerAddress(p.RaftAddr)})
	}
	return out
}
