package build

import (
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// MakePool is the payload of TypePool: a pool that genesis did not have.
type MakePool struct{ Pool Pool }

// Code is the canonical encoding.
func (m *MakePool) Code(c *wire.Coder) { m.Pool.Code(c) }

// PlaceAsk seals a standing ask for one epoch of a batch pool. Another for the
// same epoch replaces it until the epoch opens.
type PlaceAsk struct {
	Pool       string
	Epoch      uint64
	Commitment ID // AskCommitment
}

// Code is the canonical encoding.
func (m *PlaceAsk) Code(c *wire.Coder) {
	c.String(&m.Pool, MaxNameBytes)
	c.U64(&m.Epoch)
	c.Bytes32(&m.Commitment)
}

// OpenAsk opens a sealed ask.
type OpenAsk struct {
	Pool     string
	Epoch    uint64
	Price    escrow.Credits // per action; in a metered pool per core-second
	Capacity uint64         // actions the worker takes in the epoch, at least 1
	Nonce    ID
}

// Code is the canonical encoding.
func (m *OpenAsk) Code(c *wire.Coder) {
	c.String(&m.Pool, MaxNameBytes)
	c.U64(&m.Epoch)
	m.Price.Code(c)
	c.U64(&m.Capacity)
	c.Bytes32(&m.Nonce)
}

// AskCommitment is H("ask" ‖ cluster ‖ market ‖ epoch ‖ worker ‖ price ‖ capacity ‖ nonce).
func AskCommitment(cluster, market ID, epoch uint64, worker ID, price escrow.Credits, capacity uint64, nonce ID) ID {
	return wire.NewHasher("ask").Fixed(cluster).Fixed(market).U64(epoch).Fixed(worker).I64(int64(price)).U64(capacity).Fixed(nonce).Sum()
}

// LeaseBid bids for a slot of a lease pool over periods First to Last (from 1).
type LeaseBid struct {
	Pool      string
	Auction   uint64 // the auction meant; 0 is whichever runs, or begins
	First     uint8
	Last      uint8
	PerPeriod escrow.Credits
}

// Code is the canonical encoding.
func (m *LeaseBid) Code(c *wire.Coder) {
	c.String(&m.Pool, MaxNameBytes)
	c.U64(&m.Auction)
	c.U8(&m.First)
	c.U8(&m.Last)
	m.PerPeriod.Code(c)
}

// BuyTickets buys tickets of a lottery pool at its price.
type BuyTickets struct {
	Pool  string
	Count uint64
}

// Code is the canonical encoding.
func (m *BuyTickets) Code(c *wire.Coder) { c.String(&m.Pool, MaxNameBytes); c.U64(&m.Count) }

// Lend gives a community slot of a lease pool to a holder, for no price.
type Lend struct {
	Pool    string
	Holder  ID
	Periods uint32
}

// Code is the canonical encoding.
func (m *Lend) Code(c *wire.Coder) {
	c.String(&m.Pool, MaxNameBytes)
	c.Bytes32(&m.Holder)
	c.U32(&m.Periods)
}
