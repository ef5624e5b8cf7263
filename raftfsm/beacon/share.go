package beacon

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// Secret is one dealer's contribution to a member's share, as opened. It cannot
// be printed.
type Secret struct {
	// value is behind a pointer so that fmt of a struct that holds a Secret in an
	// unexported field, where Format is out of reach, shows an address.
	value *fr.Element
}

// Format keeps the value out of every log.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "hidden") }

// Share is a member's share of the group's private key. The zero Share is empty
// and must not sign.
type Share struct {
	Index  uint32 // of the member, from 1
	secret Secret
}

// Format keeps the share out of every log: it prints whose it is, no more.
func (s Share) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "beacon share of member %d (hidden)", s.Index)
}

// Check says whether this is the private half of pub.
func (s Share) Check(pub PublicShare) error {
	if s.secret.value == nil || s.secret.value.IsZero() {
		return fmt.Errorf("share of member %d is empty", s.Index)
	}
	if point := mulBaseG2(s.secret.value); point.Bytes() != pub {
		return fmt.Errorf("share of member %d does not belong to its public share", s.Index)
	}
	return nil
}

// Sign is this member's partial signature on msg. It must be asked only for a
// message that the member's own applied state demands.
func (s Share) Sign(msg []byte) Partial {
	if s.secret.value == nil {
		panic("beacon: signing with an empty share")
	}
	hash := hashToG1(msg, signatureDST)
	point := mulG1(&hash, s.secret.value)
	return Partial{Index: s.Index, Sig: point.Bytes()}
}
