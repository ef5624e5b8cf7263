package transcript

import (
	"fmt"
	"slices"
	"strings"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/wire"
)

// draws collects the signatures that the build rests on, and holds each to the
// subject and the round that it must be about. What follows from them is
// recomputed where it is used.
func (j *judge) draws() {
	b := j.b
	j.proofs = map[string]build.DrawProof{}
	number := uint64(b.AuctionNumber) << 32
	market := wire.NewHasher("pool").Fixed(j.t.Cluster).Text(b.Terms.Pool).Sum()
	for i, p := range b.Draws {
		field := fmt.Sprintf("Build.Draws[%d]", i)
		if _, twice := j.proofs[p.Purpose]; twice {
			j.deviate(field+".Purpose", "one draw of each purpose", show(p.Purpose))
			continue
		}
		if !slices.Contains(j.purposes(), p.Purpose) {
			j.deviate(field+".Purpose", "one of "+strings.Join(j.purposes(), ", "), show(p.Purpose))
			continue
		}
		j.proofs[p.Purpose] = p
		subject, round := b.ID, uint64(0)
		switch p.Purpose {
		case build.PurposeAuctioneer:
			round = number | uint64(b.AuctioneerRound)
			if b.Auctioneer == ([32]byte{}) {
				round-- // of one that let its deadline pass; its successor was not drawn any more
			}
		case build.PurposeAward, build.PurposeBuilder:
			round = number
		case build.PurposeSeal:
			subject, round = market, b.Seal
		}
		expect(j, field+".Subject", subject, p.Subject)
		expect(j, field+".Round", round, p.Round)
		j.sign(field+".Signature", p.Purpose, p.Subject, p.Round, p.Signature)
	}
	if n := len(b.Draws); n > 0 {
		j.proven("%d draws: the signed messages name this build (or its market), and what each decided was drawn again", n)
	}
}

// purposes are the draws that a lane makes for a build.
func (j *judge) purposes() []string {
	if j.b.Contest != nil {
		return []string{build.PurposePanel}
	}
	switch j.t.Pool.Lane {
	case build.LaneBatch:
		return []string{build.PurposeSeal}
	case build.LaneHouse, build.LaneLottery:
		return []string{build.PurposeBuilder, build.PurposeSample, build.PurposeSeats}
	}
	return []string{build.PurposeAuctioneer, build.PurposeAward, build.PurposeSample, build.PurposeSeats}
}

// seed is the randomness of a purpose's draw; ok is false where none was made. In
// a batch pool it is the shared seal's, bound to the build.
func (j *judge) seed(purpose string) (seed [32]byte, ok bool) {
	if j.t.Pool.Lane == build.LaneBatch && j.b.Contest == nil {
		p, made := j.proofs[build.PurposeSeal]
		if !made {
			return seed, false
		}
		shared := beacon.Randomness(beacon.Signature(p.Signature))
		return wire.NewHasher("seal").Fixed(shared).Fixed(j.b.ID).Text(purpose).Sum(), true
	}
	p, made := j.proofs[purpose]
	return beacon.Randomness(beacon.Signature(p.Signature)), made
}

// names is the permutation of PROTOCOL section 6: the domains sorted by bytes and
// permuted by Fisher and Yates from the front, then one worker of each, drawn from
// the same stream in permuted order among the domain's workers sorted by id.
func names(seed [32]byte, eligible []build.Candidate) []build.Candidate {
	workers := map[string][][32]byte{}
	var domains []string
	for _, c := range eligible {
		if workers[c.Domain] == nil {
			domains = append(domains, c.Domain)
		}
		if !slices.Contains(workers[c.Domain], c.Worker) {
			workers[c.Domain] = append(workers[c.Domain], c.Worker)
		}
	}
	slices.Sort(domains)
	stream := draw.NewStream(seed)
	for i := 0; i+1 < len(domains); i++ {
		at := i + int(stream.Below(uint64(len(domains)-i)))
		domains[i], domains[at] = domains[at], domains[i]
	}
	var out []build.Candidate
	for _, d := range domains {
		slices.SortFunc(workers[d], wire.Compare32)
		out = append(out, build.Candidate{Domain: d, Worker: workers[d][stream.Below(uint64(len(workers[d])))]})
	}
	return out
}

// sampled makes the draw of a sampling rate again: H("sample" ‖ seed) starts a
// stream of its own, and a number below a million is below the rate.
func sampled(seed [32]byte, rate uint32) bool {
	stream := draw.NewStream(wire.NewHasher("sample").Fixed(seed).Sum())
	return stream.Below(ppm) < uint64(rate)
}

// expectNames holds the recorded permutation to the one that was drawn.
func (j *judge) expectNames(want []build.Candidate) {
	if len(want) != len(j.b.Names) {
		j.deviatef("Build.Names", fmt.Sprintf("%d names", len(want)), "%d", len(j.b.Names))
		return
	}
	for i, c := range want {
		if got := j.b.Names[i]; got != c {
			j.deviate(fmt.Sprintf("Build.Names[%d]", i), fmt.Sprintf("%q, %s", c.Domain, show(c.Worker)), fmt.Sprintf("%q, %s", got.Domain, show(got.Worker)))
		}
	}
}

// place is where a worker stands in a permutation, −1 for nowhere.
func place(names []build.Candidate, a *build.Attempt) int {
	return slices.Index(names, build.Candidate{Domain: a.Domain, Worker: a.Worker})
}
