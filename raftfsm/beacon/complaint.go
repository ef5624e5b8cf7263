package beacon

import (
	"fmt"

	"gavel/raftfsm/wire"
)

// Complaint is a member's word that the share it was dealt is wrong. It proves
// nothing: it obliges the dealer to a Justification before the deadline, or it is
// out.
type Complaint struct {
	Accuser uint32
	Dealer  uint32
}

// Code is the canonical encoding.
func (k *Complaint) Code(c *wire.Coder) {
	c.U32(&k.Accuser)
	c.U32(&k.Dealer)
}

// Justification is a dealer's answer: the accuser's share, in public. An honest
// dealer loses nothing by it, since an accuser that lied knew the value already,
// and those who lie are fewer than t.
type Justification struct {
	Dealer  uint32
	Accuser uint32
	Value   [32]byte // f(accuser), big-endian
}

// Code is the canonical encoding.
func (j *Justification) Code(c *wire.Coder) {
	c.U32(&j.Dealer)
	c.U32(&j.Accuser)
	c.Bytes32(&j.Value)
}

// Open checks the justification against the deal's commitments, as Apply does,
// and returns the value, which the accuser takes for its share from now on.
func (j *Justification) Open(c Ceremony, d *Deal) (Secret, error) {
	if err := c.member("accuser", j.Accuser); err != nil {
		return Secret{}, err
	}
	if j.Dealer != d.Dealer {
		return Secret{}, fmt.Errorf("justification of dealer %d against the deal of %d", j.Dealer, d.Dealer)
	}
	value, err := decodeScalar(j.Value[:])
	if err != nil {
		return Secret{}, fmt.Errorf("justification of dealer %d: %w", j.Dealer, err)
	}
	if err := d.check(j.Accuser, value); err != nil {
		return Secret{}, fmt.Errorf("justification: %w", err)
	}
	return Secret{value}, nil
}
