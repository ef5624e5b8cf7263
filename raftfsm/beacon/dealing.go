package beacon

import (
	"crypto/hpke"
	"fmt"
	"io"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// Dealing is a dealer's secret side of its Deal: the polynomial. The dealer
// writes Bytes to disk before it posts the deal and removes the file when the
// ceremony ends: a dealer that crashed and lost it could not answer a complaint
// and would be out.
type Dealing struct {
	ceremony Ceremony
	dealer   uint32
	// polynomial has t coefficients, the constant term first. It is behind a
	// pointer so that fmt of whatever holds a Dealing shows an address.
	polynomial *[]fr.Element
}

// NewDealing draws a random polynomial of degree t−1 from random, which must be
// a cryptographic source.
func NewDealing(random io.Reader, c Ceremony, dealer uint32) (*Dealing, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if err := c.member("dealer", dealer); err != nil {
		return nil, err
	}
	polynomial := make([]fr.Element, c.Threshold())
	for i := range polynomial {
		var err error
		// A zero coefficient would commit to the identity, which decoders refuse.
		for polynomial[i].IsZero() {
			if polynomial[i], err = randomScalar(random); err != nil {
				return nil, fmt.Errorf("drawing a polynomial: %w", err)
			}
		}
	}
	return &Dealing{ceremony: c, dealer: dealer, polynomial: &polynomial}, nil
}

// at is f(x).
func (d *Dealing) at(x uint32) *fr.Element {
	var sum, at fr.Element
	at.SetUint64(uint64(x))
	coefficients := *d.polynomial
	for i := len(coefficients) - 1; i >= 0; i-- {
		sum.Mul(&sum, &at)
		sum.Add(&sum, &coefficients[i])
	}
	return &sum
}

// Deal makes what is posted, sealing each member's share to its X25519 key,
// receivers[j-1] for member j. Called again it seals anew, with the same
// commitments.
func (d *Dealing) Deal(receivers []hpke.PublicKey) (*Deal, error) {
	c := d.ceremony
	if len(receivers) != int(c.Members) {
		return nil, fmt.Errorf("dealing to %d encryption keys: the group has %d members", len(receivers), c.Members)
	}
	out := &Deal{Dealer: d.dealer}
	for i := range *d.polynomial {
		point := mulBaseG2(&(*d.polynomial)[i])
		out.Commitments = append(out.Commitments, point.Bytes())
	}
	hash := hashToG1(c.possessionMessage(d.dealer, out.Commitments[0][:]), possessionDST)
	proof := mulG1(&hash, &(*d.polynomial)[0])
	out.Possession = proof.Bytes()
	for j := uint32(1); j <= c.Members; j++ {
		value := d.at(j).Bytes()
		sealed, err := seal(receivers[j-1], c.sealInfo(d.dealer, j), value[:])
		clear(value[:])
		if err != nil {
			return nil, fmt.Errorf("sealing the share of member %d: %w; check its encryption key in genesis", j, err)
		}
		out.Shares = append(out.Shares, sealed)
	}
	return out, nil
}

// Justify answers a complaint of accuser by making its share public.
func (d *Dealing) Justify(accuser uint32) (Justification, error) {
	if err := d.ceremony.member("accuser", accuser); err != nil {
		return Justification{}, err
	}
	return Justification{Dealer: d.dealer, Accuser: accuser, Value: d.at(accuser).Bytes()}, nil
}

// Format keeps the polynomial out of every log: it prints who deals, no more.
func (d *Dealing) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "beacon dealing of member %d (hidden)", d.dealer)
}
