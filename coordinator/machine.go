package coordinator

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"gavel/coordinator/consensus"
	"gavel/raftfsm"
)

// machine is the state machine as hashicorp/raft drives it.
type machine struct {
	*raftfsm.FSM
	// durable returns once what the log is made of is on disk up to an entry:
	// Raft forgets the entries that a snapshot covers.
	durable func(index uint64) error
}

var _ consensus.FSM = machine{}

// Apply carries out one entry and returns []build.Outcome, one for each command.
func (m machine) Apply(l *raft.Log) any { return m.FSM.Apply(l.Index, l.Data) }

// Snapshot encodes the state as it is now.
func (m machine) Snapshot() (raft.FSMSnapshot, error) {
	index, raw := m.FSM.Snapshot()
	return persisted{raw, func() error { return m.durable(index) }}, nil
}

// Restore replaces the state by a snapshot's.
func (m machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	return m.FSM.Restore(r)
}

// persisted is an encoded snapshot on its way to disk.
type persisted struct {
	raw     []byte
	durable func() error
}

// Persist writes the snapshot, after what it lets Raft forget.
func (p persisted) Persist(sink raft.SnapshotSink) error {
	err := p.durable()
	if err == nil {
		_, err = sink.Write(p.raw)
	}
	if err != nil {
		sink.Cancel()
		return fmt.Errorf("writing snapshot: %w", err)
	}
	return sink.Close()
}

// Release frees nothing: the bytes are the garbage collector's.
func (p persisted) Release() {}
