package build

import (
	"slices"

	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Round tells first builds, rechecks and panel builds apart.
type Round uint8

// The rounds of building.
const (
	RoundFirst   Round = 0
	RoundRecheck Round = 1
	RoundPanel   Round = 2
)

func (r Round) String() string {
	switch r {
	case RoundFirst:
		return "first"
	case RoundRecheck:
		return "recheck"
	}
	return "panel"
}

// AttemptState is where one party's building stands.
type AttemptState uint8

// The states of an attempt. From AttemptOpened on nothing more is asked of it.
const (
	AttemptAssigned   AttemptState = 1
	AttemptStarted    AttemptState = 2
	AttemptCommitted  AttemptState = 3
	AttemptOpened     AttemptState = 4
	AttemptMismatched AttemptState = 5 // its lodged opening did not match: slashed
	AttemptSilent     AttemptState = 6 // let its lease lapse, or gave up
	AttemptReleased   AttemptState = 7 // no longer wanted
)

func (s AttemptState) String() string {
	return [...]string{"", "assigned", "started", "committed", "opened", "mismatched", "silent", "released"}[s]
}

// Candidate is an eligible worker and the independent party it belongs to.
type Candidate = draw.Candidate

func codeCandidate(c *wire.Coder, d *Candidate) {
	c.String(&d.Domain, MaxNameBytes)
	c.Bytes32(&d.Worker)
}

// Bid is a sealed bid, and what it hid once it is open.
type Bid struct {
	Worker     ID
	Domain     string
	Commitment ID
	Bond       escrow.TransferID // zero once it is released or forfeit
	Revealed   bool
	Price      escrow.Credits
	Finish     int64
	Result     ID   // commitment to a finished result; zeros where the bid is for the slot
	Nonce      ID   // with it anyone recomputes Commitment
	Defaulted  bool // won and let the build down
	Skipped    bool // at the last award: had no slot or no stake left when its turn came
}

// Code is the canonical encoding.
func (b *Bid) Code(c *wire.Coder) {
	c.Bytes32(&b.Worker)
	c.String(&b.Domain, MaxNameBytes)
	c.Bytes32(&b.Commitment)
	c.Bytes32((*[32]byte)(&b.Bond))
	c.Bool(&b.Revealed)
	c.I64((*int64)(&b.Price))
	c.I64(&b.Finish)
	c.Bytes32(&b.Result)
	c.Bytes32(&b.Nonce)
	c.Bool(&b.Defaulted)
	c.Bool(&b.Skipped)
}

// Attempt is one party building once. Times are farm milliseconds.
type Attempt struct {
	Round       Round
	Seat        uint32 // 0 is the builder's, 1..k the validators'; of a panel 1..m
	Worker      ID
	Ordinal     uint32 // how many attempts at this build the worker had before
	Domain      string
	Class       string // the worker's fingerprint class when it committed
	State       AttemptState
	Hold        escrow.TransferID // the stake S locked for it; zero where there is none
	AssignedAt  int64
	StartedAt   int64
	CommittedAt int64
	LeaseUntil  int64
	BoundUntil  int64
	Commitment  ID
	Lodged      []byte // canonical Lodgement, dropped once opened
	Opening     Opening
	Slashed     bool
	Stored      bool // its outputs are stored
	UploadTried bool // had its turn to upload and did not use it
}

// Code is the canonical encoding.
func (a *Attempt) Code(c *wire.Coder) {
	c.U8((*uint8)(&a.Round))
	c.U32(&a.Seat)
	c.Bytes32(&a.Worker)
	c.U32(&a.Ordinal)
	c.String(&a.Domain, MaxNameBytes)
	c.String(&a.Class, MaxClassBytes)
	c.U8((*uint8)(&a.State))
	c.Bytes32((*[32]byte)(&a.Hold))
	for _, v := range []*int64{&a.AssignedAt, &a.StartedAt, &a.CommittedAt, &a.LeaseUntil, &a.BoundUntil} {
		c.I64(v)
	}
	c.Bytes32(&a.Commitment)
	c.Blob(&a.Lodged, MaxLodgedBytes)
	c.Bool(&a.Slashed)
	c.Bool(&a.Stored)
	c.Bool(&a.UploadTried)
	if a.State == AttemptOpened {
		a.Opening.Code(c)
	}
}

// Lease is the attempt's name on the wire.
func (a *Attempt) Lease(build ID) ID { return LeaseID(build, a.Worker, a.Ordinal) }

// Active says that the attempt's lease runs.
func (a *Attempt) Active() bool { return a.State == AttemptAssigned || a.State == AttemptStarted }

// Result is the digest of an opened attempt.
func (a *Attempt) Result() ID { return a.Opening.Summary.Digest() }

// DrawProof is a beacon signature that something of the build followed from: a
// draw can be made again from it with the group's public key alone.
type DrawProof struct {
	Subject   ID // the build; for a shared draw its market
	Purpose   string
	Round     uint64
	Signature [48]byte
}

// Code is the canonical encoding.
func (p *DrawProof) Code(c *wire.Coder) {
	c.Bytes32(&p.Subject)
	c.String(&p.Purpose, 32)
	c.U64(&p.Round)
	wire.Fixed48(c, &p.Signature)
}

// proven keeps a signature as evidence. One of each purpose is kept: a replaced
// auctioneer's is in the log's epochs.
func (b *Build) proven(subject ID, d Demand, signature [48]byte) {
	b.Draws = slices.DeleteFunc(b.Draws, func(p DrawProof) bool { return p.Purpose == d.Purpose })
	b.Draws = append(b.Draws, DrawProof{subject, d.Purpose, d.Round, signature})
}

// Draw returns the proof of a purpose.
func (b *Build) Draw(purpose string) (DrawProof, bool) {
	for _, p := range b.Draws {
		if p.Purpose == purpose {
			return p, true
		}
	}
	return DrawProof{}, false
}

// Sampling is what the beacon said of a build with a sampling rate.
type Sampling uint8

// What sampling may have said; 0 is nothing yet.
const (
	Sampled    Sampling = 1 // validators are drawn
	SampledOut Sampling = 2 // nobody rebuilds it
)

// Penalty is what a winner that defaulted will pay once its successor is known.
type Penalty struct {
	Worker    ID
	Hold      escrow.TransferID
	Reference escrow.Credits // under which it was awarded
}

// Code is the canonical encoding.
func (p *Penalty) Code(c *wire.Coder) {
	c.Bytes32(&p.Worker)
	c.Bytes32((*[32]byte)(&p.Hold))
	c.I64((*int64)(&p.Reference))
}

// Transfer is a posted movement of money, kept with its build as evidence.
type Transfer struct {
	ID       escrow.TransferID
	Purpose  string
	From, To ID
	Amount   escrow.Credits
}

// Code is the canonical encoding.
func (t *Transfer) Code(c *wire.Coder) {
	c.Bytes32((*[32]byte)(&t.ID))
	c.String(&t.Purpose, MaxNameBytes)
	c.Bytes32(&t.From)
	c.Bytes32(&t.To)
	c.I64((*int64)(&t.Amount))
}

// Build is a build's record: all the state machine knows of it.
type Build struct {
	ID        ID
	Requester ID
	Operator  string // the requester's, empty for none
	Request   [16]byte
	Terms     Terms
	Sequence  uint64 // order of submission
	// SettledOrder counts settlements from 1; 0 before its own.
	SettledOrder uint64
	Version      uint64 // grows with every change
	State        State
	// Verdict is the state that decided the build, 0 before there is one; it
	// stays when State becomes Settled.
	Verdict State
	Reason  string // a sentence on Verdict, for a person

	SubmittedAt, OpenedAt, AwardedAt, FirstAwardedAt, VerdictAt, SettledAt int64
	// Deadline is when the state's own time is up; 0 where only leases or a
	// coordinator's duty lead on.
	Deadline int64
	// ActDeadline is when the auctioneer must have acted; 0 where it has nothing to do.
	ActDeadline int64

	// The queue and the auction.
	Dispatched      bool
	NotBefore       int64
	AuctionNumber   uint32
	Auctioneer      ID     // zero while one must be drawn
	AuctioneerRound uint32 // replacements in this auction
	Earner          ID     // the auctioneer of the first award, to whom the fee is due
	Stake           escrow.Credits
	Eligible        []Candidate // as it stood before bidding opened, sorted by domain and worker
	Domains         uint32      // independent parties in Eligible
	Bids            []Bid       // in order of arrival, which never matters
	BiddingDone     bool        // the window is over; the auctioneer must close
	RevealsDone     bool
	Sigma           [48]byte // the beacon that breaks ties, zero until made
	PriorityCharge  escrow.Credits

	// Posted says that the lane set the price: nobody bid for this build.
	Posted bool
	// Allotted is the worker whose ask of epoch Epoch the build goes to, zero
	// while there is none (batch).
	Allotted ID
	Epoch    uint64
	Priced   bool           // the epoch is over
	Share    escrow.Credits // what the epoch's clearing pays for this build; metered: a core-second
	Slot     uint64         // of the lottery that it took, 0 for none
	Seal     uint64         // whose signature the draws follow from, 0 before it is sealed

	// The award.
	Winner    uint32 // index in Bids
	Price     escrow.Credits
	Reference escrow.Credits
	Penalties []Penalty

	// The draw.
	Sampling   Sampling
	Names      []Candidate // the permutation
	NextName   uint32      // first unused name
	Panelled   bool        // panel seats are assigned
	PanelSeats uint32
	Attempts   []Attempt
	Draws      []DrawProof // at most one of each purpose

	// Delivery and money.
	Delivers  bool   // Delivered means something
	Delivered ID     // the result digest that is delivered
	Uploader  uint32 // index in Attempts
	Payment   escrow.Credits
	Transfers []Transfer
	Used      []escrow.TransferID // ids the ledger must remember until the build has settled

	// Contest is set where the build is a challenge, nil otherwise.
	Contest *Contest
}

// Code is the canonical encoding.
func (b *Build) Code(c *wire.Coder) {
	c.Bytes32(&b.ID)
	c.Bytes32(&b.Requester)
	c.String(&b.Operator, MaxNameBytes)
	c.Bytes16(&b.Request)
	b.Terms.Code(c)
	c.U64(&b.Sequence)
	c.U64(&b.SettledOrder)
	c.U64(&b.Version)
	c.U8((*uint8)(&b.State))
	c.U8((*uint8)(&b.Verdict))
	c.String(&b.Reason, 1024)
	for _, v := range []*int64{&b.SubmittedAt, &b.OpenedAt, &b.AwardedAt, &b.FirstAwardedAt, &b.VerdictAt, &b.SettledAt, &b.Deadline, &b.ActDeadline} {
		c.I64(v)
	}
	b.codeAuction(c)
	c.U8((*uint8)(&b.Sampling))
	wire.List(c, &b.Names, MaxWorkers, codeCandidate)
	c.U32(&b.NextName)
	c.Bool(&b.Panelled)
	c.U32(&b.PanelSeats)
	wire.Records(c, &b.Attempts, MaxAttempts)
	wire.Records(c, &b.Draws, 16)
	c.Bool(&b.Delivers)
	c.Bytes32(&b.Delivered)
	c.U32(&b.Uploader)
	c.I64((*int64)(&b.Payment))
	wire.Records(c, &b.Transfers, MaxTransfers)
	wire.List(c, &b.Used, MaxTransfers, func(c *wire.Coder, id *escrow.TransferID) { c.Bytes32((*[32]byte)(id)) })
	contest := b.Contest != nil
	c.Bool(&contest)
	if contest {
		if c.Decoding() {
			b.Contest = new(Contest)
		}
		b.Contest.Code(c)
	}
}

func (b *Build) codeAuction(c *wire.Coder) {
	c.Bool(&b.Dispatched)
	c.I64(&b.NotBefore)
	c.U32(&b.AuctionNumber)
	c.Bytes32(&b.Auctioneer)
	c.U32(&b.AuctioneerRound)
	c.Bytes32(&b.Earner)
	b.Stake.Code(c)
	wire.List(c, &b.Eligible, MaxWorkers, codeCandidate)
	c.U32(&b.Domains)
	wire.Records(c, &b.Bids, MaxWorkers)
	c.Bool(&b.BiddingDone)
	c.Bool(&b.RevealsDone)
	wire.Fixed48(c, &b.Sigma)
	c.I64((*int64)(&b.PriorityCharge))
	c.Bool(&b.Posted)
	c.Bytes32(&b.Allotted)
	c.U64(&b.Epoch)
	c.Bool(&b.Priced)
	b.Share.Code(c)
	c.U64(&b.Slot)
	c.U64(&b.Seal)
	c.U32(&b.Winner)
	c.I64((*int64)(&b.Price))
	c.I64((*int64)(&b.Reference))
	wire.Records(c, &b.Penalties, MaxWorkers)
}

// Auction is the id of the auction that runs or ran last.
func (b *Build) Auction() ID { return AuctionID(b.ID, b.AuctionNumber) }

// EscrowID is the account of the build's escrow: H("escrow" ‖ build).
func EscrowID(build ID) ID { return wire.NewHasher("escrow").Fixed(build).Sum() }

// Attempt finds an attempt by its lease.
func (b *Build) Attempt(lease ID) *Attempt {
	for i := range b.Attempts {
		if b.Attempts[i].Lease(b.ID) == lease {
			return &b.Attempts[i]
		}
	}
	return nil
}

// Round returns the attempts of one round, in the order they were assigned.
func (b *Build) Round(r Round) []*Attempt {
	var out []*Attempt
	for i := range b.Attempts {
		if b.Attempts[i].Round == r {
			out = append(out, &b.Attempts[i])
		}
	}
	return out
}

// Builder is the winner's first attempt, nil before an award.
func (b *Build) Builder() *Attempt {
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if a.Round == RoundFirst && a.Seat == 0 && a.State != AttemptSilent {
			return a
		}
	}
	return nil
}
