package build

import (
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Market is what a pool keeps between builds: standing asks and the epoch they
// serve, the candle auction and the leases it sold, tickets, and the prices the
// pool has seen. Each lane uses its own part.
type Market struct {
	ID    ID // MarketID of the pool
	Pool  string
	Epoch Epoch
	// Seals counts the draws that batch builds share; Sealing says that the last
	// one's signature is awaited.
	Seals   uint64
	Sealing bool
	Candle  Candle
	Leases  []Reservation // running and coming, in order of start
	Lottery Lottery
	Index   []Quote // newest last
}

// MarketID is H("pool" ‖ cluster ‖ name): what its draws and transfers name.
func MarketID(cluster ID, pool string) ID {
	return wire.NewHasher("pool").Fixed(cluster).Text(pool).Sum()
}

// NewMarket is a pool's market before anything has happened.
func NewMarket(cluster ID, pool string) *Market {
	return &Market{ID: MarketID(cluster, pool), Pool: pool}
}

// Code is the canonical encoding.
func (m *Market) Code(c *wire.Coder) {
	m.codeHead(c)
	m.Epoch.Code(c)
}

// codeHead codes all but the epoch.
func (m *Market) codeHead(c *wire.Coder) {
	c.Bytes32(&m.ID)
	c.String(&m.Pool, MaxNameBytes)
	c.U64(&m.Seals)
	c.Bool(&m.Sealing)
	m.Candle.Code(c)
	wire.Records(c, &m.Leases, maxReservations)
	m.Lottery.Code(c)
	wire.Records(c, &m.Index, maxQuotes)
}

// Quote is a point of a pool's price index: revealed demand and what was paid.
type Quote struct {
	At     int64 // farm milliseconds
	Kind   QuoteKind
	Amount escrow.Credits // a unit's
	Units  uint64
}

// QuoteKind says what a quote is of. Numbers are append-only.
type QuoteKind uint8

// What is quoted.
const (
	QuoteBestBid  QuoteKind = 1 // the winning bid or lowest ask
	QuotePaid     QuoteKind = 2 // what is paid for a build
	QuoteTickets  QuoteKind = 3 // tickets sold, at their price
	QuoteLease    QuoteKind = 4 // a lease's winning bid, per period
	QuotePriority QuoteKind = 5 // what a place in the queue cost
)

func (k QuoteKind) String() string {
	return [...]string{"", "best bid", "paid", "tickets", "lease", "priority"}[min(k, QuotePriority)]
}

// Code is the canonical encoding.
func (q *Quote) Code(c *wire.Coder) {
	c.I64(&q.At)
	c.U8((*uint8)(&q.Kind))
	q.Amount.Code(c)
	c.U64(&q.Units)
	if c.Decoding() && c.Err() == nil && (q.Kind < QuoteBestBid || q.Kind > QuotePriority) {
		c.Refuse("unknown quote %d", q.Kind)
	}
}

// maxQuotes is how much of its past a pool's price index keeps.
const maxQuotes = 64

// quote adds a point to the price index. What repeats the last point adds to its units.
func (e *Env) quote(kind QuoteKind, amount escrow.Credits, units uint64) {
	m := e.Market
	if m == nil || e.house() {
		return
	}
	e.Touch()
	if n := len(m.Index); n > 0 && m.Index[n-1].Kind == kind && m.Index[n-1].Amount == amount {
		m.Index[n-1].At, m.Index[n-1].Units = e.Now, m.Index[n-1].Units+units
		return
	}
	m.Index = append(m.Index, Quote{At: e.Now, Kind: kind, Amount: amount, Units: units})
	if n := len(m.Index) - maxQuotes; n > 0 {
		m.Index = m.Index[n:]
	}
}

// The purposes of the beacon for markets; the subject is the market's id.
const (
	PurposeSeal    = "seal"    // round: number of the seal
	PurposeAsks    = "asks"    // round: number of the epoch
	PurposeCandle  = "candle"  // round: number of the lease auction
	PurposeLottery = "lottery" // round: number of the draw
)

// Demand returns the signature that the market waits for, if any. At most one
// thing is awaited at once.
func (m *Market) Demand() (Demand, bool) {
	switch {
	case m.Epoch.State == EpochTied: // once an epoch; seals may follow one another for long
		return Demand{PurposeAsks, m.Epoch.Number}, true
	case m.Sealing:
		return Demand{PurposeSeal, m.Seals}, true
	case m.Candle.demands():
		return Demand{PurposeCandle, m.Candle.Number}, true
	case m.Lottery.demands():
		return Demand{PurposeLottery, m.Lottery.Draws}, true
	}
	return Demand{}, false
}

// Drawn applies the signature that Demand asked for, which the caller has verified.
func (m *Market) Drawn(e *Env, d Demand, signature [48]byte, seed [32]byte) {
	switch d.Purpose {
	case PurposeSeal:
		m.unseal(e, d, signature, seed)
	case PurposeAsks:
		m.remake(e, func() { m.Epoch.tied(e, signature) })
	case PurposeCandle:
		m.closeCandle(e, signature, seed)
	case PurposeLottery:
		m.drawTickets(e, signature, seed)
	}
}

// NextDeadline is the farm time at which Expire has something to do.
func (m *Market) NextDeadline() (at int64, ok bool) {
	earliest := func(t int64) {
		if t > 0 && (!ok || t < at) {
			at, ok = t, true
		}
	}
	earliest(m.Epoch.Deadline)
	earliest(m.Candle.Deadline)
	earliest(m.Lottery.Deadline)
	for i := range m.Leases {
		earliest(m.Leases[i].deadline())
	}
	return at, ok
}

// Expire does what the passing of time demands; the caller repeats it until
// nothing is due.
func (m *Market) Expire(e *Env) {
	due := func(t int64) bool { return t > 0 && t <= e.Now }
	switch {
	case due(m.Epoch.Deadline):
		m.remake(e, func() { m.Epoch.expire(e) })
	case due(m.Candle.Deadline):
		m.expireCandle(e)
	case due(m.Lottery.Deadline):
		m.expireLottery(e)
	default:
		m.expireLeases(e)
	}
}

// transferID names a movement of the market's: round and purpose tell it from
// every other between the same accounts.
func (m *Market) transferID(e *Env, round uint64, purpose string, from, to ID) escrow.TransferID {
	return escrow.TransferIDOf(e.Cluster, m.ID, round, purpose, from, to)
}
