package audittest

import (
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// plan is what becomes of a build: who does what with it.
type plan struct {
	kind  kind
	order int // of its submission
	lane  build.Lane
	pool  string
	drawn int // results made so far
}

// kind is a sort of build. Each occurs in turn, so that the outcome of none is
// left to chance; plain ones are most of a large world.
type kind string

const (
	plain         kind = "plain"
	expected      kind = "expected"      // published digests, one of them met
	varied        kind = "varied"        // validators depart from the fixed environment
	prioritised   kind = "prioritised"   // pays for its place in the queue
	forged        kind = "forged"        // the builder's result is not what the others get
	timed         kind = "timed"         // differs every time
	machineBound  kind = "machine-bound" // differs between machines
	silentPanel   kind = "silent panel"  // results differ, and the panel stays silent
	unsampled     kind = "unsampled"
	cancelled     kind = "cancelled"
	cancelledLate kind = "cancelled late" // after the first bid
	unwanted      kind = "unwanted"       // nobody bids
	expiring      kind = "expiring"       // the coordinators do nothing about it
	undelivered   kind = "undelivered"    // nobody uploads
	defaulting    kind = "defaulting"     // the first winner never starts
	silentSeat    kind = "silent seat"    // a validator never starts
	mismatched    kind = "mismatched"     // a validator lodges what matches nothing
	withheld      kind = "withheld"       // a bid is not opened
	misrevealed   kind = "misrevealed"    // a bid is opened wrongly, and then not at all
	idleAuction   kind = "idle auction"   // the first auctioneer lets its deadline pass
	timeout       kind = "timeout"        // the builder runs into its limit
	badlySigned   kind = "badly signed"   // a validator's statement is not signed by it
	failing       kind = "failing"        // the command fails for everybody alike
	tooFew        kind = "too few"        // drawn validators fall silent and nobody is left
)

type placed struct {
	kind kind
	pool string
}

// kinds is the turn in which builds come; the world's least size.
var kinds = []placed{
	{plain, poolSpot}, {plain, poolBatch}, {plain, poolMetered}, {plain, poolLease}, {plain, poolLottery}, {plain, poolHouse},
	{expected, poolSpot}, {varied, poolSpot}, {prioritised, poolSpot}, {forged, poolSpot}, {timed, poolSpot}, {machineBound, poolSpot},
	{silentPanel, poolSpot}, {unsampled, poolSpot}, {cancelled, poolSpot}, {cancelledLate, poolSpot}, {unwanted, poolSpot},
	{expiring, poolSpot}, {undelivered, poolSpot}, {defaulting, poolSpot}, {silentSeat, poolSpot}, {mismatched, poolSpot},
	{withheld, poolSpot}, {misrevealed, poolSpot}, {idleAuction, poolSpot}, {timeout, poolSpot}, {badlySigned, poolSpot}, {failing, poolSpot},
	{forged, poolHouse}, {timed, poolHouse}, {machineBound, poolHouse}, {tooFew, poolHouse}, {unsampled, poolHouse}, {undelivered, poolHouse},
	{forged, poolBatch}, {undelivered, poolBatch}, {plain, poolBatch}, {timed, poolMetered}, {plain, poolMetered},
	{forged, poolLease}, {plain, poolLease}, {plain, poolLease}, {forged, poolLottery}, {plain, poolLottery}, {cancelled, poolLottery},
}

// placeOf is what the n-th build is: after each has come once, most are plain.
func placeOf(n int) placed {
	if n < len(kinds) {
		return kinds[n]
	}
	if turn := n / 4; n%4 == 0 {
		return kinds[turn%len(kinds)]
	}
	lanes := []string{poolSpot, poolBatch, poolSpot, poolLease, poolSpot, poolLottery, poolSpot, poolHouse, poolSpot, poolMetered}
	return placed{plain, lanes[n%len(lanes)]}
}

// terms are a build's, by its plan.
func (w *World) terms(p *plan) build.Terms {
	pool, _ := w.state().Pool(p.pool)
	p.lane = pool.Lane
	t := build.Terms{
		Pool: p.pool, ActionBytes: 140, Platform: "host", TimeoutMillis: 20_000, InputBytes: 1 << 16, Validators: 2, SamplePPM: 1_000_000,
		DeadlineMillis: w.state().Now() + 3_600_000,
	}
	t.ActionDigest = wire.NewHasher("audittest-action").U64(uint64(p.order)).Sum()
	_, _ = seeded{w.rng}.Read(t.LogKey[:]) // never fails
	switch p.kind {
	case expected:
		t.Expect = []build.Expected{{Path: "bin/app", Digest: digestOf("right", p.order)}, {Path: "bin/tool", Digest: raftfsm.ID{7}}}
	case varied:
		t.Vary, t.TimeoutMillis = build.VaryHostname|build.VaryClock, 1_000
	case unsampled:
		t.SamplePPM = 200_000 // the rarer the sample, the higher the stake
		if pool.Lane == build.LaneHouse {
			t.SamplePPM = 1
		}
	case tooFew:
		t.Validators = 3
	case expiring:
		t.DeadlineMillis = w.state().Now() + 4_000
	}
	if pool.Lane != build.LaneHouse {
		if pool.Lane != build.LaneLottery {
			t.Reserve = 10 * credit
			t.Value = auction.Constant(t.Reserve)
		} else {
			t.Value = auction.Constant(0)
		}
		t.Budget = t.MinBudget(&w.Genesis.Params) + escrow.Credits(p.order%3)*credit
	}
	if p.kind == prioritised {
		t.Priority = credit * 3 / 2
	}
	return t
}

// digestOf is a made-up file's.
func digestOf(content string, order int) raftfsm.ID {
	return wire.NewHasher("audittest-file").Text(content).U64(uint64(order)).Sum()
}

// content is what a worker gets of a build, and how its command ends.
func (w *World) content(p *plan, k *worker, b *build.Build, l *raftfsm.Lease) (string, build.Status) {
	p.drawn++
	panel := b.Attempt(l.Lease).Round == build.RoundPanel
	switch p.kind {
	case forged:
		if l.Builder {
			return "forged", build.StatusExited
		}
	case timed:
		return fmt.Sprintf("at moment %d", p.drawn), build.StatusExited
	case machineBound:
		if panel {
			return fmt.Sprintf("of sort %d", p.drawn/2), build.StatusExited
		}
		return "on " + k.Name, build.StatusExited
	case silentPanel:
		if !panel {
			return "on " + k.Name, build.StatusExited
		}
	case timeout:
		if l.Builder {
			return "", build.StatusTimeout
		}
	}
	return "right", build.StatusExited
}

// result is a made-up result: two files and a directory, or nothing after a timeout.
func (w *World) result(p *plan, content string, status build.Status) *build.Manifest {
	m := &build.Manifest{Status: status}
	if p.kind == failing {
		m.ExitCode = 2
	}
	if !status.ResourceLimit() {
		m.Outputs = []build.Output{
			{Path: "bin", Type: build.OutputDir},
			{Path: "bin/app", Type: build.OutputFile, Executable: true, Digest: digestOf(content, p.order), Size: uint64(1000 + p.order)},
			{Path: "bin/tool", Type: build.OutputFile, Digest: digestOf("tool", p.order), Size: 77},
		}
	}
	w.Manifests[m.Summarise().Content] = m
	return m
}
