package beacon

import (
	"crypto/hpke"
	"errors"
	"fmt"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"gavel/raftfsm/wire"
)

// ErrBadDeal says that a deal's public part is wrong: everyone sees it, and the
// dealer is out without a complaint.
var ErrBadDeal = errors.New("deal is not valid")

// ErrBadShare says that what a dealer sent to one member is not what it committed
// to: that member must post a Complaint.
var ErrBadShare = errors.New("share does not match the deal's commitments")

// Commitment is one coefficient of a dealer's polynomial times the G2 generator.
type Commitment [keyBytes]byte

// Code is the canonical encoding.
func (k *Commitment) Code(c *wire.Coder) { codeG2(c, (*[keyBytes]byte)(k)) }

// Deal is what a dealer posts: Feldman's commitments to a random polynomial f of
// degree t−1, and f(j) sealed to each member j.
type Deal struct {
	Dealer      uint32
	Commitments []Commitment // t of them, the constant term first
	// Possession is a signature under the constant term on a message of ceremony
	// and dealer. Without it a dealer could post another's commitment minus a
	// third's and cancel them (a rogue key: Ristenpart and Yilek, EUROCRYPT 2007).
	Possession Signature
	Shares     [][]byte // n of them: f(j) for member j at [j-1], each of 80 bytes
}

// Code is the canonical encoding.
func (d *Deal) Code(c *wire.Coder) {
	c.U32(&d.Dealer)
	wire.Records(c, &d.Commitments, MaxMembers)
	d.Possession.Code(c)
	wire.List(c, &d.Shares, MaxMembers, func(c *wire.Coder, s *[]byte) { c.Blob(s, sealedBytes) })
}

// Verify checks all of a deal that is public: counts, points and the proof of
// possession. Whether the sealed shares are right only their receivers can tell.
func (d *Deal) Verify(c Ceremony) error {
	if err := c.validate(); err != nil {
		return err
	}
	if err := c.member("dealer", d.Dealer); err != nil {
		return fmt.Errorf("%w: %w", ErrBadDeal, err)
	}
	if len(d.Commitments) != c.Threshold() || len(d.Shares) != int(c.Members) {
		return fmt.Errorf("%w: dealer %d: %d commitments and %d shares, want %d and %d",
			ErrBadDeal, d.Dealer, len(d.Commitments), len(d.Shares), c.Threshold(), c.Members)
	}
	for j, s := range d.Shares {
		if len(s) != sealedBytes {
			return fmt.Errorf("%w: dealer %d: share of member %d has %d bytes, want %d", ErrBadDeal, d.Dealer, j+1, len(s), sealedBytes)
		}
	}
	points, err := d.points()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadDeal, err)
	}
	proof, err := decodeG1(d.Possession[:])
	if err != nil {
		return fmt.Errorf("%w: dealer %d: proof of possession: %w", ErrBadDeal, d.Dealer, err)
	}
	hash := hashToG1(c.possessionMessage(d.Dealer, d.Commitments[0][:]), possessionDST)
	if !pairs(&proof, &hash, &points[0]) {
		return fmt.Errorf("%w: dealer %d: proof of possession does not match", ErrBadDeal, d.Dealer)
	}
	return nil
}

// points decodes the commitments.
func (d *Deal) points() ([]bls.G2Affine, error) {
	out := make([]bls.G2Affine, len(d.Commitments))
	for i := range d.Commitments {
		p, err := decodeG2(d.Commitments[i][:])
		if err != nil {
			return nil, fmt.Errorf("dealer %d: commitment %d: %w", d.Dealer, i, err)
		}
		out[i] = p
	}
	return out, nil
}

// check says whether value is the f(index) that the deal commits to:
// value·g2 = Σ indexᵏ·Cₖ (Feldman, FOCS 1987).
func (d *Deal) check(index uint32, value *fr.Element) error {
	points, err := d.points()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadDeal, err)
	}
	got, want := mulBaseG2(value), evaluate(points, index)
	if !got.Equal(&want) {
		return fmt.Errorf("%w: dealer %d, member %d", ErrBadShare, d.Dealer, index)
	}
	return nil
}

// evaluate is Σ xᵏ·Cₖ by Horner's rule.
func evaluate(points []bls.G2Affine, x uint32) bls.G2Affine {
	var sum bls.G2Jac
	for k := len(points) - 1; k >= 0; k-- {
		sum = mulSmall(&sum, x)
		sum.AddMixed(&points[k])
	}
	var out bls.G2Affine
	out.FromJacobian(&sum)
	return out
}

// mulSmall is x·p by doubling and adding: an index has five bits, for which the
// library's windows and endomorphism are no gain.
func mulSmall(p *bls.G2Jac, x uint32) bls.G2Jac {
	var sum bls.G2Jac
	for bit := 31; bit >= 0; bit-- {
		sum.DoubleAssign()
		if x>>bit&1 == 1 {
			sum.AddAssign(p)
		}
	}
	return sum
}

// OpenShare unseals the share that a verified deal holds for member index and
// checks it against the commitments. ErrBadShare calls for a Complaint. A wrong
// key looks the same: before it accuses anyone, the caller makes sure that its key
// is the one that genesis names.
func OpenShare(c Ceremony, d *Deal, index uint32, key hpke.PrivateKey) (Secret, error) {
	if err := c.member("member", index); err != nil {
		return Secret{}, err
	}
	if len(d.Shares) != int(c.Members) {
		return Secret{}, fmt.Errorf("%w: dealer %d: %d shares for %d members", ErrBadDeal, d.Dealer, len(d.Shares), c.Members)
	}
	if key == nil {
		return Secret{}, errors.New("opening a share needs this member's X25519 key")
	}
	raw, err := unseal(key, c.sealInfo(d.Dealer, index), d.Shares[index-1])
	if err != nil {
		return Secret{}, fmt.Errorf("%w: dealer %d, member %d: %w", ErrBadShare, d.Dealer, index, err)
	}
	value, err := decodeScalar(raw)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: dealer %d, member %d: %w", ErrBadShare, d.Dealer, index, err)
	}
	if err := d.check(index, value); err != nil {
		return Secret{}, err
	}
	return Secret{value}, nil
}
