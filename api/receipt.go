package api

import (
	"crypto/sha256"
	"errors"
	"fmt"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// ErrReceipt is wrapped where a receipt does not prove what it says: do not
// rely on the answer, ask another coordinator.
var ErrReceipt = errors.New("receipt does not hold")

// receiptBytes is H("receipt" ‖ cluster ‖ coordinator ‖ command digest ‖ index ‖ code ‖ subject).
func receiptBytes(cluster [32]byte, r *gavelv1.Receipt) []byte {
	h := wire.NewHasher("receipt").Fixed(cluster).Fixed([32]byte(r.Coordinator)).Fixed([32]byte(r.CommandDigest)).
		U64(r.Index).U64(uint64(r.Code)).Fixed([32]byte(r.Subject)).Sum()
	return h[:]
}

// NewReceipt signs what became of a command. Index is 0 where it was refused
// without being proposed.
func NewReceipt(cluster [32]byte, signer Signer, command []byte, index uint64, outcome build.Outcome) (*gavelv1.Receipt, error) {
	digest, coordinator := sha256.Sum256(command), build.AccountID(signer.PublicPKIX())
	r := &gavelv1.Receipt{
		CommandDigest: digest[:], Index: index, Code: uint32(outcome.Code), Detail: outcome.Detail,
		Subject: outcome.Subject[:], Coordinator: coordinator[:],
	}
	var err error
	if r.Signature, err = signer.Sign(receiptBytes(cluster, r)); err != nil {
		return nil, fmt.Errorf("signing receipt: %w", err)
	}
	return r, nil
}

// VerifyReceipt checks that r is about command and signed by one of keys (PKIX
// DER, by coordinator id). Detail is for people and not covered.
func VerifyReceipt(cluster [32]byte, keys map[[32]byte][]byte, command []byte, r *gavelv1.Receipt) error {
	digest := sha256.Sum256(command)
	if len(r.GetCommandDigest()) != 32 || len(r.GetSubject()) != 32 || len(r.GetCoordinator()) != 32 {
		return fmt.Errorf("%w: malformed", ErrReceipt)
	}
	if [32]byte(r.CommandDigest) != digest {
		return fmt.Errorf("%w: it is for command %x, not %x", ErrReceipt, r.CommandDigest[:4], digest[:4])
	}
	key, ok := keys[[32]byte(r.Coordinator)]
	if !ok {
		return fmt.Errorf("%w: signed by %x, who is no coordinator of this cluster", ErrReceipt, r.Coordinator[:4])
	}
	if err := wire.VerifySignature(key, receiptBytes(cluster, r), r.Signature); err != nil {
		return fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	return nil
}
