package build

import (
	"fmt"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Terms are what a requester signs: what is to be built and what it is worth.
// Amounts are micro-credits, times milliseconds.
type Terms struct {
	Pool string
	// ActionDigest and ActionBytes name the REAPI Action in the CAS; what the
	// state machine must know of it is repeated below and checked against it by
	// the coordinator that takes the submission.
	ActionDigest  ID
	ActionBytes   uint64
	Platform      string // "host" or an image's config digest
	TimeoutMillis int64
	InputBytes    uint64 // of the input tree and of an image in the farm's store, for lease bounds
	Reserve       escrow.Credits
	Value         auction.ValueFunction
	Budget        escrow.Credits
	Priority      escrow.Credits
	Validators    uint32
	SamplePPM     uint32 // chance that validators are drawn at all, 10⁶ = always
	ValueAtRisk   escrow.Credits
	// DeadlineMillis is the farm time until which the build may wait for an award.
	DeadlineMillis int64
	// LogKey is the X25519 public key to which the builder encrypts its log.
	LogKey ID
	// Vary names in what validators depart from the fixed environment, in one more
	// build each; nothing for none.
	Vary Dimensions
	// Cached lets an earlier verified result of the same requester answer.
	Cached bool
	// Expect are digests that somebody else published for outputs, sorted by path.
	// They decide nothing: evidence says whether the farm's result has them.
	Expect []Expected
}

// Expected is an output's published digest.
type Expected struct {
	Path   string
	Digest ID // SHA-256 of the file
}

// Code is the canonical encoding.
func (x *Expected) Code(c *wire.Coder) {
	c.String(&x.Path, MaxPathBytes)
	c.Bytes32(&x.Digest)
}

// Code is the canonical encoding.
func (t *Terms) Code(c *wire.Coder) {
	c.String(&t.Pool, MaxNameBytes)
	c.Bytes32(&t.ActionDigest)
	c.U64(&t.ActionBytes)
	c.String(&t.Platform, MaxPlatformBytes)
	c.I64(&t.TimeoutMillis)
	c.U64(&t.InputBytes)
	c.I64((*int64)(&t.Reserve))
	// A house pool's terms have no value function; every other has one.
	valued := len(t.Value.Steps) > 0
	c.Bool(&valued)
	if valued {
		t.Value.Code(c)
	}
	c.I64((*int64)(&t.Budget))
	c.I64((*int64)(&t.Priority))
	c.U32(&t.Validators)
	c.U32(&t.SamplePPM)
	c.I64((*int64)(&t.ValueAtRisk))
	c.I64(&t.DeadlineMillis)
	c.Bytes32(&t.LogKey)
	c.U32((*uint32)(&t.Vary))
	c.Bool(&t.Cached)
	wire.Records(c, &t.Expect, MaxExpected)
}

// MaxTimeoutMillis bounds a build's own timeout: a day.
const MaxTimeoutMillis = 24 * 3_600_000

// maxAmount keeps every sum of a build's amounts far from overflow.
const maxAmount = escrow.Credits(1) << 55

// Validate checks terms that need no knowledge of the farm but its constants and pool.
func (t *Terms) Validate(p *Params, pool *Pool) error {
	switch {
	case t.TimeoutMillis <= 0 || t.TimeoutMillis > MaxTimeoutMillis:
		return fmt.Errorf("the timeout is %d ms, want 1 to %d", t.TimeoutMillis, MaxTimeoutMillis)
	case t.Validators < 1 || t.Validators > MaxSeats:
		return fmt.Errorf("%d validators asked for, want 1 to %d", t.Validators, MaxSeats)
	case t.SamplePPM < 1 || t.SamplePPM > 1_000_000:
		return fmt.Errorf("a sampling rate of %d ppm, want 1 to 1000000", t.SamplePPM)
	case t.Vary&^VaryAll != 0:
		return fmt.Errorf("the terms vary what this version does not know (%#x)", uint32(t.Vary&^VaryAll))
	case t.Vary != 0 && t.TimeoutMillis > MaxTimeoutMillis/VariedBuilds:
		return fmt.Errorf("a varied build may take %d times its timeout: at most %d ms, not %d", VariedBuilds, int64(MaxTimeoutMillis/VariedBuilds), t.TimeoutMillis)
	case t.Platform == PlatformImages:
		return fmt.Errorf("%q is what workers offer; name one image by its digest", PlatformImages)
	case t.Platform == "":
		return fmt.Errorf("no platform named: want \"host\" or an image digest")
	case !expectedInOrder(t.Expect):
		return fmt.Errorf("the expected outputs are not clean relative paths in ascending order")
	case t.InputBytes > 1<<50:
		return fmt.Errorf("inputs of %d bytes are too large", t.InputBytes)
	}
	if pool.Lane == LaneHouse {
		if t.Reserve != 0 || t.Budget != 0 || t.Priority != 0 || t.ValueAtRisk != 0 || len(t.Value.Steps) != 0 {
			return fmt.Errorf("a house pool knows no amounts: leave price, budget, value at risk and priority out")
		}
		return nil
	}
	for _, v := range []struct {
		name   string
		amount escrow.Credits
	}{{"maximum price", t.Reserve}, {"budget", t.Budget}, {"priority extra", t.Priority}, {"value at risk", t.ValueAtRisk}} {
		if v.amount < 0 || v.amount > maxAmount {
			return fmt.Errorf("the %s of %s credits is out of range", v.name, v.amount)
		}
	}
	if err := t.Value.Validate(t.Reserve); err != nil {
		return fmt.Errorf("value function: %w", err)
	}
	if err := pool.prices(t); err != nil {
		return err
	}
	if need := t.MinBudget(p); t.Budget < need {
		return fmt.Errorf("the budget of %s credits is below %s: maximum price %s + auctioneer's fee %s + %d validator's fees of %s + upload fee %s",
			t.Budget, need, t.Reserve, p.AuctioneerFee, t.rebuilds(), p.ValidatorFee, p.UploadFee)
	}
	return nil
}

func expectedInOrder(list []Expected) bool {
	for i := range list {
		if !CleanPath(list[i].Path) || i > 0 && list[i-1].Path >= list[i].Path {
			return false
		}
	}
	return true
}

// prices holds a maximum price to what the pool's lane demands of it.
func (p *Pool) prices(t *Terms) error {
	switch p.Lane {
	case LaneLottery:
		if t.Reserve != 0 {
			return fmt.Errorf("pool %q gives its slots to tickets: leave the maximum price out", p.Name)
		}
	case LaneBatch:
		if len(t.Value.Steps) != 1 {
			return fmt.Errorf("pool %q prices many builds together: its value function has one step", p.Name)
		}
		if most := p.Batch.Most(t.TimeoutMillis); t.Reserve < most {
			return fmt.Errorf("the maximum price of %s credits is below %s, the most a build may cost in pool %q", t.Reserve, most, p.Name)
		}
	}
	return nil
}

// Most is the most a build of the pool may cost: the reserve, metered for its
// whole timeout, rounded up. Beyond any amount it is out of everyone's reach.
func (r *BatchRules) Most(timeoutMillis int64) escrow.Credits {
	if !r.Metered {
		return r.Reserve
	}
	cost, err := r.Reserve.MulDivCeil(timeoutMillis, 1000)
	if err != nil {
		return maxAmount + 1
	}
	return cost
}

// MinBudget is R + a + (4k+2)·f + u: the most a build can cost. Validators and the
// panel of a varied build do two builds each: (7k+3)·f.
func (t *Terms) MinBudget(p *Params) escrow.Credits {
	return t.Reserve + p.AuctioneerFee + escrow.Credits(t.rebuilds())*p.ValidatorFee + p.UploadFee
}

// rebuilds is the most validator's fees a build can owe: k validators, k+1
// rechecks and a panel of 2k+1.
func (t *Terms) rebuilds() int64 {
	k := int64(t.Validators)
	if t.Vary != 0 {
		return 7*k + 3
	}
	return 4*k + 2
}

// BuildID is H("build" ‖ cluster ‖ requester ‖ request id ‖ terms): a repeated
// submit names the same build.
func BuildID(cluster, requester ID, request [16]byte, t *Terms) ID {
	return wire.NewHasher("build").Fixed(cluster).Fixed(requester).Var(request[:]).Var(wire.Encode(t)).Sum()
}

// AuctionID is H("auction" ‖ build ‖ number).
func AuctionID(build ID, number uint32) ID {
	return wire.NewHasher("auction").Fixed(build).U64(uint64(number)).Sum()
}

// BidCommitment is H("bid" ‖ cluster ‖ auction ‖ worker key ‖ price ‖ finish ‖ result commitment or zeros ‖ nonce).
func BidCommitment(cluster, auctionID, worker ID, price escrow.Credits, finishMillis int64, result, nonce ID) ID {
	return wire.NewHasher("bid").Fixed(cluster).Fixed(auctionID).Fixed(worker).I64(int64(price)).I64(finishMillis).Fixed(result).Fixed(nonce).Sum()
}
