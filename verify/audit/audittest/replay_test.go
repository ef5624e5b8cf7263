package audittest

import (
	"slices"
	"testing"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// What a world made on credit a node makes checking everything, and an auditor
// who stops and goes on from a snapshot makes it too. A replay once proved an
// entry's beacon signatures together: one that nothing waited for, and that no
// node looked at, counted as a forgery.
func TestReplayIsTheStateMachine(t *testing.T) {
	w, err := New(Options{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	fsm, err := raftfsm.New(w.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	replay, err := raftfsm.NewReplay(w.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	var observed raftfsm.Applied
	fsm.Observe(func(a raftfsm.Applied) { observed = a })
	for i, e := range w.Entries {
		fsm.Apply(e.Index, e.Data)
		var record raftfsm.Entry
		if err := wire.Decode(observed.Record, &record); err != nil {
			t.Fatal(err)
		}
		apply := replay.Apply
		if slices.Contains(record.Codes, uint32(build.CodeBadBeacon)) {
			apply = replay.ApplyChecked
		}
		again := apply(e.Index, e.Data)
		for _, other := range []raftfsm.Applied{w.Applied[i], again} {
			if other.Chain != observed.Chain || len(other.Items) != len(observed.Items) || len(other.Transcripts) != len(observed.Transcripts) {
				t.Fatalf("entry %d: chain %x, a node has %x", e.Index, other.Chain[:4], observed.Chain[:4])
			}
		}
		if i%97 != 0 {
			continue
		}
		if forged := replay.Prove(); len(forged) != 0 {
			t.Fatalf("entry %d: %d signatures are said to be forged", e.Index, len(forged))
		}
		hash := replay.Hash()
		if replay, err = raftfsm.ResumeReplay(w.Genesis, replay.Snapshot()); err != nil {
			t.Fatal(err)
		}
		if replay.Hash() != hash {
			t.Fatalf("entry %d: state %x after resuming, %x before", e.Index, replay.Hash(), hash)
		}
	}
	if _, hash := fsm.Applied(); replay.Hash() != hash || len(replay.Prove()) != 0 {
		t.Errorf("state %x, a node has %x", replay.Hash(), hash)
	}
	if _, err := raftfsm.ResumeReplay(w.Genesis, replay.Snapshot()[1:]); err == nil {
		t.Error("a cut snapshot was taken")
	}
}
