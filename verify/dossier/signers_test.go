package dossier_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/dossier"
	"gavel/verify/evidence"
)

// A transcript of anybody's making may name thousands who built: a bundle was read again
// for each of their keys.
func TestBundleIsReadForTheKeyThatItNames(t *testing.T) {
	l := books(t)
	b := l.agreed(t)
	f := l.dossier(t, b)
	var forged build.Transcript
	check(t, wire.Decode(f.Transcript, &forged))
	agreed := forged.Build.Attempts[evidence.Agreeing(&forged.Build)[0]]
	party, _ := forged.Party(agreed.Worker)
	for i := range uint64(3000) {
		id := build.ID(binary.BigEndian.AppendUint64(make([]byte, 24), i))
		p, a := *party, agreed
		p.ID, a.Worker = id, id
		p.Key = binary.BigEndian.AppendUint64(slices.Clone(p.Key[:len(p.Key)-8]), i)
		forged.Parties, forged.Build.Attempts = append(forged.Parties, p), append([]build.Attempt{a}, forged.Build.Attempts...)
	}
	slices.SortFunc(forged.Parties, func(x, y build.Party) int { return wire.Compare32(x.ID, y.ID) })
	f.Transcript = wire.Encode(&forged)
	f.Summary = f.Bundle
	f.Bundle = append(slices.Clone(f.Provenances[0]), bytes.Repeat([]byte(" "), 4<<20)...)
	begun := time.Now()
	r, err := dossier.Check(f, l.trust())
	check(t, err)
	if took := time.Since(begun); r.Bundle == nil || r.Verified() || took > 20*time.Second {
		t.Errorf("after %v: %v", took, r.Failures)
	}
}
