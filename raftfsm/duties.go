package raftfsm

import (
	"cmp"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Demand is a beacon signature that the state asks for.
type Demand struct {
	Purpose string
	Build   ID
	Round   uint64
}

// Message is what is signed for the demand.
func (d Demand) Message(cluster ID) []byte {
	return beacon.Message(cluster, d.Purpose, d.Build, d.Round)
}

// Demands lists the signatures that the state asks for: those of builds, oldest
// first, then those of markets, by pool, then the certificate of settled builds and a new group key's. A coordinator signs nothing else.
func (s *State) Demands() []Demand {
	var out []Demand
	for _, b := range s.Live() {
		pool, _ := s.Pool(b.Terms.Pool)
		if d, ok := b.Demand(pool.Lane); ok && (b.State != build.Challenged || !s.draining()) {
			out = append(out, Demand{d.Purpose, b.ID, d.Round})
		}
	}
	for _, name := range wire.SortedKeys(s.markets, cmp.Compare[string]) {
		k := s.markets[name]
		if d, ok := k.Demand(); ok {
			out = append(out, Demand{d.Purpose, k.ID, d.Round})
		}
	}
	for _, demand := range []func() (Demand, bool){s.certificateDemand, s.handoverDemand} {
		if d, ok := demand(); ok {
			out = append(out, d)
		}
	}
	return out
}

// AuctioneerDuties lists the acts that a coordinator, drawn as auctioneer, owes now.
func (s *State) AuctioneerDuties(coordinator ID) []build.Auctioneer {
	var out []build.Auctioneer
	for _, b := range s.Live() {
		if act, ok := b.Act(); ok && b.Auctioneer == coordinator {
			out = append(out, build.Auctioneer{Build: b.ID, Auction: b.Auction(), Act: act})
		}
	}
	return out
}

// OpeningDuty is a lodged opening that may be decrypted and proposed now.
type OpeningDuty struct {
	Build, Lease, Worker, Commitment ID
	Lodged                           []byte
}

// Openings lists the lodged openings that may be decrypted: those of rounds in
// which every seat has committed.
func (s *State) Openings() []OpeningDuty {
	var out []OpeningDuty
	for _, b := range s.Live() {
		for _, a := range b.OpenNow() {
			out = append(out, OpeningDuty{b.ID, a.Lease(b.ID), a.Worker, a.Commitment, a.Lodged})
		}
	}
	return out
}

// Assignments is all that is asked of a worker now.
type Assignments struct {
	Registered, Absent bool
	FreeStake          escrow.Credits
	Auctions           []AuctionOffer
	Reveals            []RevealDuty
	Leases             []Lease
	Uploads            []Upload
	Asks               []AskDuty
	// Busy lists builds the worker still has a part in, so that it keeps what it made.
	Busy []ID
}

// AuctionOffer is an auction that takes commitments from the worker.
type AuctionOffer struct {
	Auction, Build, ActionDigest ID
	ActionBytes                  uint64
	Platform                     string
	TimeoutMillis                int64
	InputBytes                   uint64
	Reserve, Bond                escrow.Credits
	Value                        auction.ValueFunction
	OpenedAt, EndsAt             int64
	Committed                    bool // the worker's commitment is in
}

// RevealDuty is an auction in which the worker's commitment may be opened.
type RevealDuty struct{ Build, Auction ID }

// Lease is a build to be carried out.
type Lease struct {
	Lease, Build, ActionDigest ID
	ActionBytes                uint64
	Platform                   string
	Builder                    bool
	LogKey                     ID
	Started, Again             bool
	LeaseUntil, BoundUntil     int64
	LeaseMillis                int64
	Vary                       build.Dimensions // to build once more in, beside the fixed environment
}

// Upload asks for the outputs of an opened attempt.
type Upload struct {
	Build, Lease, Result ID
	Evidence             bool
	Until                int64
}

// evidenceBuilds is how many of the newest settled builds are still asked for
// the outputs that explain a difference.
const evidenceBuilds = 32

// Assignments lists what is asked of a worker. A panel seat looks like any other.
func (s *State) Assignments(worker ID) Assignments {
	var out Assignments
	w, ok := s.workers[worker]
	if !ok {
		return out
	}
	out.Registered, out.Absent = true, w.Absent
	a, _ := s.ledger.Account(worker)
	out.FreeStake = a.Stake
	for _, b := range s.Live() {
		if pool, _ := s.Pool(b.Terms.Pool); w.In(pool) {
			s.assignBuild(&out, w, b)
		}
	}
	s.assignAsks(&out, w)
	for i := max(0, len(s.settled)-evidenceBuilds); i < len(s.settled); i++ {
		b := s.builds[s.settled[i]]
		if pool, _ := s.Pool(b.Terms.Pool); w.In(pool) {
			out.Uploads = append(out.Uploads, evidence(b, worker)...)
		}
	}
	return out
}

func (s *State) assignBuild(out *Assignments, w *build.Worker, b *build.Build) {
	if b.State == build.Bidding || b.State == build.Revealing {
		s.assignAuction(out, w, b)
	}
	part := false
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if a.Worker != w.ID {
			continue
		}
		part = part || a.State != build.AttemptSilent && a.State != build.AttemptReleased
		if a.Active() {
			out.Leases = append(out.Leases, Lease{
				Lease: a.Lease(b.ID), Build: b.ID, ActionDigest: b.Terms.ActionDigest, ActionBytes: b.Terms.ActionBytes,
				Platform: b.Terms.Platform, Builder: a.Round == build.RoundFirst && a.Seat == 0, LogKey: b.Terms.LogKey,
				Started: a.State == build.AttemptStarted, Again: a.Round == build.RoundRecheck,
				LeaseUntil: a.LeaseUntil, BoundUntil: a.BoundUntil, LeaseMillis: s.genesis.Params.LeaseMillis, Vary: b.VariedBy(a),
			})
		}
	}
	if part {
		out.Busy = append(out.Busy, b.ID)
	}
	if !b.State.Delivering() && b.State != build.Pricing {
		return
	}
	if a := &b.Attempts[b.Uploader]; b.State.Delivering() && a.Worker == w.ID && !a.Stored {
		out.Uploads = append(out.Uploads, Upload{Build: b.ID, Lease: a.Lease(b.ID), Result: b.Delivered, Until: min(a.LeaseUntil, a.BoundUntil)})
	}
	out.Uploads = append(out.Uploads, evidence(b, w.ID)...)
}

