package beacon

import (
	"fmt"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// Assemble adds up the deals of the qualified dealers, each verified before: the
// group key is Σ of the constant terms, member j's public share Σ of what the
// commitments say at j. Order does not matter. Fewer than t dealers might all be
// dishonest and know the key, so they are refused.
func Assemble(c Ceremony, qualified []*Deal) (*Group, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if len(qualified) < c.Threshold() {
		return nil, fmt.Errorf("assembling a key from %d deals: %d needed; start another round", len(qualified), c.Threshold())
	}
	sums := make([]bls.G2Jac, c.Threshold())
	seen := make(map[uint32]bool)
	for _, d := range qualified {
		if seen[d.Dealer] {
			return nil, fmt.Errorf("assembling a key: dealer %d twice", d.Dealer)
		}
		seen[d.Dealer] = true
		points, err := d.points()
		if err != nil {
			return nil, fmt.Errorf("assembling a key: %w: %w", ErrBadDeal, err)
		}
		if len(points) != len(sums) {
			return nil, fmt.Errorf("assembling a key: %w: dealer %d: %d commitments, want %d", ErrBadDeal, d.Dealer, len(points), len(sums))
		}
		for k := range points {
			sums[k].AddMixed(&points[k])
		}
	}
	sum := make([]bls.G2Affine, len(sums))
	for k := range sums {
		sum[k].FromJacobian(&sums[k])
	}
	return publicGroup(c, sum)
}

// publicGroup evaluates the summed commitments for the key and every member.
func publicGroup(c Ceremony, sum []bls.G2Affine) (*Group, error) {
	// Cancelling another's commitment would take the discrete logarithm that the
	// proof of possession shows; the check is here because nothing could be
	// verified under the identity.
	if sum[0].IsInfinity() {
		return nil, fmt.Errorf("assembling a key: the deals cancel each other; start another round")
	}
	out := &Group{Key: sum[0].Bytes()}
	for j := uint32(1); j <= c.Members; j++ {
		share := evaluate(sum, j)
		if share.IsInfinity() {
			return nil, fmt.Errorf("assembling a key: the deals leave member %d without a share; start another round", j)
		}
		out.Shares = append(out.Shares, share.Bytes())
	}
	return out, nil
}

// CombineShares adds up what the qualified dealers gave member index, one Secret
// of each, and checks the sum against its public share.
func CombineShares(index uint32, parts []Secret, pub PublicShare) (Share, error) {
	var sum fr.Element
	for i, p := range parts {
		if p.value == nil {
			return Share{}, fmt.Errorf("combining shares of member %d: part %d is empty", index, i)
		}
		sum.Add(&sum, p.value)
	}
	s := Share{Index: index, secret: Secret{&sum}}
	if err := s.Check(pub); err != nil {
		return Share{}, fmt.Errorf("combining %d shares: %w; open the shares of exactly the qualified dealers", len(parts), err)
	}
	return s, nil
}
