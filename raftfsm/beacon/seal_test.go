package beacon

import (
	"encoding/hex"
	"testing"

	"crypto/hpke"
)

// RFC 9180 appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
// ChaCha20Poly1305, base mode. A share's ciphertext is enc ‖ ct with an empty aad;
// the RFC's first message has one, so this opens it through the two-step form of
// the same suite.
func TestSuiteOpensTheRFCsVector(t *testing.T) {
	kem, kdf, aead := suite()
	if kem.ID() != 0x0020 || kdf.ID() != 0x0001 || aead.ID() != 0x0003 {
		t.Fatalf("suite %#x/%#x/%#x", kem.ID(), kdf.ID(), aead.ID())
	}
	key, err := kem.NewPrivateKey(fromHex(t, "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := hpke.NewRecipient(fromHex(t, "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"), key, kdf, aead,
		[]byte("Ode on a Grecian Urn"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Open([]byte("Count-0"), fromHex(t,
		"1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"))
	if err != nil || string(got) != "Beauty is truth, truth beauty" {
		t.Errorf("%q, %v", got, err)
	}
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealRoundTrip(t *testing.T) {
	kem, _, _ := suite()
	key, err := kem.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, scalarBytes)
	sealed, err := seal(key.PublicKey(), []byte("info"), secret)
	if err != nil || len(sealed) != sealedBytes {
		t.Fatalf("%d bytes, %v", len(sealed), err)
	}
	if got, err := unseal(key, []byte("info"), sealed); err != nil || string(got) != string(secret) {
		t.Errorf("%x, %v", got, err)
	}
	for i := range sealed {
		sealed[i] ^= 1
		if _, err := unseal(key, []byte("info"), sealed); err == nil {
			t.Errorf("opened with byte %d changed", i)
		}
		sealed[i] ^= 1
	}
	if _, err := unseal(key, []byte("inf"), sealed); err == nil {
		t.Error("opened under another info")
	}
	if _, err := seal(nil, nil, secret); err == nil {
		t.Error("sealed to nobody")
	}
}
