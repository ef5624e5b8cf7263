package evidence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func id(b byte) (out evidence.ID) {
	for i := range out {
		out[i] = b
	}
	return out
}

// jsonLeaves is one of each kind of JSON leaf.
func jsonLeaves(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	put := func(kind string, leaf []byte, err error) {
		check(t, err)
		out[kind] = leaf
	}
	leaf, err := evidence.EpochLeaf(&raftfsm.EpochItem{Number: 7, First: 1 << 60, Last: 1<<60 + 9, Entries: 8, Before: id(1), Chain: id(2), State: id(3), FarmMillis: -1, WallMillis: 5})
	put(evidence.TypeEpoch, leaf, err)
	leaf, err = evidence.BuildLeaf(&raftfsm.CertifiedItem{Build: id(4), Transcript: id(5), Certificate: build.Certificate{Transcripts: []evidence.ID{id(5), id(6)}}}, build.NoBids)
	put(evidence.TypeBuild, leaf, err)
	leaf, err = evidence.KeyLeaf(&raftfsm.KeyItem{Account: id(7), Role: raftfsm.RoleCluster, KeyEvent: raftfsm.KeyEvent{
		OldKey: []byte{1, 2}, NewKey: []byte{3, 4, 5}, Reason: "a \"quoted\" <reason> ü", By: id(8), FarmMillis: 1, WallMillis: 2, Index: 3,
	}})
	put(evidence.TypeKey, leaf, err)
	leaf, err = evidence.WithdrawalLeaf(&raftfsm.WithdrawalItem{
		Withdrawal: raftfsm.Withdrawal{Build: id(9), Transcript: id(10), Result: id(11), Challenge: id(12), Found: id(13), Index: 4},
		Panel:      id(14), Reason: "refuted", Number: 1, Chain: id(15),
	})
	put(evidence.TypeWithdrawal, leaf, err)
	return out
}

func TestLeavesSayWhatTheyAre(t *testing.T) {
	for kind, raw := range jsonLeaves(t) {
		leaf, err := evidence.Read(raw)
		check(t, err)
		if !leaf.Ends([]byte{9}) {
			t.Errorf("%s: a JSON leaf ends its item", kind)
		}
		got := map[string]bool{
			evidence.TypeEpoch: leaf.Epoch != nil, evidence.TypeBuild: leaf.Build != nil, evidence.TypeKey: leaf.Key != nil, evidence.TypeWithdrawal: leaf.Withdrawal != nil,
		}
		for k, is := range got {
			if is != (k == kind) {
				t.Errorf("a leaf of type %s was read as %s: %t", kind, k, is)
			}
		}
		key, err := leaf.ClusterKeyAfter([]byte{9})
		check(t, err)
		if want := map[bool][]byte{true: {3, 4, 5}, false: {9}}[kind == evidence.TypeKey]; !bytes.Equal(key, want) {
			t.Errorf("after a leaf of type %s the cluster's key is %x, want %x", kind, key, want)
		}
	}
}

// A leaf has one form: whatever else means the same is refused.
func TestReadIsStrict(t *testing.T) {
	for kind, raw := range jsonLeaves(t) {
		for what, other := range map[string]string{
			"a space":          strings.Replace(string(raw), ",", ", ", 1),
			"a field more":     strings.Replace(string(raw), "{", `{"aa":1,`, 1),
			"upper-case hex":   strings.Replace(string(raw), "0e0e", "0E0e", 1) + " ",
			"a bare number":    strings.Replace(strings.Replace(string(raw), `"1152921504606846976"`, `1152921504606846976`, 1), `"number":"1"`, `"number":1`, 1) + " ",
			"something behind": string(raw) + "{}",
			"another type":     strings.Replace(string(raw), kind, "gavel.other/v1", 1),
		} {
			if _, err := evidence.Read([]byte(other)); !errors.Is(err, evidence.ErrLeaf) {
				t.Errorf("%s with %s: got %v, want %v", kind, what, err, evidence.ErrLeaf)
			}
		}
	}
}

// theWorld is a market that has run, with certified builds of every kind.
func theWorld(t testing.TB) *audittest.World {
	t.Helper()
	w, err := audittest.New(audittest.Options{Seed: 3})
	check(t, err)
	return w
}

