package build

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Type says what a command does. Numbers are append-only: a replayed log must
// mean for ever what it meant.
type Type uint16

// The commands. Those marked signed carry the signature of Sender; the others
// carry their own proof, or (TypeTick) come from the leader alone.
const (
	TypeTick       Type = 1  // farm time advances
	TypeDeal       Type = 2  // signed, coordinator: a dealer's part of the key generation
	TypeComplain   Type = 3  // signed, coordinator: the dealers whose shares were bad; none confirms all
	TypeJustify    Type = 4  // signed, coordinator: a dealer answers a complaint in the open
	TypeAdmit      Type = 5  // signed, admin: an operator and its machines may take part
	TypeMint       Type = 6  // signed, admin
	TypeBurn       Type = 7  // signed, admin
	TypeGrant      Type = 8  // signed, admin: from the treasury
	TypeOpen       Type = 9  // signed: a requester's account
	TypeRegister   Type = 10 // signed: a worker joins a pool
	TypeUpdate     Type = 11 // signed, worker: what it offers now; also says that it is there
	TypeStake      Type = 12 // signed: available to stake, or (negative) back after the unbonding time
	TypeSubmit     Type = 13 // signed, requester
	TypeCancel     Type = 14 // signed, requester
	TypeBid        Type = 15 // signed, worker
	TypeReveal     Type = 16 // signed, worker
	TypeAuctioneer Type = 17 // signed, coordinator: the drawn auctioneer opens, closes or clears
	TypeBeacon     Type = 18 // a threshold signature that the state demands
	TypeStart      Type = 19 // signed, worker: the command begins
	TypeHeartbeat  Type = 20 // signed, worker
	TypeCommit     Type = 21 // signed, worker
	TypeAbandon    Type = 22 // signed, worker: gives a lease up
	TypeOpening    Type = 23 // what a commitment hid
	TypeMismatch   Type = 24 // t coordinators: the lodged opening does not match
	TypeStored     Type = 25 // t coordinators: the outputs are stored
	TypePool       Type = 26 // signed, admin: a new pool
	TypeAsk        Type = 27 // signed, worker: a sealed ask for a batch pool's next epoch
	TypeOpenAsk    Type = 28 // signed, worker: opens it
	TypeLeaseBid   Type = 29 // signed, requester: a bid for capacity ahead of time
	TypeTickets    Type = 30 // signed, requester: buys lottery tickets
	TypeCommunity  Type = 31 // signed, admin: lends a community slot of a lease pool
	TypeRevoke     Type = 32 // signed, owner or admin: a key is out of use from now on
	TypeRotate     Type = 33 // signed, owner, admin or a coordinator: a new key in the place of another
	TypeChallenge  Type = 34 // signed, any account: asks for a fresh panel over an old result
	TypeHandover   Type = 35 // signed, admin: the coordinators make a new group key
)

var typeNames = [...]string{
	TypeTick: "tick", TypeDeal: "deal", TypeComplain: "complain", TypeJustify: "justify", TypeAdmit: "admit",
	TypeMint: "mint", TypeBurn: "burn", TypeGrant: "grant", TypeOpen: "open account", TypeRegister: "register",
	TypeUpdate: "update", TypeStake: "stake", TypeSubmit: "submit", TypeCancel: "cancel", TypeBid: "bid",
	TypeReveal: "reveal", TypeAuctioneer: "auctioneer", TypeBeacon: "beacon", TypeStart: "start",
	TypeHeartbeat: "heartbeat", TypeCommit: "commit", TypeAbandon: "abandon", TypeOpening: "opening",
	TypeMismatch: "mismatch", TypeStored: "stored", TypePool: "pool", TypeAsk: "ask", TypeOpenAsk: "open ask",
	TypeLeaseBid: "lease bid", TypeTickets: "tickets", TypeCommunity: "community lease",
	TypeRevoke: "revoke", TypeRotate: "rotate", TypeChallenge: "challenge", TypeHandover: "handover",
}

func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("command-%d", uint16(t))
}

// Signed says whether a command of this type needs its sender's signature.
func (t Type) Signed() bool {
	switch t {
	case TypeTick, TypeBeacon, TypeOpening, TypeMismatch, TypeStored:
		return false
	}
	return true
}

// Version is the only version of Command there is.
const Version = 1

// MaxPayloadBytes bounds one command: a deal for nine members is the largest.
const MaxPayloadBytes = 64 << 10

