package build

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// TreasuryRule is what becomes of the treasury's income.
type TreasuryRule uint8

// The rules for the treasury's income.
const (
	TreasuryKeep TreasuryRule = 1
	TreasuryBurn TreasuryRule = 2
	// TreasurySmooth shares income equally among the workers that are present:
	// all who may be drawn to validate.
	TreasurySmooth TreasuryRule = 3
)

var treasuryNames = [...]string{TreasuryKeep: "keep", TreasuryBurn: "burn", TreasurySmooth: "smooth"}

func (r TreasuryRule) String() string {
	if int(r) < len(treasuryNames) {
		return treasuryNames[r]
	}
	return fmt.Sprintf("treasury-%d", uint8(r))
}

// ParseTreasuryRule reads keep, burn or smooth.
func ParseTreasuryRule(text string) (TreasuryRule, error) {
	for r := TreasuryKeep; r <= TreasurySmooth; r++ {
		if text == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("treasury rule %q: want keep, burn or smooth", text)
}

// Params are a cluster's constants, fixed by genesis. Times are milliseconds
// of farm time, amounts micro-credits, shares parts per million.
type Params struct {
	TickMillis        int64 // how often the leader advances farm time while a deadline is pending
	BiddingMillis     int64 // how long commitments are taken
	RevealMillis      int64 // how long they may be opened
	AuctioneerMillis  int64 // how long a drawn auctioneer may take for each of its acts
	LeaseMillis       int64 // silence after which a winner, seat or uploader is given up
	GraceMillis       int64 // a lease's bound beyond the build's timeout
	MillisPerMB       int64 // added to bounds for each MB moved
	UploadMillis      int64 // an uploader's bound, before MillisPerMB
	MaxDeadlineMillis int64 // how far ahead a build's deadline may lie
	PanelGapMillis    int64 // panel starts at least this long after the last first-round start
	RetryMillis       int64 // pause before an auction without bids is tried again
	UnbondMillis      int64 // how long withdrawn stake stays locked
	EpochMillis       int64 // how long the log's epochs gather entries
	AuctioneerFee     escrow.Credits
	ValidatorFee      escrow.Credits
	UploadFee         escrow.Credits
	ChallengeBond     escrow.Credits // lost by who challenges a result that stands
	GammaPPM          uint32         // assumed share of colluding domains
	PMaxPPM           uint32         // acceptable chance that all drawn validators collude
	Treasury          TreasuryRule
}

// DefaultParams are DESIGN section 3's defaults.
func DefaultParams() Params {
	return Params{
		TickMillis: 100, BiddingMillis: 300, RevealMillis: 30_000, AuctioneerMillis: 2_000,
		LeaseMillis: 5_000, GraceMillis: 60_000, MillisPerMB: 1_000, UploadMillis: 60_000,
		MaxDeadlineMillis: 24 * 3_600_000, PanelGapMillis: 2_000, RetryMillis: 1_000, UnbondMillis: 48 * 3_600_000, EpochMillis: 2_000,
		AuctioneerFee: 100_000, ValidatorFee: 1_000_000, UploadFee: 1_000_000, ChallengeBond: 10_000_000,
		GammaPPM: 250_000, PMaxPPM: 100_000, Treasury: TreasuryKeep,
	}
}

// Code is the canonical encoding.
func (p *Params) Code(c *wire.Coder) {
	for _, v := range []*int64{&p.TickMillis, &p.BiddingMillis, &p.RevealMillis, &p.AuctioneerMillis, &p.LeaseMillis,
		&p.GraceMillis, &p.MillisPerMB, &p.UploadMillis, &p.MaxDeadlineMillis, &p.PanelGapMillis, &p.RetryMillis, &p.UnbondMillis, &p.EpochMillis} {
		c.I64(v)
	}
	for _, v := range []*escrow.Credits{&p.AuctioneerFee, &p.ValidatorFee, &p.UploadFee, &p.ChallengeBond} {
		c.I64((*int64)(v))
	}
	c.U32(&p.GammaPPM)
	c.U32(&p.PMaxPPM)
	c.U8((*uint8)(&p.Treasury))
}

// Validate refuses constants under which a build could not live.
func (p *Params) Validate() error {
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"tick", p.TickMillis}, {"bidding", p.BiddingMillis}, {"reveal", p.RevealMillis}, {"auctioneer", p.AuctioneerMillis},
		{"lease", p.LeaseMillis}, {"grace", p.GraceMillis}, {"upload", p.UploadMillis}, {"max deadline", p.MaxDeadlineMillis},
		{"retry", p.RetryMillis}, {"unbond", p.UnbondMillis}, {"epoch", p.EpochMillis},
	} {
		if v.value <= 0 || v.value > 1<<40 {
			return fmt.Errorf("%s is %d ms, want above 0 and at most 2^40", v.name, v.value)
		}
	}
	if p.MillisPerMB < 0 || p.MillisPerMB > 1<<20 || p.PanelGapMillis < 0 || p.PanelGapMillis > 1<<40 {
		return errors.New("milliseconds per MB and panel gap must not be negative or huge")
	}
	for _, v := range []escrow.Credits{p.AuctioneerFee, p.ValidatorFee, p.UploadFee, p.ChallengeBond} {
		if v < 0 || v > 1<<50 {
			return fmt.Errorf("a fee or bond of %s credits is out of range", v)
		}
	}
	if p.GammaPPM > 1_000_000 || p.PMaxPPM > 1_000_000 {
		return errors.New("gamma and p_max are parts per million, at most 1000000")
	}
	if p.Treasury < TreasuryKeep || p.Treasury > TreasurySmooth {
		return fmt.Errorf("unknown treasury rule %d", p.Treasury)
	}
	return nil
}

