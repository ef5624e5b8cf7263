package evidence_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"testing"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/verify/evidence"
)

// group is a group of one, and what signs for it.
func group(t *testing.T, cluster [32]byte, round uint64) (*beacon.Group, beacon.Share) {
	t.Helper()
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	c := beacon.Ceremony{Cluster: cluster, Round: round, Members: 1}
	dealing, err := beacon.NewDealing(rand.Reader, c, 1)
	if err != nil {
		t.Fatal(err)
	}
	deal, err := dealing.Deal([]hpke.PublicKey{key.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	g, err := beacon.Assemble(c, []*beacon.Deal{deal})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := beacon.OpenShare(c, deal, 1, key)
	if err != nil {
		t.Fatal(err)
	}
	share, err := beacon.CombineShares(1, []beacon.Secret{secret}, g.Shares[0])
	if err != nil {
		t.Fatal(err)
	}
	return g, share
}

// A handover's leaf reads back, and proves that the old group key signed for the new
// one, in that round of that cluster.
func TestHandoverLeaf(t *testing.T) {
	cluster := [32]byte{7}
	before, share := group(t, cluster, 0)
	after, _ := group(t, cluster, 1)
	msg := beacon.Message(cluster, build.PurposeHandover, raftfsm.HandoverSubject(cluster, before.Key, after.Key), 1)
	sig, err := before.Combine(msg, []beacon.Partial{share.Sign(msg)})
	if err != nil {
		t.Fatal(err)
	}
	item := &raftfsm.HandoverItem{Old: before.Key, New: after.Key, Round: 1, Signature: sig, Reason: "yearly", Index: 9}
	raw, err := evidence.HandoverLeaf(item)
	if err != nil {
		t.Fatal(err)
	}
	l, err := evidence.Read(raw)
	if err != nil || l.Handover == nil || !l.IsEvent() || !l.Ends(nil) {
		t.Fatalf("it reads back as %+v, %v", l, err)
	}
	if a, b, err := l.Handover.Check(cluster); err != nil || a != before.Key || b != after.Key {
		t.Errorf("from %x to %x: %v", a[:4], b[:4], err)
	}
	for name, change := range map[string]func(*evidence.Handover){
		"round":     func(h *evidence.Handover) { h.Round++ },
		"old":       func(h *evidence.Handover) { h.Old = h.New },
		"new":       func(h *evidence.Handover) { h.New = h.Old },
		"signature": func(h *evidence.Handover) { h.Signature = "00" + h.Signature[2:] },
		"short":     func(h *evidence.Handover) { h.Signature = h.Signature[2:] },
	} {
		h := *l.Handover
		change(&h)
		if _, _, err := h.Check(cluster); err == nil {
			t.Errorf("another %s is taken", name)
		}
	}
	if _, _, err := l.Handover.Check([32]byte{8}); err == nil {
		t.Error("it is taken for another cluster's")
	}
	if _, err := evidence.Read(bytes.Replace(raw, []byte("yearly"), []byte("year\\u006cy"), 1)); err == nil {
		t.Error("another form of the same leaf is taken")
	}
}

// Trust goes from one group key to the next and not back, and not over a gap.
func TestGroupKeysAlongHandovers(t *testing.T) {
	cluster := [32]byte{7}
	var keys []beacon.GroupKey
	var shares []beacon.Share
	var groups []*beacon.Group
	for round := range 4 {
		g, share := group(t, cluster, uint64(round))
		keys, shares, groups = append(keys, g.Key), append(shares, share), append(groups, g)
	}
	list := &evidence.Status{}
	for round := 1; round < len(keys); round++ {
		msg := beacon.Message(cluster, build.PurposeHandover, raftfsm.HandoverSubject(cluster, keys[round-1], keys[round]), uint64(round))
		sig, err := groups[round-1].Combine(msg, []beacon.Partial{shares[round-1].Sign(msg)})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := evidence.HandoverLeaf(&raftfsm.HandoverItem{Old: keys[round-1], New: keys[round], Round: uint64(round), Signature: sig})
		if err != nil {
			t.Fatal(err)
		}
		list.Events = append(list.Events, evidence.Event{Leaf: uint64(round), Entry: raw})
	}
	if got := list.GroupKeys(cluster, keys[1]); len(got) != 3 || got[1] != keys[2] || got[2] != keys[3] {
		t.Errorf("from the second of four keys on there are %d", len(got))
	}
	if got := list.GroupKeys([32]byte{8}, keys[0]); len(got) != 1 {
		t.Errorf("in another cluster there are %d", len(got))
	}
	list.Events = append(list.Events[:1], list.Events[2:]...)
	if got := list.GroupKeys(cluster, keys[0]); len(got) != 2 {
		t.Errorf("over a gap there are %d", len(got))
	}
}
