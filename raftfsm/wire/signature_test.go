package wire_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"testing"

	"gavel/raftfsm/wire"
)

func pkix(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func signP256(t testing.TB, key *ecdsa.PrivateKey, msg []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(msg)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// Every single-bit change to message or signature must be refused, and every
// one to the key must be refused too, for both algorithms.
func TestVerifySignatureRefusesEveryFlippedBit(t *testing.T) {
	edPub, edKey, _ := ed25519.GenerateKey(rand.Reader)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	msg := []byte("a bid")
	for name, c := range map[string]struct{ der, sig []byte }{
		"ed25519": {pkix(t, edPub), ed25519.Sign(edKey, msg)},
		"p256":    {pkix(t, &ecKey.PublicKey), signP256(t, ecKey, msg)},
	} {
		t.Run(name, func(t *testing.T) {
			if err := wire.VerifySignature(c.der, msg, c.sig); err != nil {
				t.Fatalf("honest signature: %v", err)
			}
			for _, part := range []*[]byte{&c.der, &c.sig, &msg} {
				whole := *part
				for bit := range len(whole) * 8 {
					*part = slices.Clone(whole)
					(*part)[bit/8] ^= 1 << (bit % 8)
					err := wire.VerifySignature(c.der, msg, c.sig)
					if !errors.Is(err, wire.ErrBadKey) && !errors.Is(err, wire.ErrBadSignature) {
						t.Fatalf("bit %d flipped: got %v", bit, err)
					}
				}
				*part = whole
			}
			for _, sig := range [][]byte{nil, c.sig[:len(c.sig)-1], append(slices.Clone(c.sig), 0)} {
				if err := wire.VerifySignature(c.der, msg, sig); !errors.Is(err, wire.ErrBadSignature) {
					t.Errorf("signature of %d bytes: got %v", len(sig), err)
				}
			}
		})
	}
}

func TestVerifySignatureRefusesOtherKeys(t *testing.T) {
	edPub, _, _ := ed25519.GenerateKey(rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	offCurve := pkix(t, &mustP256(t).PublicKey)
	offCurve[len(offCurve)-1] ^= 1
	for name, der := range map[string][]byte{
		"empty": nil, "p384": pkix(t, &p384.PublicKey), "rsa": pkix(t, &rsaKey.PublicKey), "off curve": offCurve,
		"trailing byte": append(pkix(t, edPub), 0), "truncated": pkix(t, edPub)[:43],
		"y above the prime": append(pkix(t, edPub)[:12], bytes.Repeat([]byte{0xff}, 32)...),
	} {
		if err := wire.VerifySignature(der, []byte("m"), make([]byte, 64)); !errors.Is(err, wire.ErrBadKey) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func mustP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A key of small order lets anyone sign: S = 0 and R = the identity pass
// whenever the challenge is a multiple of the order. Each key below is shown to
// be forgeable under the standard library and refused here.
func TestVerifySignatureRefusesSmallOrderKeys(t *testing.T) {
	identity := append([]byte{1}, make([]byte, 31)...)
	forged := append(slices.Clone(identity), make([]byte, 32)...)
	prefix := pkix(t, ed25519.PublicKey(make([]byte, 32)))[:12]
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	} {
		key, _ := hex.DecodeString(text)
		msg := make([]byte, 8)
		forgeable := false
		for i := uint64(0); i < 1000 && !forgeable; i++ {
			binary.BigEndian.PutUint64(msg, i)
			forgeable = ed25519.Verify(key, msg, forged)
		}
		if !forgeable {
			t.Errorf("%s: not of small order, the table is wrong", text)
		}
		if err := wire.VerifySignature(append(slices.Clone(prefix), key...), msg, forged); !errors.Is(err, wire.ErrBadKey) {
			t.Errorf("%s: forgery got %v", text, err)
		}
	}
}

// The documented malleability: nothing may take an ECDSA signature for an identity.
func TestVerifySignatureP256IsMalleable(t *testing.T) {
	key, msg := mustP256(t), []byte("m")
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signP256(t, key, msg), &rs); err != nil {
		t.Fatal(err)
	}
	rs.S.Sub(elliptic.P256().Params().N, rs.S)
	other, _ := asn1.Marshal(rs)
	if err := wire.VerifySignature(pkix(t, &key.PublicKey), msg, other); err != nil {
		t.Fatal(err)
	}
}

func FuzzVerifySignature(f *testing.F) {
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	ec := mustP256(f)
	f.Add(pkix(f, pub), []byte("m"), ed25519.Sign(key, []byte("m")))
	f.Add(pkix(f, &ec.PublicKey), []byte("m"), signP256(f, ec, []byte("m")))
	f.Fuzz(func(t *testing.T, der, msg, sig []byte) {
		if wire.VerifySignature(der, msg, sig) != nil {
			return
		}
		// What passes must be a key the standard parser reads and writes alike.
		parsed, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			t.Fatalf("accepted a key that x509 refuses: %v", err)
		}
		if !bytes.Equal(pkix(t, parsed), der) {
			t.Fatal("accepted a key in a second encoding")
		}
	})
}
