package escrow

import (
	"fmt"

	"gavel/raftfsm/wire"
)

// Kind says what a movement did. Values are append-only: they are encoded.
type Kind uint8

const (
	Minted Kind = iota + 1
	BurnedUp
	Moved     // available to available
	Deposited // available to stake
	Withdrawn // stake to available
	HeldBack  // to held, as a pending transfer
	Posted    // one part of a pending transfer
	Returned  // what a pending transfer left over, or all of it
)

var kindNames = [...]string{Minted: "mint", BurnedUp: "burn", Moved: "transfer", Deposited: "deposit", Withdrawn: "withdraw", HeldBack: "hold", Posted: "post", Returned: "return"}

// String is the kind's lower-case name.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("movement-%d", uint8(k))
}

// Movement is money that moved: the ledger's journal, which evidence publishes.
// From is zero for a mint, To for a burn.
type Movement struct {
	ID       TransferID
	Kind     Kind
	From, To [32]byte
	Amount   Credits
}

// Code is the canonical encoding.
func (m *Movement) Code(c *wire.Coder) {
	c.Bytes32(&m.ID)
	c.U8((*uint8)(&m.Kind))
	c.Bytes32(&m.From)
	c.Bytes32(&m.To)
	m.Amount.Code(c)
}

// note journals a movement that was carried out.
func (l *Ledger) note(m Movement) { l.movements = append(l.movements, m) }