// Command is one input of the state machine. Sending it twice does no harm: it
// either finds its work done or is refused.
type Command struct {
	Version uint8
	Type    Type
	// Request is chosen by the sender, at random; with Sender it names the command.
	Request [16]byte
	Sender  ID
	// ValidUntilMillis is the farm time after which the command is refused, at
	// most an hour ahead; so a recorded command cannot be replayed for ever.
	ValidUntilMillis int64
	Payload          []byte
	Signature        []byte
}

// Code is the canonical encoding.
func (m *Command) Code(c *wire.Coder) {
	c.U8(&m.Version)
	c.U16((*uint16)(&m.Type))
	c.Bytes16(&m.Request)
	c.Bytes32(&m.Sender)
	c.I64(&m.ValidUntilMillis)
	c.Blob(&m.Payload, MaxPayloadBytes)
	c.Blob(&m.Signature, MaxSignatureBytes)
}

// SigningBytes is what the sender signs: the 32 bytes of
// H("command" ‖ cluster ‖ version ‖ type ‖ request ‖ sender ‖ valid until ‖ payload).
func (m *Command) SigningBytes(cluster ID) []byte {
	h := wire.NewHasher("command").Fixed(cluster).U64(uint64(m.Version)).U64(uint64(m.Type)).
		Var(m.Request[:]).Fixed(m.Sender).I64(m.ValidUntilMillis).Var(m.Payload).Sum()
	return h[:]
}

// AccountID is the id of a signing key: SHA-256 of its PKIX DER.
func AccountID(pkix []byte) ID { return sha256.Sum256(pkix) }

// MaxBatch bounds the commands of one Raft entry.
const MaxBatch = 512

// Batch is one Raft entry.
type Batch struct{ Commands []Command }

// Code is the canonical encoding.
func (b *Batch) Code(c *wire.Coder) { wire.Records(c, &b.Commands, MaxBatch) }

// Code is the outcome of a command. Numbers are append-only.
type Code uint32

// The outcomes. Everything but Done leaves the state as it was.
const (
	Done               Code = 0
	CodeMalformed      Code = 1  // not canonical, or out of range
	CodeBadSignature   Code = 2  // not signed by the sender
	CodeUnknownAccount Code = 3  // the sender has no account
	CodeNotAllowed     Code = 4  // the sender may not do this
	CodeStale          Code = 5  // ValidUntilMillis has passed, or the moment for it has
	CodeUnknownBuild   Code = 6  // no such build, or settled long ago
	CodeWrongState     Code = 7  // not now
	CodeFunds          Code = 8  // not enough credits
	CodeStakeShort     Code = 9  // not enough free stake
	CodeRefused        Code = 10 // terms that the farm does not take; Detail says why
	CodeTooFew         Code = 11 // too few independent validators
	CodePlatform       Code = 12 // no worker offers the platform
	CodeNoMatch        Code = 13 // an opening or reveal that does not match its commitment
	CodeBadBeacon      Code = 14 // not the signature that is demanded
	CodeExists         Code = 15 // already there, and different
	CodeBusy           Code = 16 // a bound is reached; try again later
	CodeNotReady       Code = 17 // key generation is not done
	CodeQuorum         Code = 18 // too few coordinators signed
)

// Outcome is what Apply says of one command.
type Outcome struct {
	Code    Code
	Detail  string // a sentence where Code is not Done
	Subject ID     // what was made or changed
}

