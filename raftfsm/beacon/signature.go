package beacon

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"gavel/raftfsm/wire"
)

// ErrBadSignature says that a well-formed signature is not over this message
// under this key.
var ErrBadSignature = errors.New("beacon signature does not match")

// GroupKey is the group's public key, a compressed point of G2: all an auditor
// needs to check a draw.
type GroupKey [keyBytes]byte

// Code is the canonical encoding.
func (k *GroupKey) Code(c *wire.Coder) { codeG2(c, (*[keyBytes]byte)(k)) }

// PublicShare is the public half of one member's share, a compressed point of G2.
type PublicShare [keyBytes]byte

// Code is the canonical encoding.
func (k *PublicShare) Code(c *wire.Coder) { codeG2(c, (*[keyBytes]byte)(k)) }

// Signature is a compressed point of G1. For a key and a message only one verifies.
type Signature [signatureBytes]byte

// Code is the canonical encoding. Whether the bytes are a point is Verify's
// question: it needs a key and a message anyway.
func (s *Signature) Code(c *wire.Coder) {
	c.Bytes32((*[32]byte)(s[:32]))
	c.Bytes16((*[16]byte)(s[32:]))
}

// Partial is one member's contribution to a signature. Index counts from 1.
type Partial struct {
	Index uint32
	Sig   Signature
}

// Code is the canonical encoding.
func (p *Partial) Code(c *wire.Coder) {
	c.U32(&p.Index)
	p.Sig.Code(c)
}

func codeG2(c *wire.Coder, k *[keyBytes]byte) {
	for i := 0; i < keyBytes; i += 32 {
		c.Bytes32((*[32]byte)(k[i : i+32]))
	}
}

// Message is the 32 bytes that the group signs for one draw:
//
//	H("draw" ‖ cluster ‖ purpose ‖ subject ‖ round)
//
// subject is the build's, auction's or epoch's id. None of it is a leader's choice.
func Message(cluster [32]byte, purpose string, subject [32]byte, round uint64) []byte {
	m := wire.NewHasher("draw").Fixed(cluster).Text(purpose).Fixed(subject).U64(round).Sum()
	return m[:]
}

// Randomness is what a signature is worth: SHA-256 of its 48 bytes.
func Randomness(s Signature) [32]byte { return sha256.Sum256(s[:]) }

// Verify checks the group's signature on msg: e(sig, g2) = e(H(msg), key).
func Verify(key GroupKey, msg []byte, sig Signature) error {
	return verify(key[:], msg, sig)
}

// VerifyPartial checks one member's partial signature against its public share.
func VerifyPartial(pub PublicShare, msg []byte, p Partial) error {
	if err := verify(pub[:], msg, p.Sig); err != nil {
		return fmt.Errorf("partial signature of member %d: %w", p.Index, err)
	}
	return nil
}

// Check says whether a key is one: a point of its group, and not the identity.
func (k GroupKey) Check() error {
	if _, err := decodeG2(k[:]); err != nil {
		return fmt.Errorf("reading group key: %w", err)
	}
	return nil
}

func verify(key, msg []byte, sig Signature) error {
	point, err := decodeG2(key)
	if err != nil {
		return fmt.Errorf("reading public key: %w", err)
	}
	s, err := decodeG1(sig[:])
	if err != nil {
		return fmt.Errorf("reading signature: %w", err)
	}
	hash := hashToG1(msg, signatureDST)
	if !pairs(&s, &hash, &point) {
		return ErrBadSignature
	}
	return nil
}
