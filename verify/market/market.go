// Package market recomputes what a pool's market decided last, from the record
// that the farm shows of it: the tie order and the prices of a batch epoch, the
// retroactive close and the winners of a candle auction, the owners of lottery
// slots. Each draw is held to the coordinators' group key, each opened ask to what
// was sealed; who asked, bid and bought, when, and under what rules is the
// record's own word, which it never goes beyond. Every rule it applies is the
// farm's own, from raftfsm's pure leaves.
package market

import (
	"errors"
	"fmt"
	"slices"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// Check is one thing that was recomputed.
type Check struct {
	What   string // such as "epoch 3, lot 0: prices by vcg"
	Detail string // what it came to, or how it differs
	OK     bool
}

// checker collects checks of one pool's market.
type checker struct {
	cluster build.ID
	groups  []beacon.GroupKey
	pool    *build.Pool
	market  *build.Market
	checks  []Check
}

// Verify recomputes a market under a pool's rules and a cluster's group keys: the
// one in use, and those that it was handed over from. A market that has decided
// nothing yet has no checks.
func Verify(cluster build.ID, groups []beacon.GroupKey, pool *build.Pool, m *build.Market) []Check {
	c := &checker{cluster: cluster, groups: groups, pool: pool, market: m}
	if err := pool.Validate(); err != nil {
		c.add("the pool's rules", err.Error(), "")
		return c.checks
	}
	c.identity()
	if l := m.Epoch.Last; l != nil {
		c.epoch(l)
	}
	if l := m.Candle.Last; l != nil {
		c.candle(l)
	}
	for i := range m.Lottery.Drawn {
		c.lottery(&m.Lottery.Drawn[i])
	}
	return c.checks
}

func (c *checker) add(what, difference, detail string) {
	if difference != "" {
		c.checks = append(c.checks, Check{What: what, Detail: difference})
		return
	}
	c.checks = append(c.checks, Check{What: what, Detail: detail, OK: true})
}

// identity holds the market's id to the pool's name: draws and transfers name it.
func (c *checker) identity() {
	if want := build.MarketID(c.cluster, c.pool.Name); c.market.ID != want {
		c.add("the market's id", fmt.Sprintf("it is %x, of pool %q in this cluster it would be %x", c.market.ID[:8], c.pool.Name, want[:8]), "")
	}
}

// draw checks a signature on what a draw was about.
func (c *checker) draw(what, purpose string, round uint64, sigma [48]byte) bool {
	msg := beacon.Message(c.cluster, purpose, c.market.ID, round)
	err := errors.New("no group key is known")
	for _, key := range c.groups {
		if err = beacon.Verify(key, msg, beacon.Signature(sigma)); err == nil {
			break
		}
	}
	if err != nil {
		c.add(what+": the draw", fmt.Sprintf("the signature is not the coordinators' on %q, round %d: %v", purpose, round, err), "")
		return false
	}
	c.add(what+": the draw", "", fmt.Sprintf("signed by the coordinators' group key, on %q, round %d", purpose, round))
	return true
}

// epoch recomputes a cleared epoch: the order of equal prices, and each lot's
// allocation and payments.
func (c *checker) epoch(l *build.Clearing) {
	what := fmt.Sprintf("epoch %d", l.Number)
	if !c.draw(what, build.PurposeAsks, l.Number, l.Sigma) {
		return
	}
	if !c.sealed(what, l) {
		return
	}
	for i := range l.Asks {
		a := &l.Asks[i]
		if a.Tie != build.TieOf(l.Sigma, a.Operator) {
			c.add(what+": the order of equal prices", fmt.Sprintf("the ask of %x is ordered by something else than the draw", a.Worker[:8]), "")
			return
		}
	}
	c.add(what+": the order of equal prices", "", fmt.Sprintf("follows from the draw for all %d asks", len(l.Asks)))
	if !c.units(what, l) {
		return
	}
	for i := range l.Lots {
		c.lot(fmt.Sprintf("%s, lot %d: prices by %v", what, i, c.pool.Batch.Pricing), l, i)
	}
}

// sealed holds each ask to its commitment, made before anybody knew the others',
// and the epoch to the pool's reserve.
func (c *checker) sealed(what string, l *build.Clearing) bool {
	what += ": the asks"
	for i := range l.Asks {
		a := &l.Asks[i]
		if !a.Opened || build.AskCommitment(c.cluster, c.market.ID, l.Number, a.Worker, a.Price, a.Capacity, a.Nonce) != a.Commitment {
			c.add(what, fmt.Sprintf("that of %x is not what it had sealed", a.Worker[:8]), "")
			return false
		}
	}
	if l.Reserve != c.pool.Batch.Reserve {
		c.add(what, fmt.Sprintf("cleared under a reserve of %v, the pool's is %v", l.Reserve, c.pool.Batch.Reserve), "")
		return false
	}
	c.add(what, "", fmt.Sprintf("%d, each as it was sealed", len(l.Asks)))
	return true
}

// lot clears one lot again.
func (c *checker) lot(what string, l *build.Clearing, i int) {
	lot, ok := l.Lot(i)
	if !ok {
		c.add(what, "there is no such lot", "")
		return
	}
	if lot.Units == 0 {
		c.add(what, "", "no build was left with it, and nothing is paid")
		return
	}
	var asks []auction.Ask
	for _, a := range lot.Asks {
		asks = append(asks, auction.Ask{Tie: a.Tie, Price: a.Price, Capacity: a.Capacity})
	}
	outcome, err := auction.ClearBatch(asks, lot.Units, c.pool.Batch.Reserve, c.pool.Batch.Pricing)
	if err != nil {
		c.add(what, err.Error(), "")
		return
	}
	var total escrow.Credits
	for j, a := range lot.Asks {
		if outcome.Allocation[j] != a.Given || outcome.Payments[j] != lot.Paid[j] {
			c.add(what, fmt.Sprintf("%x sold %d for %v, by the rule it sells %d for %v", a.Worker[:8], a.Given, lot.Paid[j], outcome.Allocation[j], outcome.Payments[j]), "")
			return
		}
		total += outcome.Payments[j]
	}
	of := "credits"
	if c.pool.Batch.Metered {
		of = "credits a core-second, summed over builds,"
	}
	c.add(what, "", fmt.Sprintf("%v %s for %d as recorded", total, of, lot.Units))
}

// units holds the asks' own counts to the list of what was given to them.
func (c *checker) units(what string, l *build.Clearing) bool {
	what += ": what was given"
	if !l.Coherent() {
		c.add(what, "what asks gave and lots took is not what the list of builds says, or it names asks that there are not", "")
		return false
	}
	c.add(what, "", fmt.Sprintf("%d in all, none beyond an ask's capacity", len(l.Units)))
	return true
}

// candle closes an auction again: the sample that was drawn, the bids that were
// in time, the best partition, and the worker.
func (c *checker) candle(l *build.CandleClose) {
	what := fmt.Sprintf("auction %d", l.Number)
	if !c.draw(what, build.PurposeCandle, l.Number, l.Sigma) {
		return
	}
	seed := beacon.Randomness(beacon.Signature(l.Sigma))
	rules := &c.pool.Lease
	if step := auction.CloseSample(seed, int(rules.Samples)); uint32(step) != l.Step {
		c.add(what+": its close", fmt.Sprintf("it closed at sample %d, the draw says %d", l.Step, step), "")
		return
	}
	c.add(what+": its close", "", fmt.Sprintf("sample %d of %d, as drawn", l.Step+1, rules.Samples))
	book, err := l.Book(rules)
	if err != nil {
		c.add(what+": its bids", err.Error(), "")
		return
	}
	won, total := book.Winners()
	if len(l.Free) == 0 {
		won, total = nil, 0
	}
	if !slices.Equal(won, l.Won) {
		c.add(what+": its winners", fmt.Sprintf("%d bids won, of the bids in time %d others would", len(l.Won), len(won)), "")
		return
	}
	c.add(what+": its winners", "", fmt.Sprintf("%d of %d bids, %v credits in all: the best partition of those in time", len(won), len(l.Bids), total))
	var worker build.ID
	if len(won) > 0 {
		worker = build.DrawnWorker(seed, l.Free)
	}
	if worker != l.Worker {
		c.add(what+": its worker", fmt.Sprintf("it is %x, the draw says %x", l.Worker[:8], worker[:8]), "")
		return
	}
	c.add(what+": its worker", "", fmt.Sprintf("drawn from the %d that were free", len(l.Free)))
}

// lottery makes a draw of tickets again.
func (c *checker) lottery(d *build.TicketDraw) {
	what := fmt.Sprintf("lottery draw %d", d.Number)
	if !c.draw(what, build.PurposeLottery, d.Number, d.Sigma) {
		return
	}
	places, err := auction.DrawTickets(beacon.Randomness(beacon.Signature(d.Sigma)), d.Holdings, int(d.Wanted))
	if err != nil {
		c.add(what+": its owners", err.Error(), "")
		return
	}
	var owners []build.ID
	for _, at := range places {
		owners = append(owners, d.Holdings[at].Owner)
	}
	if !slices.Equal(owners, d.Owners) {
		c.add(what+": its owners", fmt.Sprintf("%d slots went to others than the draw says", len(d.Owners)), "")
		return
	}
	c.add(what+": its owners", "", fmt.Sprintf("%d slots among %d holders, as drawn", len(owners), len(d.Holdings)))
}
