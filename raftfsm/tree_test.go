package raftfsm

import (
	"bytes"
	"testing"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// The state tree depends on the set of records alone.
func TestStateTree(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneSpot, workers: 1, replicas: 1, seed: 1})
	records := map[[32]byte][32]byte{}
	tree := newStateTree()
	for range 20_000 {
		k, v := [32]byte{byte(f.rng.IntN(40)), byte(f.rng.IntN(3))}, [32]byte{byte(f.rng.IntN(200))}
		if f.rng.IntN(3) == 0 {
			delete(records, k)
			tree.Delete(k)
		} else {
			records[k] = v
			tree.Set(k, v)
		}
		if f.rng.IntN(50) == 0 {
			var keys [][32]byte
			for k := range records {
				keys = append(keys, k)
			}
			if got, want := tree.Root(), naiveRoot(keys, records, 0); got != want {
				t.Fatalf("%d records: root %x, want %x", len(records), got, want)
			}
		}
	}
}

// naiveRoot builds the tree from scratch.
func naiveRoot(keys [][32]byte, values map[[32]byte][32]byte, depth int) [32]byte {
	switch len(keys) {
	case 0:
		return [32]byte{}
	case 1:
		return wire.NewHasher("state-leaf").Fixed(keys[0]).Fixed(values[keys[0]]).Sum()
	}
	var halves [2][][32]byte
	for _, k := range keys {
		b := k[depth/8] >> (7 - depth%8) & 1
		halves[b] = append(halves[b], k)
	}
	return wire.NewHasher("state-node").Fixed(naiveRoot(halves[0], values, depth+1)).Fixed(naiveRoot(halves[1], values, depth+1)).Sum()
}

func FuzzRestore(f *testing.F) {
	farm := newFarm(f, farmOptions{lane: build.LaneSpot, workers: 2, replicas: 1, drop: credit, seed: 5})
	raw := wire.Encode(snapshot{farm.state()})
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := restore(farm.genesis, cheap{}, bytes.NewReader(raw))
		if err == nil && !bytes.Equal(wire.Encode(snapshot{s}), raw) {
			t.Error("a snapshot was restored that is not canonical")
		}
	})
}
