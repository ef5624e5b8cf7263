package build

import (
	"fmt"
	"slices"
	"strings"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// ID names accounts (SHA-256 of the PKIX DER key), builds, auctions and results.
type ID = [32]byte

// Lane is how a pool allocates its work. Numbers are append-only.
type Lane uint8

// The lanes there are.
const (
	LaneSpot    Lane = 1 // sealed bids, second price, one build at a time
	LaneHouse   Lane = 2 // no bids, no amounts; the builder is drawn among idle machines
	LaneBatch   Lane = 3 // standing sealed asks, many builds priced together at an epoch's end
	LaneLease   Lane = 4 // spot, and workers reserved ahead by candle auction
	LaneLottery Lane = 5 // slots go to random tickets; the builder is drawn
)

var laneNames = [...]string{LaneSpot: "spot", LaneHouse: "house", LaneBatch: "batch", LaneLease: "lease", LaneLottery: "lottery"}

func (l Lane) String() string {
	if int(l) < len(laneNames) && laneNames[l] != "" {
		return laneNames[l]
	}
	return fmt.Sprintf("lane-%d", uint8(l))
}

// ParseLane reads a lane's name.
func ParseLane(text string) (Lane, error) {
	for l := LaneSpot; l <= LaneLottery; l++ {
		if text == l.String() {
			return l, nil
		}
	}
	return 0, fmt.Errorf("lane %q: want spot, house, batch, lease or lottery", text)
}

// Auctions says that builds of the lane are auctioned one by one.
func (l Lane) Auctions() bool { return l == LaneSpot || l == LaneLease }

// Draws says that the lane's builder is drawn and no price is bid.
func (l Lane) Draws() bool { return l == LaneHouse || l == LaneLottery }

// Domain is what counts as one independent party.
type Domain uint8

// The independence domains.
const (
	DomainOperator Domain = 1
	DomainMachine  Domain = 2
)

func (d Domain) String() string {
	if d == DomainMachine {
		return "machine"
	}
	return "operator"
}

// Pool is a class of workers and the rule by which they get work.
type Pool struct {
	Name   string
	Lane   Lane
	Domain Domain
	// Class is the fingerprint class it admits: slash-separated components, of
	// which a worker's class must begin with these. Empty admits any.
	Class string
	// Operators lists who may join, sorted; empty says any admitted operator.
	Operators []string
	// Shares names another pool whose workers serve this one too; empty: none.
	Shares string
	// The rules of the lane; those of other lanes are zero.
	Batch   BatchRules
	Lease   LeaseRules
	Lottery LotteryRules
}

// TakesOperator says whether an operator's workers may serve the pool.
func (p *Pool) TakesOperator(operator string) bool {
	return len(p.Operators) == 0 || slices.Contains(p.Operators, operator)
}

// TakesClass says whether workers of a fingerprint class may serve the pool.
func (p *Pool) TakesClass(class string) bool {
	return p.Class == "" || class == p.Class || strings.HasPrefix(class, p.Class+"/")
}

// BatchRules are a batch pool's.
type BatchRules struct {
	EpochMillis int64
	Reserve     escrow.Credits  // the most an action costs; metered: a core-second
	Pricing     auction.Pricing // fixes the price at the epoch's end
	Metered     bool            // asks are per core-second, not per action
}

// LeaseRules are a lease pool's. An auction sells one slot, a worker, for up to
// auction.MaxPeriods periods.
type LeaseRules struct {
	PeriodMillis  int64
	OpeningMillis int64 // from an auction's first bid to its ending period
	EndingMillis  int64 // the ending period, cut into Samples, one of which is drawn as the close
	Samples       uint32
	Slots         uint32         // workers that may be leased; a fifth of them for community projects
	Reserve       escrow.Credits // least bid per period
}

// LotteryRules are a lottery pool's.
type LotteryRules struct {
	Price      escrow.Credits // of a ticket
	Rule       auction.TicketRule
	Lookahead  uint32 // slots whose tickets are drawn ahead
	SlotMillis int64  // how long a drawn ticket waits for a build of its owner's
}

// Code is the canonical encoding.
func (p *Pool) Code(c *wire.Coder) {
	c.String(&p.Name, MaxNameBytes)
	c.U8((*uint8)(&p.Lane))
	c.U8((*uint8)(&p.Domain))
	c.String(&p.Class, MaxClassBytes)
	c.Strings(&p.Operators, MaxWorkers, MaxNameBytes)
	c.String(&p.Shares, MaxNameBytes)
	if c.Decoding() && c.Err() == nil && (p.Lane < LaneSpot || p.Lane > LaneLottery) {
		c.Refuse("a pool of unknown lane %d", p.Lane)
	}
	switch p.Lane {
	case LaneBatch:
		c.I64(&p.Batch.EpochMillis)
		p.Batch.Reserve.Code(c)
		c.U8((*uint8)(&p.Batch.Pricing))
		c.Bool(&p.Batch.Metered)
	case LaneLease:
		c.I64(&p.Lease.PeriodMillis)
		c.I64(&p.Lease.OpeningMillis)
		c.I64(&p.Lease.EndingMillis)
		c.U32(&p.Lease.Samples)
		c.U32(&p.Lease.Slots)
		p.Lease.Reserve.Code(c)
	case LaneLottery:
		p.Lottery.Price.Code(c)
		c.U8((*uint8)(&p.Lottery.Rule))
		c.U32(&p.Lottery.Lookahead)
		c.I64(&p.Lottery.SlotMillis)
	}
}

// Bounds of a pool's rules.
const (
	minPeriodMillis = 1_000      // below it a lease ends before a build has begun
	maxPeriodMillis = 1 << 40    // 35 years
	maxEpochMillis  = 86_400_000 // work waits no longer than a day for its price
	maxUnitReserve  = 1 << 48    // of a unit: an epoch of maxUnits stays in range
	maxSamples      = 256        // finer than anybody can aim
	maxSlots        = 1024
	maxLookahead    = 64
)

// Validate holds a pool's own fields to their ranges.
func (p *Pool) Validate() error {
	if p.Lane < LaneSpot || p.Lane > LaneLottery {
		return fmt.Errorf("pool %q: unknown lane %d", p.Name, p.Lane)
	}
	if p.Domain != DomainOperator && p.Domain != DomainMachine {
		return fmt.Errorf("pool %q: unknown independence domain %d", p.Name, p.Domain)
	}
	if p.Shares == p.Name {
		return fmt.Errorf("pool %q shares its own workers", p.Name)
	}
	if len(p.Name) > MaxNameBytes || len(p.Shares) > MaxNameBytes || len(p.Class) > MaxClassBytes || len(p.Operators) > MaxWorkers {
		return fmt.Errorf("a pool has a name of at most %d bytes, a class of %d and %d operators", MaxNameBytes, MaxClassBytes, MaxWorkers)
	}
	between := func(what string, value, low, high int64) error {
		if value < low || value > high {
			return fmt.Errorf("pool %q: %s is %d, want %d to %d", p.Name, what, value, low, high)
		}
		return nil
	}
	var checks []error
	switch p.Lane {
	case LaneBatch:
		checks = []error{
			between("the epoch in milliseconds", p.Batch.EpochMillis, 100, maxEpochMillis),
			between("the reserve in micro-credits", int64(p.Batch.Reserve), 1, maxUnitReserve),
		}
		if !p.Batch.Pricing.Valid() {
			checks = append(checks, fmt.Errorf("pool %q: unknown pricing rule %d", p.Name, p.Batch.Pricing))
		}
	case LaneLease:
		l := &p.Lease
		checks = []error{
			between("the period in milliseconds", l.PeriodMillis, minPeriodMillis, maxPeriodMillis),
			between("the opening in milliseconds", l.OpeningMillis, 0, maxPeriodMillis),
			between("the ending period in milliseconds", l.EndingMillis, int64(max(1, l.Samples)), maxPeriodMillis),
			between("the number of samples", int64(l.Samples), 1, maxSamples),
			between("the number of slots", int64(l.Slots), 1, maxSlots),
			between("the reserve in micro-credits", int64(l.Reserve), 0, int64(maxAmount)),
		}
	case LaneLottery:
		l := &p.Lottery
		checks = []error{
			between("the price of a ticket in micro-credits", int64(l.Price), 0, int64(maxAmount)),
			between("the lookahead", int64(l.Lookahead), 0, maxLookahead),
			between("the slot's waiting time in milliseconds", l.SlotMillis, 100, maxEpochMillis),
		}
		if !l.Rule.Valid() {
			checks = append(checks, fmt.Errorf("pool %q: unknown ticket rule %d", p.Name, l.Rule))
		}
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}