func (s *State) assignAuction(out *Assignments, w *build.Worker, b *build.Build) {
	committed, revealed, eligible := false, false, false
	for i := range b.Bids {
		if b.Bids[i].Worker == w.ID {
			committed, revealed = true, b.Bids[i].Revealed
		}
	}
	for i := range b.Eligible {
		eligible = eligible || b.Eligible[i].Worker == w.ID && w.Serves(b.Requester)
	}
	for i := range s.genesis.Coordinators {
		m := &s.genesis.Coordinators[i]
		eligible = eligible && !(m.ID == b.Auctioneer && m.Operator == w.Operator)
	}
	t := &b.Terms
	if b.State == build.Bidding && eligible && !b.BiddingDone {
		out.Auctions = append(out.Auctions, AuctionOffer{
			Auction: b.Auction(), Build: b.ID, ActionDigest: t.ActionDigest, ActionBytes: t.ActionBytes, Platform: t.Platform,
			TimeoutMillis: t.TimeoutMillis, InputBytes: t.InputBytes, Reserve: t.Reserve, Bond: b.Stake, Value: t.Value,
			OpenedAt: b.OpenedAt, EndsAt: b.Deadline, Committed: committed,
		})
	}
	if b.State == build.Revealing && committed && !revealed && !b.RevealsDone {
		out.Reveals = append(out.Reveals, RevealDuty{b.ID, b.Auction()})
	}
}

// evidence asks for outputs that differ from what was delivered, so that the
// difference can be explained. A slashed author is not asked twice.
func evidence(b *build.Build, worker ID) []Upload {
	switch b.Verdict {
	case build.Judged, build.NonDeterministic, build.EnvironmentDependent, build.Unverified, build.Refuted, build.Undecided:
	default:
		return nil
	}
	var out []Upload
	for i := range b.Attempts {
		a := &b.Attempts[i]
		if a.Worker != worker || a.State != build.AttemptOpened || a.Stored || a.Round == build.RoundRecheck {
			continue
		}
		if b.Delivers && a.Result() == b.Delivered || b.Contest != nil && a.Result() == b.Contest.Result {
			continue
		}
		out = append(out, Upload{Build: b.ID, Lease: a.Lease(b.ID), Result: a.Result(), Evidence: true})
	}
	return out
}
