package beacon

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// sealedBytes is a scalar as sealed: X25519 ephemeral key ‖ ciphertext ‖ tag.
const sealedBytes = 32 + scalarBytes + 16

// suite is the one in use, HPKE base mode (RFC 9180):
// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
func suite() (kem hpke.KEM, kdf hpke.KDF, aead hpke.AEAD) {
	return hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()
}

func seal(to hpke.PublicKey, info, secret []byte) ([]byte, error) {
	kem, kdf, aead := suite()
	if to == nil || to.KEM().ID() != kem.ID() {
		return nil, fmt.Errorf("encryption key is not of DHKEM(X25519, HKDF-SHA256)")
	}
	return hpke.Seal(to, kdf, aead, info, secret)
}

func unseal(key hpke.PrivateKey, info, sealed []byte) ([]byte, error) {
	kem, kdf, aead := suite()
	if key == nil || key.KEM().ID() != kem.ID() {
		return nil, fmt.Errorf("decryption key is not of DHKEM(X25519, HKDF-SHA256)")
	}
	return hpke.Open(key, kdf, aead, info, sealed)
}
