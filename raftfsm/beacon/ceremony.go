package beacon

import (
	"fmt"

	"gavel/raftfsm/wire"
)

// Ceremony names one key generation. Everything dealt in it is bound to it, so
// that nothing can be replayed in another.
type Ceremony struct {
	Cluster [32]byte // the cluster's id
	Round   uint64   // 0 when the cluster forms, one more for each handover to a new group key
	Members uint32   // n; members are numbered 1..n
}

// Code is the canonical encoding.
func (c *Ceremony) Code(w *wire.Coder) {
	w.Bytes32(&c.Cluster)
	w.U64(&c.Round)
	w.U32(&c.Members)
	if w.Decoding() && w.Err() == nil {
		if err := c.validate(); err != nil {
			w.Refuse("%v", err)
		}
	}
}

// Threshold is t of the group that the ceremony makes.
func (c Ceremony) Threshold() int { return Threshold(int(c.Members)) }

func (c Ceremony) validate() error {
	if c.Members < 1 || c.Members > MaxMembers {
		return fmt.Errorf("a group of %d members: want 1 to %d", c.Members, MaxMembers)
	}
	return nil
}

// member checks that index names one of the ceremony's members.
func (c Ceremony) member(role string, index uint32) error {
	if index < 1 || index > c.Members {
		return fmt.Errorf("%s %d is no member: the group has %d", role, index, c.Members)
	}
	return nil
}

// possessionMessage is what a dealer signs to prove that it knows the constant
// term behind commitment.
func (c Ceremony) possessionMessage(dealer uint32, commitment []byte) []byte {
	m := wire.NewHasher("dkg-possession").Fixed(c.Cluster).U64(c.Round).U64(uint64(c.Members)).
		U64(uint64(dealer)).Var(commitment).Sum()
	return m[:]
}

// sealInfo binds a sealed share to ceremony, dealer and receiver.
func (c Ceremony) sealInfo(dealer, receiver uint32) []byte {
	m := wire.NewHasher("dkg-share").Fixed(c.Cluster).U64(c.Round).U64(uint64(c.Members)).
		U64(uint64(dealer)).U64(uint64(receiver)).Sum()
	return m[:]
}
