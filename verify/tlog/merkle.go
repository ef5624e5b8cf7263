package tlog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrProof says that a proof does not show what it should: the leaf, the root or
// the proof was changed.
var ErrProof = errors.New("proof does not hold")

// LeafHash is the hash of an entry as a leaf: SHA-256(0x00 ‖ entry), RFC 6962
// section 2.1.
func LeafHash(entry []byte) [32]byte { return tlog.RecordHash(entry) }

// nodeHash is SHA-256(0x01 ‖ left ‖ right).
func nodeHash(left, right [32]byte) [32]byte { return tlog.NodeHash(left, right) }

// perfectRoot is the root over hashes, whose number is a power of two.
func perfectRoot(hashes [][32]byte) [32]byte {
	level := append(make([][32]byte, 0, len(hashes)), hashes...)
	for len(level) > 1 {
		for i := range len(level) / 2 {
			level[i] = nodeHash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}

// foldRoot is the root of the tree that the perfect subtrees make up, given from
// the largest, on the left, to the smallest: a compact range from 0.
func foldRoot(subtrees [][32]byte) [32]byte {
	if len(subtrees) == 0 {
		return sha256.Sum256(nil)
	}
	root := subtrees[len(subtrees)-1]
	for i := len(subtrees) - 2; i >= 0; i-- {
		root = nodeHash(subtrees[i], root)
	}
	return root
}

// nodes reads hashes of perfect subtrees: index counts them from the left within
// their level, level 0 being leaves.
type nodes func(level uint, index uint64) ([32]byte, error)

// rootAt is the root of the first size leaves.
func (n nodes) rootAt(size uint64) ([32]byte, error) {
	ids := compact.RangeNodes(0, size, nil)
	hashes, err := n.read(ids)
	if err != nil {
		return [32]byte{}, err
	}
	return foldRoot(hashes), nil
}

func (n nodes) read(ids []compact.NodeID) ([][32]byte, error) {
	hashes := make([][32]byte, len(ids))
	for i, id := range ids {
		var err error
		if hashes[i], err = n(id.Level, id.Index); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// inclusion is the audit path of the leaf at index in the tree of size leaves.
func (n nodes) inclusion(index, size uint64) ([][32]byte, error) {
	ids, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", index, err)
	}
	return n.prove(ids)
}

// consistency proves that the tree of new leaves extends that of old.
func (n nodes) consistency(old, size uint64) ([][32]byte, error) {
	ids, err := proof.Consistency(old, size)
	if err != nil {
		return nil, fmt.Errorf("proving that size %d extends %d: %w", size, old, err)
	}
	return n.prove(ids)
}

func (n nodes) prove(ids proof.Nodes) ([][32]byte, error) {
	hashes, err := n.read(ids.IDs)
	if err != nil {
		return nil, err
	}
	p, err := ids.Rehash(toSlices(hashes), rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, fmt.Errorf("assembling proof: %w", err)
	}
	return toArrays(p), nil
}

// VerifyInclusion checks that the leaf with leafHash is at index of the tree with
// size leaves and root. The proof is RFC 6962's audit path, lowest sibling first.
// The error is of ErrProof.
func VerifyInclusion(index, size uint64, leafHash, root [32]byte, path [][32]byte) error {
	if len(path) > maxProofHashes {
		return fmt.Errorf("verifying inclusion of entry %d: %w: %d hashes", index, ErrProof, len(path))
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leafHash[:], toSlices(path), root[:]); err != nil {
		return fmt.Errorf("verifying inclusion of entry %d of %d: %w: %w", index, size, ErrProof, err)
	}
	return nil
}

// VerifyConsistency checks that the tree of size new with newRoot starts with that
// of size old with oldRoot. The proof is RFC 6962's, section 2.1.2; it is empty if
// old is 0 or new. The error is of ErrProof.
func VerifyConsistency(old, size uint64, oldRoot, newRoot [32]byte, path [][32]byte) error {
	if len(path) > maxProofHashes {
		return fmt.Errorf("verifying that size %d extends %d: %w: %d hashes", size, old, ErrProof, len(path))
	}
	// The library takes any root for the one of an empty tree.
	if old == 0 && oldRoot != sha256.Sum256(nil) {
		return fmt.Errorf("verifying that size %d extends 0: %w: the root of no entries is the hash of nothing", size, ErrProof)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, size, toSlices(path), oldRoot[:], newRoot[:]); err != nil {
		return fmt.Errorf("verifying that size %d extends %d: %w: %w", size, old, ErrProof, err)
	}
	return nil
}

func toSlices(hashes [][32]byte) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

func toArrays(hashes [][]byte) [][32]byte {
	out := make([][32]byte, len(hashes))
	for i := range hashes {
		out[i] = [32]byte(hashes[i])
	}
	return out
}

// perfectParts splits the width hashes of a tile's edge into the perfect subtrees
// that they make up, largest first.
func perfectParts(hashes [][32]byte) [][32]byte {
	var parts [][32]byte
	for len(hashes) > 0 {
		n := 1 << (bits.Len(uint(len(hashes))) - 1)
		parts = append(parts, perfectRoot(hashes[:n]))
		hashes = hashes[n:]
	}
	return parts
}
