package dossier_test

import (
	"encoding/binary"
	"testing"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/verify/dossier"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// One coordinator who signs an old list again, or with a time of his own choice,
// makes it no younger.
func TestAStatusListIsAsOldAsItsMajority(t *testing.T) {
	l := books(t)
	for _, times := range [][]int64{{signedUnix, signedUnix + 1e8}, {signedUnix + 1e8, signedUnix}, {signedUnix - 5, signedUnix + 1e8, signedUnix}} {
		f := l.dossier(t, l.agreed(t))
		var err error
		f.Status, err = l.statusListAt(times)
		check(t, err)
		r, err := dossier.Check(f, l.trust())
		check(t, err)
		if !r.Verified() || !said(r, r.Proven, "no withdrawal is known as of 2027-01-15T08:00:00Z") {
			t.Errorf("%v: %v\n%v", times, r.Failures, r.Proven)
		}
	}
}

// A transcript of anybody's making names whatever keys it likes: a provenance by
// one of them shows nothing without the summary.
func TestATranscriptAloneSpeaksForNoKey(t *testing.T) {
	l := books(t)
	f := l.dossier(t, l.agreed(t))
	f.Bundle, f.Summary, f.Provenances = f.Provenances[0], nil, nil
	r, err := dossier.Check(f, l.trust())
	check(t, err)
	if r.Verified() || !said(r, r.Failures, "nobody speaks for the key") {
		t.Errorf("verified by the keys of a transcript that nobody certified: %v", r.Failures)
	}
}

// statusList signs a list with events as coordinators do.
func (l *library) statusList(events ...evidence.Event) ([]byte, error) {
	return l.statusListAt([]int64{signedUnix, signedUnix}, events...)
}

// statusListAt is statusList, signed by the first coordinators at these times.
func (l *library) statusListAt(times []int64, events ...evidence.Event) ([]byte, error) {
	w, origin := l.world, tlog.Origin(l.world.Cluster)
	s := evidence.Status{Type: evidence.TypeStatus, Origin: origin, Size: l.log.Size(), Root: evidence.Hex(l.log.Root()), Events: append([]evidence.Event{}, events...)}
	list, err := s.Bytes()
	if err != nil {
		return nil, err
	}
	note, err := tlog.SignCheckpoint(evidence.StatusCheckpoint(origin, s.Size, list), w.ClusterKey.Sign, w.ClusterKey.PKIX)
	if err != nil {
		return nil, err
	}
	trust := evidence.StatusTrust(evidence.Trust(w.Genesis))
	for i, c := range w.Coordinators[:len(times)] {
		line, err := tlog.Cosign(note, trust.Cosigners[i].Name, times[i], c.Sign, c.PKIX)
		if err != nil {
			return nil, err
		}
		if note, err = tlog.AddSignatures(note, line); err != nil {
			return nil, err
		}
	}
	return evidence.SignedStatus(list, note)
}

// A list that nobody signed may name thousands of keys for the cluster's: it was read
// again by each, for minutes.
func TestListOfManyKeysIsReadOnce(t *testing.T) {
	l := books(t)
	s := evidence.Status{Type: evidence.TypeStatus, Origin: tlog.Origin(l.world.Cluster), Size: 1 << 20}
	for i := range uint64(5000) {
		item := raftfsm.KeyItem{Account: build.ClusterKeyID(l.world.Cluster), Role: raftfsm.RoleCluster}
		item.NewKey = binary.BigEndian.AppendUint64(l.world.ClusterKey.PKIX[:len(l.world.ClusterKey.PKIX)-8:len(l.world.ClusterKey.PKIX)-8], i)
		raw, err := evidence.KeyLeaf(&item)
		check(t, err)
		s.Events = append(s.Events, evidence.Event{Leaf: i, Entry: raw})
	}
	list, err := s.Bytes()
	check(t, err)
	f := l.dossier(t, l.agreed(t))
	f.Status, err = evidence.SignedStatus(list, l.note)
	check(t, err)
	begun := time.Now()
	r, err := dossier.Check(f, l.trust())
	check(t, err)
	if took := time.Since(begun); r.Verified() || took > 30*time.Second {
		t.Errorf("after %v: %v", took, r.Failures)
	}
}
