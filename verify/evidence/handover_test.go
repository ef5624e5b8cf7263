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
