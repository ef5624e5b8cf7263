package consensus

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// hazard runs three raft nodes over TCP, sends the leader the heartbeat of a
// newer term, as the cluster's new leader would, and at once proposes an entry.
// It returns the term the node led and the term it wrote the entry with, 0 if it
// refused it.
func hazard(t *testing.T, wrap func(*raft.NetworkTransport) raft.Transport) (led, wrote uint64) {
	var members raft.Configuration
	var trans []*raft.NetworkTransport
	for i := range 3 {
		tr, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 2, time.Second, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		trans = append(trans, tr)
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(fmt.Sprint("n", i)), Address: tr.LocalAddr()})
	}
	elected := make(chan int, 3)
	var nodes []*raft.Raft
	var logs []*raft.InmemStore
	for i := range trans {
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = members.Servers[i].ID, hclog.NewNullLogger()
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
		log := raft.NewInmemStore()
		snapshots := raft.NewInmemSnapshotStore()
		tr := wrap(trans[i])
		if err := raft.BootstrapCluster(c, log, log, snapshots, tr, members); err != nil {
			t.Fatal(err)
		}
		r, err := raft.NewRaft(c, &raft.MockFSM{}, log, log, snapshots, tr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Shutdown().Error() }()
		nodes, logs = append(nodes, r), append(logs, log)
		go func() {
			for leads := range r.LeaderCh() {
				if leads {
					elected <- i
					return
				}
			}
		}()
	}
	leader := <-elected
	if err := nodes[leader].Apply([]byte("a"), time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	led = nodes[leader].CurrentTerm()
	rival := (leader + 1) % 3
	var resp raft.AppendEntriesResponse
	if err := trans[rival].AppendEntries(members.Servers[leader].ID, trans[leader].LocalAddr(), &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(members.Servers[rival].ID), Addr: []byte(trans[rival].LocalAddr())},
		Term:      led + 1,
	}, &resp); err != nil {
		t.Fatal(err)
	}
	_ = nodes[leader].Apply([]byte("X"), time.Second).Error()
	last, err := logs[leader].LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if logs[leader].GetLog(i, &l) == nil && string(l.Data) == "X" {
			return led, l.Term
		}
	}
	return led, 0
}

// hashicorp/raft issue 695: over its own TCP transport a deposed leader writes an
// entry with a term that it never led. With ours it refuses the entry. The first
// half fails on the day the library is mended: then transport can go.
func TestDeposedLeaderWritesNothing(t *testing.T) {
	const tries = 4
	shown := 0
	for range tries {
		if led, wrote := hazard(t, func(n *raft.NetworkTransport) raft.Transport { return n }); wrote > led {
			shown++
		}
	}
	t.Logf("raft's own transport: %d of %d wrote an entry in a term they never led", shown, tries)
	if shown == 0 {
		t.Error("the hazard no longer shows on raft's own transport: is this test still aimed at it?")
	}
	for range tries {
		if led, wrote := hazard(t, func(n *raft.NetworkTransport) raft.Transport { return transport{n} }); wrote != 0 {
			t.Errorf("led term %d, wrote an entry in term %d", led, wrote)
		}
	}
}

// raft finds these by type assertion; losing one would be silent.
func TestTransportKeepsPreVoteAndClose(t *testing.T) {
	var tr raft.Transport = transport{}
	if _, ok := tr.(raft.WithPreVote); !ok {
		t.Error("pre-vote is lost")
	}
	if _, ok := tr.(raft.WithClose); !ok {
		t.Error("Close is lost")
	}
}
