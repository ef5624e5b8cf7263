package beacon

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"

	"gavel/raftfsm/wire"
)

// coefficientBytes sizes the batch coefficients: a batch with a bad signature
// passes for one choice in 2¹²⁸.
const coefficientBytes = 16

// VerifyBatch checks sigs[i] on msgs[i] under one key, at the price of two
// pairings for all of them: with coefficients rᵢ,
//
//	e(Σ rᵢ·sigᵢ, g2) = e(Σ rᵢ·H(msgᵢ), key)
//
// (the small exponents test: Bellare, Garay and Rabin, "Fast batch verification
// for modular exponentiation and digital signatures", EUROCRYPT 1998; for
// pairings Ferrara, Green, Hohenberger and Pedersen, CT-RSA 2009). The
// coefficients are hashed from the whole batch, so replicas agree and a sender
// must fix its signatures before it learns them. Every signature's subgroup is
// checked on its own, because the test is unsound outside it.
//
// A failing batch is searched, and the error names the first bad signature. An
// empty batch holds.
func VerifyBatch(key GroupKey, msgs [][]byte, sigs []Signature) error {
	if len(msgs) != len(sigs) || len(sigs) > MaxBatch {
		return fmt.Errorf("batch of %d messages and %d signatures: want as many of each, at most %d", len(msgs), len(sigs), MaxBatch)
	}
	if len(sigs) <= 1 {
		return verifyEach(key, msgs, sigs)
	}
	point, err := decodeG2(key[:])
	if err != nil {
		return fmt.Errorf("reading public key: %w", err)
	}
	points := make([]bls.G1Affine, len(sigs))
	hashes := make([]bls.G1Affine, len(sigs))
	for i := range sigs {
		if points[i], err = decodeG1(sigs[i][:]); err != nil {
			return fmt.Errorf("reading signature %d of the batch: %w", i, err)
		}
		hashes[i] = hashToG1(msgs[i], signatureDST)
	}
	coefficients := batchCoefficients(key, msgs, sigs)
	sig := linearCombination(points, coefficients)
	hash := linearCombination(hashes, coefficients)
	if pairs(&sig, &hash, &point) {
		return nil
	}
	return verifyEach(key, msgs, sigs)
}

func verifyEach(key GroupKey, msgs [][]byte, sigs []Signature) error {
	for i := range sigs {
		if err := Verify(key, msgs[i], sigs[i]); err != nil {
			return fmt.Errorf("signature %d of the batch: %w", i, err)
		}
	}
	return nil
}

// batchCoefficients derives rᵢ = SHA-256(H("beacon-batch" ‖ key ‖ n ‖ (msg, sig)…) ‖ i),
// its first 16 bytes.
func batchCoefficients(key GroupKey, msgs [][]byte, sigs []Signature) [][coefficientBytes]byte {
	h := wire.NewHasher("beacon-batch").Var(key[:]).U64(uint64(len(sigs)))
	for i := range sigs {
		h.Var(msgs[i]).Var(sigs[i][:])
	}
	seed := h.Sum()
	out := make([][coefficientBytes]byte, len(sigs))
	for i := range out {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(seed[:], uint64(i)))
		copy(out[i][:], sum[:])
	}
	return out
}

// linearCombination is Σ rᵢ·Pᵢ by Straus' method with windows of 4 bits: the
// doublings are shared, and each point costs 15 additions for its table and 32
// for its digits. The library's own routine starts goroutines and takes scalars
// of full width.
func linearCombination(points []bls.G1Affine, coefficients [][coefficientBytes]byte) bls.G1Affine {
	tables := make([]bls.G1Jac, 0, 15*len(points))
	for i := range points {
		var multiple bls.G1Jac
		multiple.FromAffine(&points[i])
		for range 15 {
			tables = append(tables, multiple)
			multiple.AddMixed(&points[i])
		}
	}
	affine := bls.BatchJacobianToAffineG1(tables)
	var sum bls.G1Jac
	for digit := range 2 * coefficientBytes {
		for range 4 {
			sum.DoubleAssign()
		}
		for i := range points {
			d := coefficients[i][digit/2] >> (4 * (1 - digit%2)) & 15
			if d != 0 {
				sum.AddMixed(&affine[15*i+int(d)-1])
			}
		}
	}
	var out bls.G1Affine
	out.FromJacobian(&sum)
	return out
}
