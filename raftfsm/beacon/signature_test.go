package beacon_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/wire"
)

// drand's quicknet published this round: another implementation of the scheme,
// and another group's key.
func TestVerifyPublishedDrandRound(t *testing.T) {
	raw, err := os.ReadFile("../../testdata/beacon.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		PublicKey  string `json:"public_key"`
		Round      uint64
		Signature  string
		Randomness string
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	key := beacon.GroupKey(unhex(t, v.PublicKey))
	sig := beacon.Signature(unhex(t, v.Signature))
	msg := func(round uint64) []byte {
		m := sha256.Sum256(binary.BigEndian.AppendUint64(nil, round))
		return m[:]
	}
	if err := beacon.Verify(key, msg(v.Round), sig); err != nil {
		t.Error(err)
	}
	if got := beacon.Randomness(sig); !slices.Equal(got[:], unhex(t, v.Randomness)) {
		t.Errorf("randomness %x, published %s", got, v.Randomness)
	}
	if err := beacon.Verify(key, msg(v.Round+1), sig); !errors.Is(err, beacon.ErrBadSignature) {
		t.Errorf("next round under the same signature: %v", err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The message binds every field, and its bytes are fixed: a vector for
// docs/PROTOCOL.md, computed here field by field.
func TestMessage(t *testing.T) {
	cluster, subject := sha256.Sum256([]byte("c")), sha256.Sum256([]byte("s"))
	plain := append([]byte("gavel/v1/draw\x00"), cluster[:]...)
	plain = append(plain, 0, 0, 0, 5)
	plain = append(plain, "seats"...)
	plain = append(plain, subject[:]...)
	plain = append(plain, 0, 0, 0, 0, 0, 0, 0, 3)
	want := sha256.Sum256(plain)
	got := beacon.Message(cluster, "seats", subject, 3)
	if !slices.Equal(got, want[:]) {
		t.Fatalf("message %x, want %x", got, want)
	}
	for _, other := range [][]byte{
		beacon.Message(subject, "seats", subject, 3), beacon.Message(cluster, "seat", subject, 3),
		beacon.Message(cluster, "seats", cluster, 3), beacon.Message(cluster, "seats", subject, 4),
	} {
		if slices.Equal(got, other) {
			t.Error("two draws share a message")
		}
	}
}

func TestDecodersRefuseBadPoints(t *testing.T) {
	f := setup(t, 1)
	sig := f.sign(t, message(0))
	for what, p := range badG1() {
		if err := beacon.Verify(f.group.Key, message(0), p); !errors.Is(err, beacon.ErrBadPoint) {
			t.Errorf("signature %s: %v", what, err)
		}
		if err := beacon.VerifyBatch(f.group.Key, [][]byte{message(0), message(0)}, []beacon.Signature{sig, p}); !errors.Is(err, beacon.ErrBadPoint) {
			t.Errorf("signature %s in a batch: %v", what, err)
		}
	}
	for what, p := range badG2() {
		if err := beacon.Verify(p, message(0), sig); !errors.Is(err, beacon.ErrBadPoint) {
			t.Errorf("key %s: %v", what, err)
		}
		if err := beacon.VerifyBatch(p, [][]byte{message(0), message(0)}, []beacon.Signature{sig, sig}); !errors.Is(err, beacon.ErrBadPoint) {
			t.Errorf("key %s in a batch: %v", what, err)
		}
		if err := beacon.VerifyPartial(p, message(0), f.shares[0].Sign(message(0))); !errors.Is(err, beacon.ErrBadPoint) {
			t.Errorf("public share %s: %v", what, err)
		}
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	f := setup(t, 1)
	sig := f.sign(t, message(0))
	for bit := range len(sig) * 8 {
		bad := sig
		bad[bit/8] ^= 1 << (bit % 8)
		if err := beacon.Verify(f.group.Key, message(0), bad); err == nil {
			t.Fatalf("signature with bit %d flipped verifies", bit)
		}
	}
	// The scheme of RFC 9380 has no way to take the sign bit for a second
	// signature: it names the negated point.
	neg := sig
	neg[0] ^= 0x20
	if err := beacon.Verify(f.group.Key, message(0), neg); !errors.Is(err, beacon.ErrBadSignature) {
		t.Errorf("negated signature: %v", err)
	}
}

func TestBatch(t *testing.T) {
	f := setup(t, 1)
	const n = 9
	msgs, sigs := make([][]byte, n), make([]beacon.Signature, n)
	for i := range msgs {
		msgs[i] = message(i)
		sigs[i] = f.shares[0].Sign(msgs[i]).Sig
	}
	verify := func(m [][]byte, s []beacon.Signature) error { return beacon.VerifyBatch(f.group.Key, m, s) }
	for k := range n + 1 {
		if err := verify(msgs[:k], sigs[:k]); err != nil {
			t.Fatalf("%d honest signatures: %v", k, err)
		}
	}
	swapped := slices.Clone(sigs)
	swapped[2], swapped[5] = swapped[5], swapped[2]
	if err := verify(msgs, swapped); !errors.Is(err, beacon.ErrBadSignature) {
		t.Errorf("two signatures swapped: %v", err)
	}
	for i := range n {
		bad := slices.Clone(sigs)
		bad[i] = f.shares[0].Sign([]byte("another message")).Sig
		err := verify(msgs, bad)
		if !errors.Is(err, beacon.ErrBadSignature) {
			t.Errorf("signature %d of another message: %v", i, err)
		}
	}
	// An equal pair and its messages twice: coefficients must differ by index.
	if err := verify(append(msgs[:1:1], msgs[0]), append(sigs[:1:1], sigs[0])); err != nil {
		t.Errorf("the same draw twice: %v", err)
	}
	if err := verify(msgs, sigs[:n-1]); err == nil {
		t.Error("one signature missing passes")
	}
	if err := verify(make([][]byte, beacon.MaxBatch+1), make([]beacon.Signature, beacon.MaxBatch+1)); err == nil {
		t.Error("a batch above the limit passes")
	}
	other := setup(t, 1)
	if err := beacon.VerifyBatch(other.group.Key, msgs, sigs); !errors.Is(err, beacon.ErrBadSignature) {
		t.Errorf("another group's key: %v", err)
	}
}

// A signature over a proof of possession's message must not be one, and the
// other way round: the domain tags differ.
func TestPossessionIsNoSignature(t *testing.T) {
	f := setup(t, 1)
	d := *f.deals[0]
	d.Possession = f.shares[0].Sign([]byte("x")).Sig
	if err := d.Verify(f.ceremony); !errors.Is(err, beacon.ErrBadDeal) {
		t.Errorf("a signature passes for a proof of possession: %v", err)
	}
	pop := f.deals[0]
	m := wire.NewHasher("dkg-possession").Fixed(f.ceremony.Cluster).U64(7).U64(1).U64(1).Var(pop.Commitments[0][:]).Sum()
	if err := beacon.Verify(f.group.Key, m[:], pop.Possession); !errors.Is(err, beacon.ErrBadSignature) {
		t.Errorf("a proof of possession passes for a signature: %v", err)
	}
	d.Possession = f.shares[0].Sign(m[:]).Sig
	if err := d.Verify(f.ceremony); !errors.Is(err, beacon.ErrBadDeal) {
		t.Errorf("a signature on the proof's own message passes for the proof: %v", err)
	}
}
