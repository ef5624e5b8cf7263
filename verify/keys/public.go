package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"gavel/raftfsm/wire"
)

// ErrUnsupported says that a key is of a kind that the farm does not use: make
// one with `gavel keys`.
var ErrUnsupported = errors.New("key is neither Ed25519 nor ECDSA P-256")

// ErrBadSignature says that a signature does not match.
var ErrBadSignature = wire.ErrBadSignature

// PKIX is a public key in PKIX DER, the one form that is stored, hashed and
// replicated.
func PKIX(pub crypto.PublicKey) ([]byte, error) {
	if err := supported(pub); err != nil {
		return nil, err
	}
	der, err := cryptoutils.MarshalPublicKeyToDER(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return der, nil
}

// ParsePublic reads a public key in PEM ("PUBLIC KEY").
func ParsePublic(text []byte) (crypto.PublicKey, error) {
	if len(text) > maxKeyFileBytes {
		return nil, fmt.Errorf("reading public key: %d bytes, at most %d", len(text), maxKeyFileBytes)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading public key: %w; a PEM block PUBLIC KEY is wanted", err)
	}
	if err := supported(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

// ParsePKIX reads a public key in PKIX DER, in the one encoding that PKIX writes.
func ParsePKIX(der []byte) (crypto.PublicKey, error) {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading public key: %w; PKIX DER is wanted", err)
	}
	again, err := PKIX(pub)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, der) {
		return nil, errors.New("reading public key: not in its one encoding; write it anew with `gavel keys`")
	}
	return pub, nil
}

// PEM is a public key in PKIX DER as people pass it on.
func PEM(pkixDER []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkixDER})
}

func supported(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return nil
		}
	case *ecdsa.PublicKey:
		if k != nil && k.Curve == elliptic.P256() {
			return nil
		}
	}
	return fmt.Errorf("%w (%T); make one with `gavel keys`", ErrUnsupported, pub)
}

// ID names a key by the SHA-256 of its PKIX DER.
func ID(pkixDER []byte) [32]byte { return sha256.Sum256(pkixDER) }

// Fingerprint is an ID as people compare it: "SHA256:" and base64.
func Fingerprint(id [32]byte) string {
	return "SHA256:" + base64.StdEncoding.EncodeToString(id[:])
}

// Verify checks sig over msg under a public key in PKIX DER: strict Ed25519, or
// ECDSA P-256 in ASN.1 over SHA-256. It is the check that the replicated state
// makes of every request.
func Verify(pkixDER, msg, sig []byte) error { return wire.VerifySignature(pkixDER, msg, sig) }