func TestCertifiedBuilds(t *testing.T) {
	w := theWorld(t)
	transcripts := map[evidence.ID][]byte{}
	delivered, leftOut := 0, map[string]int{}
	for i := range w.Applied {
		for _, tr := range w.Applied[i].Transcripts {
			transcripts[tr.Digest] = tr.Bytes
		}
		for _, item := range w.Applied[i].Items {
			if item.Certified == nil {
				continue
			}
			tr, err := build.ReadTranscript(transcripts[item.Certified.Transcript], item.Certified.Transcript)
			check(t, err)
			content, _, ok := evidence.DeliveredManifest(&tr.Build)
			if !ok {
				continue
			}
			delivered++
			c, err := evidence.NewCertified(item.Certified, tr, w.Manifests[content])
			check(t, err)
			statement := func(attempt int) ([]byte, error) {
				return w.Provenance(&tr.Build, &tr.Build.Attempts[attempt]).Statement()
			}
			sign := func(statement []byte) ([]byte, error) { return w.ClusterKey.Sign(attest.Payload(statement)) }
			leaves, err := c.Leaves(statement, sign, w.ClusterKey.PKIX)
			check(t, err)
			if n := len(leaves.Provenances) + len(leaves.LeftOut); n != len(evidence.Agreeing(&tr.Build)) {
				t.Errorf("%d parties agreed, %d are accounted for", len(evidence.Agreeing(&tr.Build)), n)
			}
			for _, l := range leaves.LeftOut {
				leftOut[l.Why]++
			}
			all := leaves.All()
			for k, raw := range all {
				leaf, err := evidence.Read(raw)
				check(t, err)
				if last := k == len(all)-1; leaf.Record == nil || leaf.Ends(w.ClusterKey.PKIX) != last {
					t.Errorf("leaf %d of %d of a build: ends it %t", k, len(all), leaf.Ends(w.ClusterKey.PKIX))
				}
			}
			s, err := attest.ParseSummary(leaves.Summary)
			check(t, err)
			if s.Transcript != item.Certified.Transcript || s.Build != tr.Build.ID || len(s.Inputs) != len(leaves.Provenances) {
				t.Error("the summary is of another build")
			}
			wrong := *w.Manifests[content]
			wrong.ExitCode++
			if _, err := evidence.NewCertified(item.Certified, tr, &wrong); !errors.Is(err, evidence.ErrManifest) {
				t.Errorf("another result's manifest: got %v, want %v", err, evidence.ErrManifest)
			}
		}
	}
	if delivered < 10 || leftOut[evidence.WhyForged] == 0 {
		t.Errorf("%d builds delivered, left out were %v: the world is too small", delivered, leftOut)
	}
}

func TestCheckEntries(t *testing.T) {
	w := theWorld(t)
	var entries evidence.EpochEntries
	for i := range w.Applied {
		var e raftfsm.Entry
		check(t, wire.Decode(w.Applied[i].Record, &e))
		entries = append(entries, e)
		for _, item := range w.Applied[i].Items {
			if item.Epoch == nil {
				continue
			}
			e := item.Epoch
			verify := func(entries evidence.EpochEntries) error {
				return evidence.CheckEntries(entries, e.First, e.Last, e.Entries, e.Before, e.Chain)
			}
			check(t, verify(entries))
			if len(entries) > 2 {
				swapped := append(evidence.EpochEntries{}, entries...)
				swapped[0], swapped[1] = swapped[1], swapped[0]
				if verify(swapped) == nil || verify(entries[1:]) == nil || verify(append(entries[:len(entries):len(entries)], entries[len(entries)-1])) == nil {
					t.Fatal("entries that are out of order, missing or repeated pass")
				}
				changed := append(evidence.EpochEntries{}, entries...)
				changed[1].Codes = append([]uint32{77}, changed[1].Codes...)
				if verify(changed) == nil {
					t.Fatal("an entry that was changed passes")
				}
			}
			entries = nil
		}
	}
}

// statusNote signs a list as coordinators do.
func statusNote(t testing.TB, w *audittest.World, list []byte, size uint64, cosigners int) []byte {
	t.Helper()
	trust := evidence.StatusTrust(evidence.Trust(w.Genesis))
	note, err := tlog.SignCheckpoint(evidence.StatusCheckpoint(tlog.Origin(w.Cluster), size, list), w.ClusterKey.Sign, w.ClusterKey.PKIX)
	check(t, err)
	for i := range cosigners {
		line, err := tlog.Cosign(note, trust.Cosigners[i].Name, int64(1000+i), w.Coordinators[i].Sign, w.Coordinators[i].PKIX)
		check(t, err)
		note, err = tlog.AddSignatures(note, line)
		check(t, err)
	}
	raw, err := evidence.SignedStatus(list, note)
	check(t, err)
	return raw
}

