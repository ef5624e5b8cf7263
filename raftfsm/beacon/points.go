package beacon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// ErrBadPoint says that bytes are not the compressed encoding of a point of the
// prime-order subgroup other than the identity: whoever sent them is at fault.
var ErrBadPoint = errors.New("not a valid curve point")

// ErrBadScalar says that 32 bytes are not a scalar below the group order.
var ErrBadScalar = errors.New("not a canonical scalar")

const (
	signatureBytes = bls.SizeOfG1AffineCompressed
	keyBytes       = bls.SizeOfG2AffineCompressed
	scalarBytes    = fr.Bytes
)

// signatureDST is the domain separation tag of bls-unchained-g1-rfc9380.
var signatureDST = []byte("BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_")

// possessionDST keeps proofs of possession apart from signatures
// (draft-irtf-cfrg-bls-signature section 4.2.3): else signing a chosen message
// would prove possession.
var possessionDST = []byte("BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_")

// negatedG2 is the G2 generator negated: it brings the BLS equation to one side.
var negatedG2 = func() (neg bls.G2Affine) {
	_, _, _, g := bls.Generators()
	neg.Neg(&g)
	return neg
}()

// decodeG1 reads a compressed G1 point. gnark-crypto checks flags, field range,
// curve and subgroup; the identity is refused here, because it verifies under
// any aggregate of keys that cancel, and the bytes are compared with what the
// point would be written as, so that a point has one encoding whatever the
// library lets pass.
func decodeG1(b []byte) (p bls.G1Affine, err error) {
	if _, err := p.SetBytes(b); err != nil {
		return p, fmt.Errorf("%w: G1: %w", ErrBadPoint, err)
	}
	if p.IsInfinity() {
		return p, fmt.Errorf("%w: G1: the identity", ErrBadPoint)
	}
	if again := p.Bytes(); !bytes.Equal(again[:], b) {
		return p, fmt.Errorf("%w: G1: not canonical", ErrBadPoint)
	}
	return p, nil
}

// decodeG2 reads a compressed G2 point under the same rules as decodeG1.
func decodeG2(b []byte) (p bls.G2Affine, err error) {
	if _, err := p.SetBytes(b); err != nil {
		return p, fmt.Errorf("%w: G2: %w", ErrBadPoint, err)
	}
	if p.IsInfinity() {
		return p, fmt.Errorf("%w: G2: the identity", ErrBadPoint)
	}
	if again := p.Bytes(); !bytes.Equal(again[:], b) {
		return p, fmt.Errorf("%w: G2: not canonical", ErrBadPoint)
	}
	return p, nil
}

// decodeScalar reads 32 bytes big-endian below the group order.
func decodeScalar(b []byte) (*fr.Element, error) {
	var s fr.Element
	if len(b) != scalarBytes || s.SetBytesCanonical(b) != nil {
		return nil, fmt.Errorf("%w (%d bytes)", ErrBadScalar, len(b))
	}
	return &s, nil
}

// randomScalar draws 48 bytes and reduces them: 2⁻¹²⁸ from uniform (RFC 9380
// section 5.1).
func randomScalar(random io.Reader) (fr.Element, error) {
	var wide [48]byte
	var s fr.Element
	if _, err := io.ReadFull(random, wide[:]); err != nil {
		return s, fmt.Errorf("reading randomness: %w", err)
	}
	s.SetBytes(wide[:])
	clear(wide[:])
	return s, nil
}

// hashToG1 is RFC 9380 hash_to_curve, suite BLS12381G1_XMD:SHA-256_SSWU_RO_.
func hashToG1(msg, dst []byte) bls.G1Affine {
	p, err := bls.HashToG1(msg, dst)
	if err != nil {
		// Only a tag above 255 bytes can do that, and both of ours are constants.
		panic(fmt.Sprintf("beacon: hashing to the curve: %v", err))
	}
	return p
}

func mulG1(p *bls.G1Affine, s *fr.Element) (r bls.G1Affine) {
	var k big.Int
	r.ScalarMultiplication(p, s.BigInt(&k))
	return r
}

// mulBaseG2 is s times the G2 generator: the public half of s.
func mulBaseG2(s *fr.Element) (r bls.G2Affine) {
	var k big.Int
	r.ScalarMultiplicationBase(s.BigInt(&k))
	return r
}

// pairs says whether e(sig, generator) = e(hash, key), the BLS equation.
func pairs(sig, hash *bls.G1Affine, key *bls.G2Affine) bool {
	ok, err := bls.PairingCheck([]bls.G1Affine{*sig, *hash}, []bls.G2Affine{negatedG2, *key})
	return ok && err == nil
}
