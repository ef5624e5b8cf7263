package beacon

import (
	"errors"
	"fmt"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"gavel/raftfsm/wire"
)

// ErrTooFew says that fewer than t valid partials are there: wait for more.
var ErrTooFew = errors.New("too few valid partial signatures")

// Threshold is how many of members must sign: ⌊members/2⌋+1, so that no minority
// can and any majority does.
func Threshold(members int) int { return members/2 + 1 }

// Group is the public outcome of a key generation: the group key and every
// member's public share, the share of member i at Shares[i-1].
type Group struct {
	Key    GroupKey
	Shares []PublicShare
}

// Code is the canonical encoding.
func (g *Group) Code(c *wire.Coder) {
	g.Key.Code(c)
	wire.Records(c, &g.Shares, MaxMembers)
}

// VerifyPartial checks a partial signature against the public share it names.
func (g *Group) VerifyPartial(msg []byte, p Partial) error {
	if p.Index < 1 || int(p.Index) > len(g.Shares) {
		return fmt.Errorf("partial signature of member %d: the group has %d", p.Index, len(g.Shares))
	}
	return VerifyPartial(g.Shares[p.Index-1], msg, p)
}

// Combine makes the group's signature on msg from any t valid partials of
// different members. Others may be among them and are passed over; whichever t
// are used, the signature is the same. The result has been verified.
func (g *Group) Combine(msg []byte, partials []Partial) (Signature, error) {
	t := Threshold(len(g.Shares))
	distinct := distinctMembers(partials, len(g.Shares))
	// Honest members are the rule: one verification of the outcome is cheaper
	// than one of each part.
	if len(distinct) >= t {
		if sig, err := interpolate(distinct[:t]); err == nil && Verify(g.Key, msg, sig) == nil {
			return sig, nil
		}
	}
	var valid []Partial
	seen := make(map[uint32]bool)
	for _, p := range partials {
		if len(valid) < t && !seen[p.Index] && g.VerifyPartial(msg, p) == nil {
			seen[p.Index] = true
			valid = append(valid, p)
		}
	}
	if len(valid) < t {
		return Signature{}, fmt.Errorf("%w: %d of %d, %d needed", ErrTooFew, len(valid), len(partials), t)
	}
	sig, err := interpolate(valid)
	if err != nil {
		return Signature{}, err
	}
	if err := Verify(g.Key, msg, sig); err != nil {
		return Signature{}, fmt.Errorf("public shares and group key do not belong together: %w", err)
	}
	return sig, nil
}

// distinctMembers keeps the first partial of each member of the group, in order.
func distinctMembers(partials []Partial, members int) []Partial {
	var out []Partial
	seen := make(map[uint32]bool)
	for _, p := range partials {
		if p.Index >= 1 && int(p.Index) <= members && !seen[p.Index] {
			seen[p.Index] = true
			out = append(out, p)
		}
	}
	return out
}

// interpolate is Σ λᵢ·sigᵢ with Lagrange's coefficients at zero (Boldyreva,
// "Threshold signatures based on the gap Diffie-Hellman group", PKC 2003).
// Indices must be distinct and not zero.
func interpolate(partials []Partial) (Signature, error) {
	var sum bls.G1Jac
	for i, p := range partials {
		point, err := decodeG1(p.Sig[:])
		if err != nil {
			return Signature{}, fmt.Errorf("reading partial signature of member %d: %w", p.Index, err)
		}
		lambda := lagrangeAtZero(partials, i)
		term := mulG1(&point, &lambda)
		sum.AddMixed(&term)
	}
	var out bls.G1Affine
	out.FromJacobian(&sum)
	return Signature(out.Bytes()), nil
}

// lagrangeAtZero is Π xⱼ/(xⱼ−xᵢ) over j ≠ i.
func lagrangeAtZero(partials []Partial, i int) fr.Element {
	var numerator, denominator, xi fr.Element
	numerator.SetOne()
	denominator.SetOne()
	xi.SetUint64(uint64(partials[i].Index))
	for j := range partials {
		if j == i {
			continue
		}
		var xj, difference fr.Element
		xj.SetUint64(uint64(partials[j].Index))
		difference.Sub(&xj, &xi)
		numerator.Mul(&numerator, &xj)
		denominator.Mul(&denominator, &difference)
	}
	denominator.Inverse(&denominator)
	return *numerator.Mul(&numerator, &denominator)
}