func TestStatusList(t *testing.T) {
	w := theWorld(t)
	trust := evidence.Trust(w.Genesis)
	leaves := jsonLeaves(t)
	s := evidence.Status{Type: evidence.TypeStatus, Origin: trust.Origin, Size: 30, Root: evidence.Hex(id(1)), Events: []evidence.Event{
		{Leaf: 3, Entry: leaves[evidence.TypeKey]}, {Leaf: 17, Entry: leaves[evidence.TypeWithdrawal]},
	}}
	list, err := s.Bytes()
	check(t, err)
	good := statusNote(t, w, list, 30, 2)
	got, opened, err := evidence.OpenStatus(good, trust)
	check(t, err)
	if len(opened.Cosigners) != 2 || len(opened.Times) != 2 {
		t.Errorf("cosigned by %v at %v", opened.Cosigners, opened.Times)
	}
	if _, leaf, ok := got.Withdrawn(id(9)); !ok || leaf != 17 {
		t.Errorf("the withdrawal is at leaf %d, found %t", leaf, ok)
	}
	if _, _, ok := got.Withdrawn(id(4)); ok {
		t.Error("a build that was not withdrawn is")
	}
	if events, at := got.KeyEvents(id(7)); len(events) != 1 || at[0] != 3 {
		t.Errorf("key events %v at %v", events, at)
	}
	reordered := s
	reordered.Events = []evidence.Event{s.Events[1], s.Events[0]}
	foreign := s
	foreign.Events = []evidence.Event{{Leaf: 3, Entry: leaves[evidence.TypeEpoch]}}
	bytesOf := func(s evidence.Status) []byte {
		raw, err := s.Bytes()
		check(t, err)
		return raw
	}
	for what, raw := range map[string][]byte{
		"too few cosigners":     statusNote(t, w, list, 30, 1),
		"another size":          statusNote(t, w, list, 31, 2),
		"events out of order":   statusNote(t, w, bytesOf(reordered), 30, 2),
		"an epoch for an event": statusNote(t, w, bytesOf(foreign), 30, 2),
		"a dropped event":       bytes.Replace(good, append(append([]byte(`,{"entry":`), leaves[evidence.TypeWithdrawal]...), []byte(`,"leaf":"17"}`)...), nil, 1),
		"a byte":                bytes.Replace(good, []byte(`"leaf":"17"`), []byte(`"leaf":"18"`), 1),
		"nothing":               nil,
	} {
		if bytes.Equal(raw, good) {
			t.Fatalf("%s: nothing was changed", what)
		}
		if _, _, err := evidence.OpenStatus(raw, trust); err == nil {
			t.Errorf("a status list with %s passes", what)
		}
	}
}

// A coordinator whose key the list says is revoked is none of the majority.
func TestRevokedCosignersDoNotCount(t *testing.T) {
	w := theWorld(t)
	trust := evidence.Trust(w.Genesis)
	raw, err := evidence.KeyLeaf(&raftfsm.KeyItem{Account: w.Coordinators[0].ID, Role: "coordinator", KeyEvent: raftfsm.KeyEvent{OldKey: w.Coordinators[0].PKIX, Revoked: true}})
	check(t, err)
	s := evidence.Status{Type: evidence.TypeStatus, Origin: trust.Origin, Size: 30, Events: []evidence.Event{{Leaf: 9, Entry: raw}}}
	list, err := s.Bytes()
	check(t, err)
	if _, _, err := evidence.OpenStatus(statusNote(t, w, list, 30, 2), trust); !errors.Is(err, tlog.ErrSignature) {
		t.Errorf("a list signed by one coordinator and a revoked key: got %v, want %v", err, tlog.ErrSignature)
	}
	_, opened, err := evidence.OpenStatus(statusNote(t, w, list, 30, 3), trust)
	check(t, err)
	if len(opened.Cosigners) != 2 {
		t.Errorf("%v are counted, want the two whose keys are good", opened.Cosigners)
	}
	if got := evidence.Unrevoked(trust, 9, s.Events); len(got.Cosigners) != 3 {
		t.Error("what was signed before the revocation counts no longer")
	}
}