// Refuse makes an outcome with a sentence.
func Refuse(code Code, format string, args ...any) Outcome {
	return Outcome{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Failure turns a refusal into an error.
func Failure(o Outcome) error {
	if o.Code == Done {
		return nil
	}
	return fmt.Errorf("refused (code %d): %s", o.Code, o.Detail)
}

// Tick advances farm time.
type Tick struct {
	ElapsedMillis int64 // since the leader's previous tick; 0 at its first and after a pause
	WallMillis    int64 // the leader's clock, informative
}

// Code is the canonical encoding.
func (m *Tick) Code(c *wire.Coder) { c.I64(&m.ElapsedMillis); c.I64(&m.WallMillis) }

// Deal carries a beacon.Deal; the state machine decodes it.
type Deal struct{ Deal []byte }

// Code is the canonical encoding.
func (m *Deal) Code(c *wire.Coder) { c.Blob(&m.Deal, MaxPayloadBytes-8) }

// Complain lists the dealers (share indices from 1, ascending) whose share for
// the sender was missing or wrong. An empty list confirms all deals.
type Complain struct {
	Round   uint64 // of the key generation
	Dealers []uint32
}

// Code is the canonical encoding.
func (m *Complain) Code(c *wire.Coder) {
	c.U64(&m.Round)
	wire.List(c, &m.Dealers, 64, func(c *wire.Coder, v *uint32) { c.U32(v) })
}

// Justify carries a beacon.Justification.
type Justify struct{ Justification []byte }

// Code is the canonical encoding.
func (m *Justify) Code(c *wire.Coder) { c.Blob(&m.Justification, 4096) }

// Admit lets an operator take part, with the accounts named: who holds no key
// that the admin listed can speak for no operator. A repeated Admit replaces the list.
type Admit struct {
	Operator string
	Members  []Member // sorted by account
}

// Member is an account of an operator: a worker on one machine, or a requester.
type Member struct {
	Account ID
	Machine string // empty for a requester
}

// Code is the canonical encoding.
func (m *Member) Code(c *wire.Coder) {
	c.Bytes32(&m.Account)
	c.String(&m.Machine, MaxNameBytes)
}

// Code is the canonical encoding.
func (m *Admit) Code(c *wire.Coder) {
	c.String(&m.Operator, MaxNameBytes)
	wire.Records(c, &m.Members, maxMembers)
}

// maxMembers keeps an Admit within MaxPayloadBytes.
const maxMembers = 512

// Member finds an account among the operator's.
func (m *Admit) Member(account ID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(m.Members, account, func(x Member, id ID) int { return wire.Compare32(x.Account, id) })
	if !ok {
		return Member{}, false
	}
	return m.Members[i], true
}

// SortMembers brings Members into the order that is asked for.
func (m *Admit) SortMembers() {
	slices.SortFunc(m.Members, func(a, b Member) int { return wire.Compare32(a.Account, b.Account) })
}

// Money is the payload of TypeMint, TypeBurn and TypeGrant: the account and the amount.
type Money struct {
	Account ID
	Amount  escrow.Credits
}

// Code is the canonical encoding.
func (m *Money) Code(c *wire.Coder) { c.Bytes32(&m.Account); c.I64((*int64)(&m.Amount)) }

// Open makes a requester's account.
type Open struct {
	Key  []byte // PKIX DER; Sender is its hash
	Name string
}

// Code is the canonical encoding.
func (m *Open) Code(c *wire.Coder) { c.Blob(&m.Key, 512); c.String(&m.Name, MaxNameBytes) }

// Register makes a worker, and its account if there is none.
type Register struct {
	Key       []byte
	Name      string
	Pool      string
	Operator  string
	Machine   string
	Class     string
	Platforms []string // sorted
	MinFee    escrow.Credits
	Slots     uint32         // builds it runs at once, 1 to 1024
	Stake     escrow.Credits // moved from available
}

// Code is the canonical encoding.
func (m *Register) Code(c *wire.Coder) {
	c.Blob(&m.Key, 512)
	c.String(&m.Name, MaxNameBytes)
	c.String(&m.Pool, MaxNameBytes)
	c.String(&m.Operator, MaxNameBytes)
	c.String(&m.Machine, MaxNameBytes)
	c.String(&m.Class, MaxClassBytes)
	c.Strings(&m.Platforms, MaxPlatforms, MaxPlatformBytes)
	c.I64((*int64)(&m.MinFee))
	c.U32(&m.Slots)
	c.I64((*int64)(&m.Stake))
}

// Update changes what a worker offers, and ends its absence.
type Update struct {
	Platforms []string
	MinFee    escrow.Credits
	Draining  bool
}

// Code is the canonical encoding.
func (m *Update) Code(c *wire.Coder) {
	c.Strings(&m.Platforms, MaxPlatforms, MaxPlatformBytes)
	c.I64((*int64)(&m.MinFee))
	c.Bool(&m.Draining)
}

// Stake moves available to stake; negative, stake to available after the unbonding time.
type Stake struct{ Amount escrow.Credits }

// Code is the canonical encoding.
func (m *Stake) Code(c *wire.Coder) { c.I64((*int64)(&m.Amount)) }

// Submit asks for a build.
type Submit struct{ Terms Terms }

// Code is the canonical encoding.
func (m *Submit) Code(c *wire.Coder) { m.Terms.Code(c) }

// Cancel withdraws a build before its award.
type Cancel struct{ Build ID }

// Code is the canonical encoding.
func (m *Cancel) Code(c *wire.Coder) { c.Bytes32(&m.Build) }

// PlaceBid is a sealed bid.
type PlaceBid struct{ Build, Auction, Commitment ID }

// Code is the canonical encoding.
func (m *PlaceBid) Code(c *wire.Coder) {
	c.Bytes32(&m.Build)
	c.Bytes32(&m.Auction)
	c.Bytes32(&m.Commitment)
}

// Reveal opens a sealed bid.
type Reveal struct {
	Build, Auction ID
	Price          escrow.Credits
	FinishMillis   int64 // promised commitment, since bidding opened
	Result         ID    // zeros: the bid is for the slot
	Nonce          ID
}

// Code is the canonical encoding.
func (m *Reveal) Code(c *wire.Coder) {
	c.Bytes32(&m.Build)
	c.Bytes32(&m.Auction)
	c.I64((*int64)(&m.Price))
	c.I64(&m.FinishMillis)
	c.Bytes32(&m.Result)
	c.Bytes32(&m.Nonce)
}

// Act is what an auctioneer does.
type Act uint8

// The acts of an auctioneer.
const (
	ActOpen  Act = 1
	ActClose Act = 2
	ActClear Act = 3
)

func (a Act) String() string {
	switch a {
	case ActOpen:
		return "open"
	case ActClose:
		return "close"
	}
	return "clear"
}

// Auctioneer is the payload of TypeAuctioneer.
type Auctioneer struct {
	Build, Auction ID
	Act            Act
}

// Code is the canonical encoding.
func (m *Auctioneer) Code(c *wire.Coder) {
	c.Bytes32(&m.Build)
	c.Bytes32(&m.Auction)
	c.U8((*uint8)(&m.Act))
}

// Beacon is a threshold signature on H("draw" ‖ cluster ‖ purpose ‖ build ‖ round).
type Beacon struct {
	Purpose   string
	Build     ID
	Round     uint64
	Signature [48]byte
}

// Code is the canonical encoding.
func (m *Beacon) Code(c *wire.Coder) {
	c.String(&m.Purpose, 32)
	c.Bytes32(&m.Build)
	c.U64(&m.Round)
	wire.Fixed48(c, &m.Signature)
}

// LeaseRef is the payload of TypeStart, TypeHeartbeat and TypeAbandon.
type LeaseRef struct{ Build, Lease ID }

// Code is the canonical encoding.
func (m *LeaseRef) Code(c *wire.Coder) { c.Bytes32(&m.Build); c.Bytes32(&m.Lease) }

// Commit ends a lease's work: the commitment and the opening, sealed to each coordinator.
type Commit struct {
	Build, Lease ID
	Commitment   ID
	Lodged       []byte // canonical Lodgement
}

// Code is the canonical encoding.
func (m *Commit) Code(c *wire.Coder) {
	c.Bytes32(&m.Build)
	c.Bytes32(&m.Lease)
	c.Bytes32(&m.Commitment)
	c.Blob(&m.Lodged, MaxLodgedBytes)
}

// Lodgement holds an Opening sealed to every coordinator: entry i to the i-th
// coordinator by id, as one HPKE base-mode message (RFC 9180; DHKEM(X25519,
// HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305) with LodgeInfo as info.
type Lodgement struct{ Sealed [][]byte }

// Code is the canonical encoding.
func (m *Lodgement) Code(c *wire.Coder) {
	wire.List(c, &m.Sealed, 64, func(c *wire.Coder, b *[]byte) { c.Blob(b, 4096) })
}

// LodgeInfo binds a sealed opening to its commitment.
func LodgeInfo(cluster, build, lease, commitment ID) []byte {
	return wire.NewHasher("lodge").Fixed(cluster).Fixed(build).Fixed(lease).Fixed(commitment).Preimage()
}

// OpeningOf is the payload of TypeOpening.
type OpeningOf struct {
	Build, Lease ID
	Opening      Opening
}

// Code is the canonical encoding.
func (m *OpeningOf) Code(c *wire.Coder) {
	c.Bytes32(&m.Build)
	c.Bytes32(&m.Lease)
	m.Opening.Code(c)
}

// LeaseID is H("lease" ‖ build ‖ worker ‖ ordinal), where ordinal counts the
// worker's own attempts at the build from 0: it tells a worker nothing of
// whether it validates or sits on a panel.
func LeaseID(build, worker ID, ordinal uint32) ID {
	return wire.NewHasher("lease").Fixed(build).Fixed(worker).U64(uint64(ordinal)).Sum()
}