// Coordinator is a member of the cluster.
type Coordinator struct {
	ID       ID // its account: SHA-256 of Key
	Name     string
	Operator string
	Key      []byte // PKIX DER of its signing key
	SealKey  []byte // its X25519 public key, 32 bytes, for what is lodged
}

// Code is the canonical encoding.
func (m *Coordinator) Code(c *wire.Coder) {
	c.Bytes32(&m.ID)
	c.String(&m.Name, MaxNameBytes)
	c.String(&m.Operator, MaxNameBytes)
	c.Blob(&m.Key, 512)
	c.Blob(&m.SealKey, 32)
}

// Worker is a registered worker.
type Worker struct {
	ID        ID
	Name      string
	Pool      string
	Operator  string
	Machine   string
	Class     string
	Platforms []string // roots it offers, sorted: "host", PlatformImages, or image digests
	// MinFee is the least validator's fee it accepts.
	MinFee escrow.Credits
	// Absent says that it let a lease lapse and has not been heard of since: it
	// is left out of eligible sets and skipped in draws, unpaid and unpunished.
	Absent bool
	// Draining says that it takes no new work.
	Draining bool
	// Slots is how many builds it runs at once.
	Slots uint32
	// Engaged counts the leases it holds and has not yet answered.
	Engaged uint32
	// LeasedTo is the account whose builds alone it serves, zero for none.
	LeasedTo ID
}

// Code is the canonical encoding.
func (w *Worker) Code(c *wire.Coder) {
	c.Bytes32(&w.ID)
	c.String(&w.Name, MaxNameBytes)
	c.String(&w.Pool, MaxNameBytes)
	c.String(&w.Operator, MaxNameBytes)
	c.String(&w.Machine, MaxNameBytes)
	c.String(&w.Class, MaxClassBytes)
	c.Strings(&w.Platforms, MaxPlatforms, MaxPlatformBytes)
	c.I64((*int64)(&w.MinFee))
	c.Bool(&w.Absent)
	c.Bool(&w.Draining)
	c.U32(&w.Slots)
	c.U32(&w.Engaged)
	c.Bytes32(&w.LeasedTo)
}

// DomainIn is the party the worker belongs to in pool p.
func (w *Worker) DomainIn(p *Pool) string {
	if p.Domain == DomainMachine {
		return w.Machine
	}
	return w.Operator
}

// Serves says whether the worker takes builds of an account.
func (w *Worker) Serves(requester ID) bool { return w.LeasedTo == (ID{}) || w.LeasedTo == requester }

// In says whether the worker belongs to pool p, or to the pool whose workers p
// shares and is one that p takes.
func (w *Worker) In(p *Pool) bool {
	return w.Pool == p.Name || p.Shares != "" && w.Pool == p.Shares && p.TakesOperator(w.Operator) && p.TakesClass(w.Class)
}

// Idle says that the worker can take a build at once.
func (w *Worker) Idle() bool { return !w.Absent && !w.Draining && w.Engaged < w.Slots }

// The platforms that are no image's digest: the machine's own root, and what a
// worker offers that runs any image of the farm's store.
const (
	PlatformHost   = "host"
	PlatformImages = "images"
)

// Offers says whether the worker can run builds of platform.
func (w *Worker) Offers(platform string) bool {
	_, named := slices.BinarySearch(w.Platforms, platform)
	_, images := slices.BinarySearch(w.Platforms, PlatformImages)
	return named || images && strings.HasPrefix(platform, "sha256:")
}
