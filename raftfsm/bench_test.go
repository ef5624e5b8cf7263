package raftfsm

import (
	"errors"
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
func (emptyFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots here") }
func (emptyFSM) Restore(r io.ReadCloser) error       { return r.Close() }

// driven is the real one.
type driven struct {
	emptyFSM
	fsm *FSM
}

func (d driven) Apply(log *raft.Log) any { return d.fsm.Apply(log.Index, log.Data) }

// signaturesFSM is the nearer limit: it checks who sent each command, and does nothing.
type signaturesFSM struct {
	emptyFSM
	key     []byte
	cluster ID
}

func (f signaturesFSM) Apply(log *raft.Log) any {
	var batch build.Batch
	if err := wire.Decode(log.Data, &batch); err != nil {
		panic(err) // the benchmark made it
	}
	for i := range batch.Commands {
		m := &batch.Commands[i]
		if err := wire.VerifySignature(f.key, m.SigningBytes(f.cluster), m.Signature); err != nil {
			panic(err)
		}
	}
	return nil
}

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
		// A machine that is busy elsewhere must not depose a leader half way.
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 2*time.Second, 2*time.Second, 2*time.Second
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

// BenchmarkApply compares the state machine with an empty one, and with one that
// only checks signatures, on the same raft (three nodes in memory, so that no disk
// hides the difference; they share this machine's processors): entries of
// heartbeats, the commonest command, each with a real Ed25519 signature, on a farm
// with 8 workers and a running build. Reported are ratios of the times per entry.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 16} {
		b.Run(fmt.Sprintf("commands=%d", size), func(b *testing.B) {
			f := newFarm(b, farmOptions{lane: build.LaneSpot, workers: 8, replicas: 3, drop: 10_000 * credit, stake: 1_000 * credit, seed: 7, real: true})
			entries := f.heartbeats(size, 400)
			checking := signaturesFSM{key: f.workers[0], cluster: f.state().Cluster()}
			ways := []*raft.Raft{
				cluster(b, [3]raft.FSM{emptyFSM{}, emptyFSM{}, emptyFSM{}}),
				cluster(b, [3]raft.FSM{checking, checking, checking}),
				cluster(b, [3]raft.FSM{driven{fsm: f.replicas[0]}, driven{fsm: f.replicas[1]}, driven{fsm: f.replicas[2]}}),
			}
			var took [3]time.Duration
			for b.Loop() {
				for i, r := range ways {
					took[i] += applyAll(b, r, entries)
				}
			}
			b.ReportMetric(0, "ns/op") // of all three together
			b.ReportMetric(float64(took[2])/float64(took[0]), "x-empty-fsm")
			b.ReportMetric(float64(took[2])/float64(took[1]), "x-signatures")
			b.ReportMetric(float64(took[2].Microseconds())/float64(b.N)/float64(size), "us/command")
		})
	}
}

// heartbeats are entries of size heartbeats each, of the winner of a build.
func (f *farm) heartbeats(size, entries int) [][]byte {
	id := f.submit(0, f.terms(build.LaneSpot))
	f.auctioned(id, prices(8)...)
	lease := f.build(id).Builder().Lease(id)
	f.must(f.command(f.workers[0], build.TypeStart, &build.LeaseRef{Build: id, Lease: lease}))
	out := make([][]byte, entries)
	for i := range out {
		var batch build.Batch
		for range size {
			batch.Commands = append(batch.Commands, f.command(f.workers[0], build.TypeHeartbeat, &build.LeaseRef{Build: id, Lease: lease}))
		}
		out[i] = wire.Encode(&batch)
	}
	return out
}
