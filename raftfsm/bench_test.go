package raftfsm

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// emptyFSM is the limit: a state machine that does nothing.
type emptyFSM struct{}

func (emptyFSM) Apply(*raft.Log) any                 { return nil }
func (emptyFSM) Snapshot() (raft.FSMSnapshot, error) { return persisted(nil), nil }
func (emptyFSM) Restore(r io.ReadCloser) error       { return r.Close() }

// cluster is three nodes of hashicorp/raft in memory.
func cluster(b *testing.B, fsms [3]raft.FSM) *raft.Raft {
	b.Helper()
	var transports []*raft.InmemTransport
	var members raft.Configuration
	for i := range fsms {
		addr, tr := raft.NewInmemTransport(raft.ServerAddress(fmt.Sprint("n", i)))
		transports = append(transports, tr)
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(fmt.Sprint("n", i)), Address: addr})
	}
	for i := range transports {
		for j := range transports {
			transports[i].Connect(members.Servers[j].Address, transports[j])
		}
	}
	var nodes []*raft.Raft
	for i := range fsms {
		c := raft.DefaultConfig()
		c.LocalID = members.Servers[i].ID
		c.Logger = hclog.NewNullLogger()
		c.CommitTimeout = 5 * time.Millisecond
		store := raft.NewInmemStore()
		snaps := raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(c, store, store, snaps, transports[i], members); err != nil {
			b.Fatal(err)
		}
		r, err := raft.NewRaft(c, fsms[i], store, store, snaps, transports[i])
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, r)
	}
	b.Cleanup(func() {
		for _, r := range nodes {
			if err := r.Shutdown().Error(); err != nil {
				b.Error(err)
			}
		}
	})
	for {
		for _, r := range nodes {
			if r.State() == raft.Leader {
				return r
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// applyAll proposes entries, 64 in flight, and returns the time per entry.
func applyAll(b *testing.B, r *raft.Raft, entries [][]byte) time.Duration {
	b.Helper()
	begin := time.Now()
	futures := make(chan raft.ApplyFuture, 64)
	failed := make(chan error, 1)
	go func() {
		var first error
		for f := range futures {
			if err := f.Error(); err != nil && first == nil {
				first = err
			}
		}
		failed <- first
	}()
	for _, e := range entries {
		futures <- r.Apply(e, time.Minute)
	}
	close(futures)
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	return time.Since(begin) / time.Duration(len(entries))
}

// BenchmarkApply compares the state machine with an empty one on the same raft
// (three nodes in memory, so that no disk hides the difference): entries of 16
// heartbeats, the commonest command, each with a real Ed25519 signature, on a
// farm with 8 workers and a running build. Reported: the ratio of the times per
// entry, and the same per entry of one command.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 16} {
		b.Run(fmt.Sprintf("commands=%d", size), func(b *testing.B) {
			f := newFarm(b, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 3, drop: 10_000 * credit, stake: 1_000 * credit, seed: 7, real: true})
			id := f.submit(0, f.terms(build.LaneSpot))
			f.auctioned(id, prices(8)...)
			lease := f.build(id).Builder().Lease(id)
			f.must(f.command(f.workers[0], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
			var batch build.Batch
			for range size {
				batch.Commands = append(batch.Commands, f.command(f.workers[0], build.TypeHeartbeat, &build.LeaseRef{Build: id, Lease: lease}))
			}
			raw := wire.Encode(&batch)
			entries := make([][]byte, 2000)
			for i := range entries {
				entries[i] = raw
			}
			ours := cluster(b, [3]raft.FSM{f.replicas[0], f.replicas[1], f.replicas[2]})
			empty := cluster(b, [3]raft.FSM{emptyFSM{}, emptyFSM{}, emptyFSM{}})
			var with, without time.Duration
			for b.Loop() {
				without += applyAll(b, empty, entries)
				with += applyAll(b, ours, entries)
			}
			b.ReportMetric(float64(with)/float64(without), "x-empty-fsm")
			b.ReportMetric(float64(with.Microseconds())/float64(b.N)/float64(size), "us/command")
		})
	}
}
