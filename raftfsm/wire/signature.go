package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// The sentinels of VerifySignature. ErrBadKey says that the key is at fault and
// no signature will ever pass; ErrBadSignature that this signature is.
var (
	ErrBadKey       = errors.New("not an Ed25519 or ECDSA P-256 public key in PKIX DER")
	ErrBadSignature = errors.New("signature does not match")
)

// The DER of a SubjectPublicKeyInfo up to the key itself, RFC 8410 section 4 and
// RFC 5480 section 2. Both lengths are fixed, so comparing bytes refuses every
// other encoding, and a replicated verdict hangs on no X.509 parser's version.
var (
	ed25519Prefix = mustHex("302a300506032b6570032100")
	p256Prefix    = mustHex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
)

const (
	ed25519KeyBytes = 32 // RFC 8032
	p256PointBytes  = 65 // uncompressed: 0x04 ‖ X ‖ Y
)

// VerifySignature checks sig over msg under a public key in PKIX DER: Ed25519 as
// in RFC 8032 (sig is 64 bytes), or ECDSA on P-256 over SHA-256(msg) (sig is
// ASN.1 DER). It is strict: a key has one encoding, and Ed25519 keys of small
// order, whose owner could sign one message and claim another, are refused.
//
// ECDSA signatures stay malleable (s and n−s both pass, signers in hardware
// choose freely), so a signature's bytes must never serve as an identity.
func VerifySignature(pkixDER, msg, sig []byte) error {
	if raw, ok := bytes.CutPrefix(pkixDER, ed25519Prefix); ok && len(raw) == ed25519KeyBytes {
		return verifyEd25519(raw, msg, sig)
	}
	if point, ok := bytes.CutPrefix(pkixDER, p256Prefix); ok && len(point) == p256PointBytes {
		return verifyP256(point, msg, sig)
	}
	return fmt.Errorf("%w (%d bytes)", ErrBadKey, len(pkixDER))
}

func verifyEd25519(raw, msg, sig []byte) error {
	if err := checkEd25519Key(raw); err != nil {
		return err
	}
	if len(sig) != ed25519.SignatureSize || !ed25519.Verify(raw, msg, sig) {
		return fmt.Errorf("%w: Ed25519, %d bytes", ErrBadSignature, len(sig))
	}
	return nil
}

func verifyP256(point, msg, sig []byte) error {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return fmt.Errorf("%w: point is not on P-256", ErrBadKey)
	}
	digest := sha256.Sum256(msg)
	if !ecdsa.VerifyASN1(key, digest[:], sig) {
		return fmt.Errorf("%w: ECDSA P-256, %d bytes", ErrBadSignature, len(sig))
	}
	return nil
}

// smallOrderY holds the y coordinates, little-endian, of the eight points whose
// order divides 8: y = 0 and ±1 and the two of order 8 (Chalkias, Garillot and
// Nikolaenko, "Taming the Many EdDSAs", 2020, table 6).
var smallOrderY = [][]byte{
	mustHex("0000000000000000000000000000000000000000000000000000000000000000"),
	mustHex("0100000000000000000000000000000000000000000000000000000000000000"),
	mustHex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	mustHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
	mustHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
}

// fieldPrime is 2²⁵⁵ − 19, little-endian.
var fieldPrime = mustHex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")

// checkEd25519Key refuses what ed25519.Verify lets pass: y not below the field
// prime (a second encoding of the same key) and points of small order.
func checkEd25519Key(raw []byte) error {
	y := slices.Clone(raw)
	y[len(y)-1] &= 0x7f // the sign of x
	for _, small := range smallOrderY {
		if bytes.Equal(y, small) {
			return fmt.Errorf("%w: Ed25519 point of small order", ErrBadKey)
		}
	}
	big, prime := slices.Clone(y), slices.Clone(fieldPrime)
	slices.Reverse(big)
	slices.Reverse(prime)
	if bytes.Compare(big, prime) >= 0 {
		return fmt.Errorf("%w: Ed25519 key is not canonical", ErrBadKey)
	}
	return nil
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
