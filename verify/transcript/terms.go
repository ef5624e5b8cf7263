package transcript

import (
	"fmt"
	"math/big"
	"path"
	"strings"
	"unicode/utf8"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Ranges of PROTOCOL sections 1, 2 and 7.1.
const (
	day        = 86_400_000 // milliseconds
	mostAmount = 1 << 55    // of terms
	mostFee    = 1 << 50
	mostPeriod = 1 << 40 // milliseconds of a parameter
	mostInputs = 1 << 50 // bytes
	ppm        = 1_000_000
)

// bounds holds the parameters to their ranges: sums of what is in range cannot
// overflow.
func (j *judge) bounds() {
	p := &j.t.Params
	for _, v := range []struct {
		name   string
		millis int64
	}{
		{"TickMillis", p.TickMillis}, {"BiddingMillis", p.BiddingMillis}, {"RevealMillis", p.RevealMillis}, {"AuctioneerMillis", p.AuctioneerMillis},
		{"LeaseMillis", p.LeaseMillis}, {"GraceMillis", p.GraceMillis}, {"UploadMillis", p.UploadMillis}, {"MaxDeadlineMillis", p.MaxDeadlineMillis},
		{"RetryMillis", p.RetryMillis}, {"UnbondMillis", p.UnbondMillis}, {"EpochMillis", p.EpochMillis},
	} {
		j.between("Params."+v.name, v.millis, 1, mostPeriod)
	}
	j.between("Params.MillisPerMB", p.MillisPerMB, 0, 1<<20)
	j.between("Params.PanelGapMillis", p.PanelGapMillis, 0, mostPeriod)
	j.between("Params.AuctioneerFee", int64(p.AuctioneerFee), 0, mostFee)
	j.between("Params.ValidatorFee", int64(p.ValidatorFee), 0, mostFee)
	j.between("Params.UploadFee", int64(p.UploadFee), 0, mostFee)
	j.between("Params.ChallengeBond", int64(p.ChallengeBond), 0, mostFee)
	j.between("Params.GammaPPM", int64(p.GammaPPM), 0, ppm)
	j.between("Params.PMaxPPM", int64(p.PMaxPPM), 0, ppm)
	j.between("Params.Treasury", int64(p.Treasury), 1, 3)
	j.between("Pool.Lane", int64(j.t.Pool.Lane), int64(build.LaneSpot), int64(build.LaneLottery))
	j.between("Pool.Domain", int64(j.t.Pool.Domain), int64(build.DomainOperator), int64(build.DomainMachine))
}

func (j *judge) between(field string, v, low, high int64) bool {
	if v < low || v > high {
		j.deviatef(field, fmt.Sprintf("%d to %d", low, high), "%d", v)
		return false
	}
	return true
}

// terms holds what the requester signed to the build's id and to what the farm
// takes.
func (j *judge) terms() {
	t := &j.b.Terms
	id := wire.NewHasher("build").Fixed(j.t.Cluster).Fixed(j.b.Requester).Var(j.b.Request[:]).Var(wire.Encode(t)).Sum()
	expect(j, "Build.ID", id, j.b.ID)
	j.between("Build.Terms.TimeoutMillis", t.TimeoutMillis, 1, day)
	j.between("Build.Terms.Validators", int64(t.Validators), 1, build.MaxSeats)
	j.between("Build.Terms.SamplePPM", int64(t.SamplePPM), 1, ppm)
	if t.InputBytes > mostInputs {
		j.deviatef("Build.Terms.InputBytes", fmt.Sprintf("at most %d", uint64(mostInputs)), "%d", t.InputBytes)
	}
	if t.Vary != 0 {
		j.between("Build.Terms.Vary", int64(t.Vary), 0, 1<<10-1)
		j.between("Build.Terms.TimeoutMillis", t.TimeoutMillis, 1, day/15)
	}
	if t.Platform == "" || t.Platform == "images" {
		j.deviate("Build.Terms.Platform", "host, or one image", show(t.Platform))
	}
	for i := range t.Expect {
		if p := t.Expect[i].Path; !cleanPath(p) || i > 0 && t.Expect[i-1].Path >= p {
			j.deviate(fmt.Sprintf("Build.Terms.Expect[%d].Path", i), "clean relative paths in ascending order", show(p))
		}
	}
	if j.house {
		if t.Reserve != 0 || t.Budget != 0 || t.Priority != 0 || t.ValueAtRisk != 0 || len(t.Value.Steps) != 0 {
			j.deviate("Build.Terms", "no amounts in a house pool", "some")
		}
		return
	}
	inRange := j.between("Build.Terms.Reserve", int64(t.Reserve), 0, mostAmount)
	inRange = j.between("Build.Terms.Budget", int64(t.Budget), 0, mostAmount) && inRange
	inRange = j.between("Build.Terms.Priority", int64(t.Priority), 0, mostAmount) && inRange
	inRange = j.between("Build.Terms.ValueAtRisk", int64(t.ValueAtRisk), 0, mostAmount) && inRange
	j.valueFunction()
	j.lanePrice()
	if need := j.leastBudget(); inRange && t.Budget < need {
		j.deviate("Build.Terms.Budget", fmt.Sprintf("at least R + a + %d·f + u = %v", j.rebuilds(), need), show(t.Budget))
	}
}

// rebuilds is how many validator's fees the budget must cover: 4k + 2, varied 7k + 3.
func (j *judge) rebuilds() int64 {
	k := int64(j.b.Terms.Validators)
	if j.b.Terms.Vary != 0 {
		return 7*k + 3
	}
	return 4*k + 2
}

func (j *judge) leastBudget() escrow.Credits {
	p := &j.t.Params
	return j.b.Terms.Reserve + p.AuctioneerFee + escrow.Credits(j.rebuilds())*p.ValidatorFee + p.UploadFee
}

func (j *judge) valueFunction() {
	t := &j.b.Terms
	bound := t.Reserve
	ok := len(t.Value.Steps) > 0 && t.Value.Steps[0].StartMillis == 0
	for i, s := range t.Value.Steps {
		ok = ok && s.Value >= 0 && s.Value <= bound && (i == 0 || s.StartMillis > t.Value.Steps[i-1].StartMillis)
		bound = s.Value
	}
	if !ok {
		j.deviate("Build.Terms.Value", "steps from 0 ms on, never above R, never rising, never below 0", fmt.Sprint(t.Value.Steps))
	}
}

// value is V(finish): the value of the last step that starts at or before it.
func (j *judge) value(finish int64) escrow.Credits {
	var worth escrow.Credits
	for _, s := range j.b.Terms.Value.Steps {
		if s.StartMillis <= uint64(max(0, finish)) {
			worth = s.Value
		}
	}
	return worth
}

// lanePrice is what a lane asks of R.
func (j *judge) lanePrice() {
	t := &j.b.Terms
	switch j.t.Pool.Lane {
	case build.LaneLottery:
		expect(j, "Build.Terms.Reserve", 0, t.Reserve)
	case build.LaneBatch:
		expect(j, "Build.Terms.Value", 1, len(t.Value.Steps))
		most := big.NewInt(int64(j.t.Pool.Batch.Reserve))
		if j.t.Pool.Batch.Metered {
			most.Mul(most, big.NewInt(t.TimeoutMillis))
			most.Add(most, big.NewInt(999))
			most.Div(most, big.NewInt(1000))
		}
		if most.Cmp(big.NewInt(int64(t.Reserve))) > 0 {
			j.deviate("Build.Terms.Reserve", fmt.Sprintf("at least %v micro-credits, the most that a build costs in the pool", most), show(t.Reserve))
		}
	}
}

func cleanPath(p string) bool {
	return p != "" && utf8.ValidString(p) && !strings.ContainsRune(p, 0) && !path.IsAbs(p) && path.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}

// field holds the eligible set, its size and the stake to their rules.
func (j *judge) field() {
	b := j.b
	j.eligible = map[[32]byte]string{}
	domains := map[string]bool{}
	for i, c := range b.Eligible {
		field := fmt.Sprintf("Build.Eligible[%d]", i)
		if i > 0 {
			if before := b.Eligible[i-1]; before.Domain > c.Domain || before.Domain == c.Domain && show(before.Worker) >= show(c.Worker) {
				j.deviate(field, "ascending by domain, then worker", fmt.Sprintf("%q, %s", c.Domain, show(c.Worker)))
			}
		}
		if _, twice := j.eligible[c.Worker]; twice {
			j.deviate(field+".Worker", "each worker once", show(c.Worker))
		}
		if domain, party := j.domainOf(c.Worker); party {
			expect(j, field+".Domain", domain, c.Domain)
		}
		operator, known := c.Domain, j.t.Pool.Domain == build.DomainOperator
		if !known {
			operator, known = j.operators[c.Worker]
		}
		if known && operator == b.Operator && b.Operator != "" {
			j.deviate(field+".Domain", "nobody of the requester's own operator", show(c.Domain))
		}
		if known && len(j.t.Pool.Operators) > 0 && !contains(j.t.Pool.Operators, operator) {
			j.deviate(field+".Domain", "an operator that the pool takes", show(operator))
		}
		j.eligible[c.Worker], domains[c.Domain] = c.Domain, true
	}
	n := len(domains)
	expect(j, "Build.Domains", uint32(n), b.Domains)
	switch {
	case b.Contest != nil: // the stake is the old build's
	case n == 0:
		expect(j, "Build.Stake", 0, b.Stake)
	default:
		j.stake(n)
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// stake recomputes S of n eligible domains, PROTOCOL section 9.
func (j *judge) stake(n int) {
	t := &j.b.Terms
	k := int(t.Validators)
	if k < 1 || k > build.MaxSeats || n > build.MaxWorkers { // named by terms, or by the decoder
		return
	}
	least := 1 + k
	if !j.house {
		least += 3
	}
	if n < least {
		j.deviatef("Build.Domains", fmt.Sprintf("at least %d for %d validators", least, k), "%d", n)
		return
	}
	if j.house {
		expect(j, "Build.Stake", 0, j.b.Stake)
		return
	}
	others := n - 1
	colluders := int((int64(j.t.Params.GammaPPM)*int64(others) + ppm - 1) / ppm)
	all := new(big.Int).Binomial(int64(others), int64(k))
	bad := new(big.Int).Mul(new(big.Int).Binomial(int64(colluders), int64(k)), big.NewInt(ppm))
	if bad.Cmp(new(big.Int).Mul(all, big.NewInt(int64(j.t.Params.PMaxPPM)))) > 0 {
		j.deviatef("Build.Domains", fmt.Sprintf("so many that %d validators all collude with a chance of at most %d ppm", k, j.t.Params.PMaxPPM), "%d, of which %d may collude", n, colluders)
	}
	s, ok := stakeOf(others, min(colluders, others), k, t.Reserve, t.ValueAtRisk, int64(t.SamplePPM))
	if !ok {
		j.deviatef("Build.Stake", "a stake that makes lying a loss", "%v, and no stake does", j.b.Stake)
		return
	}
	expect(j, "Build.Stake", s, j.b.Stake)
}

// stakeOf is S = max(R, ⌈2·(G·(1 − s + s·(P_all + P_flip)) + s·R·P_split) / (s·P_slash)⌉)
// in exact fractions: n domains of which c collude, k seats drawn and then a panel.
func stakeOf(n, c, k int, reserve, risk escrow.Credits, sample int64) (escrow.Credits, bool) {
	if reserve+risk == 0 {
		return 0, true
	}
	panel := min(2*k+1, n-k)
	if panel%2 == 0 {
		panel--
	}
	if panel < 3 || sample < 1 {
		return 0, false
	}
	choose := func(n, k int) *big.Int {
		if k < 0 || k > n {
			return new(big.Int)
		}
		return new(big.Int).Binomial(int64(n), int64(k))
	}
	all, flip, slash, split := new(big.Int), new(big.Int), new(big.Int), new(big.Int)
	for first := 0; first <= k; first++ { // colluders among the seats
		seats := new(big.Int).Mul(choose(c, first), choose(n-c, k-first))
		if seats.Sign() == 0 {
			continue
		}
		for second := 0; second <= panel; second++ { // and on the panel
			ways := new(big.Int).Mul(choose(c-first, second), choose(n-c-(k-first), panel-second))
			ways.Mul(ways, seats)
			end := split
			switch {
			case first == k:
				end = all
			case 3*second >= 2*panel:
				end = flip
			case 3*(panel-second) >= 2*panel:
				end = slash
			}
			end.Add(end, ways)
		}
	}
	total := new(big.Int).Mul(choose(n, k), choose(n-k, panel))
	chance := func(ways *big.Int) *big.Rat { return new(big.Rat).SetFrac(ways, total) }
	s := big.NewRat(sample, ppm)
	if slash.Sign() == 0 {
		return 0, false
	}
	gain := new(big.Rat).Add(chance(all), chance(flip))
	gain.Mul(gain, s).Add(gain, new(big.Rat).Sub(big.NewRat(1, 1), s)).Mul(gain, big.NewRat(int64(reserve)+int64(risk), 1))
	loss := new(big.Rat).Mul(chance(split), s)
	loss.Mul(loss, big.NewRat(int64(reserve), 1))
	loss.Add(loss, gain).Mul(loss, big.NewRat(2, 1))
	loss.Quo(loss, new(big.Rat).Mul(s, chance(slash)))
	least, rest := new(big.Int).QuoRem(loss.Num(), loss.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		least.Add(least, big.NewInt(1))
	}
	if !least.IsInt64() || least.Int64() > int64(escrow.MaxCredits) {
		return 0, false
	}
	return max(reserve, escrow.Credits(least.Int64())), true
}