func FuzzRead(f *testing.F) {
	for _, raw := range jsonLeaves(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		leaf, err := evidence.Read(raw)
		if err != nil {
			return
		}
		set := 0
		for _, is := range []bool{leaf.Epoch != nil, leaf.Build != nil, leaf.Key != nil, leaf.Withdrawal != nil, leaf.Record != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			t.Fatalf("a leaf of %d kinds", set)
		}
	})
}

func FuzzOpenStatus(f *testing.F) {
	w, err := audittest.New(audittest.Options{Builds: 1, Seed: 3})
	check(f, err)
	trust := evidence.Trust(w.Genesis)
	s := evidence.Status{Type: evidence.TypeStatus, Origin: trust.Origin, Size: 30, Events: []evidence.Event{{Leaf: 3, Entry: jsonLeaves(f)[evidence.TypeKey]}}}
	list, err := s.Bytes()
	check(f, err)
	good := statusNote(f, w, list, 30, 2)
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, _, err := evidence.OpenStatus(raw, trust); err == nil {
			again, err := got.Bytes()
			if err != nil || !bytes.Equal(again, list) {
				t.Fatalf("a list that nobody signed passes: %s", raw)
			}
		}
	})
}

// A key ends when it was revoked or replaced, whichever came first, and the next begins
// when it was put in its place.
func TestTrustedRootTellsWhenEachKeyWasInUse(t *testing.T) {
	w, err := audittest.New(audittest.Options{Seed: 3})
	check(t, err)
	second, third := w.Admin.PKIX, w.Requesters[0].PKIX
	var events []evidence.Event
	for i, e := range []raftfsm.KeyItem{
		{Role: raftfsm.RoleCluster, KeyEvent: raftfsm.KeyEvent{NewKey: second, WallMillis: 1_795_000_000_001}},
		{Role: "worker", KeyEvent: raftfsm.KeyEvent{NewKey: w.Coordinators[0].PKIX, WallMillis: 1_796_000_000_000}},
		{Role: raftfsm.RoleCluster, KeyEvent: raftfsm.KeyEvent{OldKey: second, Revoked: true, WallMillis: 1_797_000_000_000}},
		{Role: raftfsm.RoleCluster, KeyEvent: raftfsm.KeyEvent{OldKey: second, NewKey: third, WallMillis: 1_798_000_000_000}},
	} {
		leaf, err := evidence.KeyLeaf(&e)
		check(t, err)
		events = append(events, evidence.Event{Leaf: uint64(i), Entry: leaf})
	}
	raw, err := evidence.TrustedRoot(w.Genesis, events)
	check(t, err)
	type key struct {
		RawBytes []byte
		ValidFor struct{ Start, End string }
	}
	var root struct {
		Tlogs []struct {
			BaseURL   string
			PublicKey key
			LogID     struct{ KeyID []byte }
		}
	}
	check(t, json.Unmarshal(raw, &root))
	got := ""
	for i, l := range root.Tlogs {
		id, err := tlog.LogID(tlog.Origin(w.Genesis.Digest()), l.PublicKey.RawBytes)
		if err != nil || !bytes.Equal(id[:], l.LogID.KeyID) || l.BaseURL != "https://"+tlog.Origin(w.Genesis.Digest()) {
			t.Errorf("key %d is of log %x at %s (%v)", i, l.LogID.KeyID, l.BaseURL, err)
		}
		if !bytes.Equal(l.PublicKey.RawBytes, [][]byte{w.Genesis.ClusterKey, second, third}[i]) {
			t.Errorf("key %d is another", i)
		}
		got += l.PublicKey.ValidFor.Start + "–" + l.PublicKey.ValidFor.End + "\n"
	}
	if want := "2026-09-21T14:13:20Z–2026-11-18T11:06:40.001Z\n2026-11-18T11:06:40.001Z–2026-12-11T14:40:00Z\n2026-12-23T04:26:40Z–\n"; got != want {
		t.Errorf("the keys were in use\n%s, want\n%s", got, want)
	}
	events[1].Entry = []byte("{}")
	if _, err := evidence.TrustedRoot(w.Genesis, events); !errors.Is(err, evidence.ErrLeaf) {
		t.Errorf("of a leaf that is none: %v", err)
	}
}
