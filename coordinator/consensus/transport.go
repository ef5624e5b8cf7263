package consensus

import (
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// transport is raft's own with the heartbeat fast path cut off.
//
// raft hands NetworkTransport a handler that answers heartbeats on the
// connection's goroutine, beside the main loop (hashicorp/raft issue 695, open
// in v1.8.0). A heartbeat of a newer term then changes the term while the main
// loop still takes itself for the leader, and the next entry it accepts is
// written, and may be committed, with a term that this node never led: logs
// diverge. Without a handler heartbeats queue with everything else and the main
// loop steps down first. The price, a heartbeat that waits for a disk write, is
// far below the election timeout.
//
// The type itself is embedded, not the interface: raft looks for pre-vote and
// Close by type assertion and would silently go without them.
type transport struct{ *raft.NetworkTransport }

// SetHeartbeatHandler drops the handler; see transport.
func (transport) SetHeartbeatHandler(func(raft.RPC)) {}

// addressBook finds peers by name, so that a cluster whose addresses changed
// between two starts still finds itself: the Raft log remembers the old ones.
type addressBook map[raft.ServerID]raft.ServerAddress

// ServerAddr implements raft.ServerAddressProvider.
func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if a, ok := b[id]; ok {
		return a, nil
	}
	return "", fmt.Errorf("no address known for node %s", id)
}

func newTransport(c *Config, log hclog.Logger) (transport, error) {
	self, _ := c.peer(c.Name)
	bind := c.Bind
	if bind == "" {
		bind = self.RaftAddr
	}
	advertise, err := net.ResolveTCPAddr("tcp", self.RaftAddr)
	if err != nil {
		return transport{}, fmt.Errorf("resolving %s: %w", self.RaftAddr, err)
	}
	book := make(addressBook)
	for _, p := range c.Peers {
		book[raft.ServerID(p.Name)] = raft.ServerAddress(p.RaftAddr)
	}
	t, err := raft.NewTCPTransportWithConfig(bind, advertise, &raft.NetworkTransportConfig{
		ServerAddressProvider: book,
		Logger:                log,
		MaxPool:               transportPool,
		Timeout:               transportTimeout,
	})
	if err != nil {
		return transport{}, fmt.Errorf("listening for raft on %s: %w; is another node running on this address?", bind, err)
	}
	return transport{t}, nil
}
