package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// poolReport is what pool prints as JSON: amounts in micro-credits, times in
// milliseconds of farm time.
type poolReport struct {
	Name      string   `json:"name"`
	Lane      string   `json:"lane"`
	Domain    string   `json:"domain"`
	Class     string   `json:"class,omitempty"`
	Operators []string `json:"operators,omitempty"`
	Shares    string   `json:"shares,omitempty"`
	Workers   uint32   `json:"workers"`
	Domains   uint32   `json:"domains"`
	// Rules are the lane's.
	Rules map[string]any `json:"rules"`
	// FarmMillis is farm time now, to compare deadlines with.
	FarmMillis int64          `json:"farm_millis"`
	Epoch      *epochReport   `json:"epoch,omitempty"`
	Leases     *leaseReport   `json:"leases,omitempty"`
	Lottery    *lotteryReport `json:"lottery,omitempty"`
	Index      []quoteReport  `json:"index"`
}

type quoteReport struct {
	At     int64  `json:"at"`
	Kind   string `json:"kind"`
	Amount int64  `json:"amount"`
	Units  uint64 `json:"units"`
}

// epochReport is a batch pool's market.
type epochReport struct {
	Number   uint64          `json:"number"`
	State    string          `json:"state"`
	Deadline int64           `json:"deadline,omitempty"`
	Sealed   int             `json:"sealed"` // asks for the next epoch
	Last     *clearingReport `json:"last,omitempty"`
}

// clearingReport is a cleared epoch.
type clearingReport struct {
	Number   uint64      `json:"number"`
	ClosedAt int64       `json:"closed_at"`
	Asks     []askReport `json:"asks"`
	Lots     []lotReport `json:"lots"`
}

type askReport struct {
	Worker   string `json:"worker"`
	Price    int64  `json:"price"`
	Capacity uint64 `json:"capacity"`
	Given    uint64 `json:"given"`
	Tie      string `json:"tie"` // lower is served first at equal prices
	Closed   bool   `json:"closed,omitempty"`
}

type lotReport struct {
	Units    uint64            `json:"units"`
	Given    map[string]uint64 `json:"given"`
	Payments map[string]int64  `json:"payments"`
	Builds   []string          `json:"builds"`
}

// unit is what a batch pool's prices are of.
func (v *poolView) unit() string {
	if v.rules.Batch.Metered {
		return "a core-second"
	}
	return "an action"
}

// unitOf is what a quoted amount buys one of.
func (v *poolView) unitOf(kind build.QuoteKind) string {
	switch kind {
	case build.QuoteTickets:
		return "a ticket"
	case build.QuoteLease:
		return "a period"
	case build.QuotePriority:
		return "a place in the queue"
	}
	if v.rules.Lane == build.LaneBatch {
		return v.unit()
	}
	return "a build"
}

// sentence is a pool's rules in a line.
func (v *poolView) sentence() string {
	switch p := &v.rules; p.Lane {
	case build.LaneBatch:
		return fmt.Sprintf("%s, at most %s %s, epochs of %s", p.Batch.Pricing, p.Batch.Reserve, v.unit(), lastingMillis(p.Batch.EpochMillis))
	case build.LaneLease:
		return fmt.Sprintf("%s, periods of %s, candle of %s after %s", count(p.Lease.Slots, "slot"), lastingMillis(p.Lease.PeriodMillis), lastingMillis(p.Lease.EndingMillis), lastingMillis(p.Lease.OpeningMillis))
	case build.LaneLottery:
		return fmt.Sprintf("%s, tickets at %s, %s ahead", p.Lottery.Rule, p.Lottery.Price, count(p.Lottery.Lookahead, "slot"))
	case build.LaneHouse:
		return "no bids; the builder is drawn"
	}
	return "sealed bids, second price"
}

func (v *poolView) report() *poolReport {
	p, k := &v.rules, &v.market
	r := &poolReport{
		Name: p.Name, Lane: p.Lane.String(), Domain: p.Domain.String(), Class: p.Class, Operators: p.Operators, Shares: p.Shares,
		Workers: v.Pool.Workers, Domains: v.Pool.Domains, Rules: map[string]any{}, FarmMillis: v.now, Index: []quoteReport{},
	}
	for _, q := range k.Index {
		r.Index = append(r.Index, quoteReport{At: q.At, Kind: q.Kind.String(), Amount: int64(q.Amount), Units: q.Units})
	}
	switch p.Lane {
	case build.LaneBatch:
		r.Rules["epoch_millis"], r.Rules["reserve"], r.Rules["pricing"], r.Rules["metered"] = p.Batch.EpochMillis, p.Batch.Reserve, p.Batch.Pricing.String(), p.Batch.Metered
		r.Epoch = v.epoch()
	case build.LaneLease:
		l := p.Lease
		r.Rules["period_millis"], r.Rules["opening_millis"], r.Rules["ending_millis"] = l.PeriodMillis, l.OpeningMillis, l.EndingMillis
		r.Rules["samples"], r.Rules["slots"], r.Rules["reserve"] = l.Samples, l.Slots, l.Reserve
		r.Leases = v.leases()
	case build.LaneLottery:
		l := p.Lottery
		r.Rules["ticket"], r.Rules["rule"], r.Rules["lookahead"], r.Rules["slot_millis"] = l.Price, l.Rule.String(), l.Lookahead, l.SlotMillis
		r.Lottery = v.lottery()
	}
	return r
}

func (v *poolView) epoch() *epochReport {
	k := &v.market.Epoch
	r := &epochReport{Number: k.Number, State: k.State.String(), Deadline: k.Deadline, Sealed: len(k.Next)}
	if k.Last == nil {
		return r
	}
	l := k.Last
	c := &clearingReport{Number: l.Number, ClosedAt: l.ClosedAt}
	for i := range l.Asks {
		a := &l.Asks[i]
		c.Asks = append(c.Asks, askReport{Worker: v.name(a.Worker), Price: int64(a.Price), Capacity: a.Capacity, Given: a.Given, Tie: hex.EncodeToString(a.Tie[:]), Closed: a.Closed})
	}
	slices.SortFunc(c.Asks, func(a, b askReport) int {
		return cmp.Or(cmp.Compare(a.Price, b.Price), cmp.Compare(len(a.Worker), len(b.Worker)), cmp.Compare(a.Worker, b.Worker))
	})
	for i := range l.Lots {
		lot := lotReport{Units: l.Lots[i].Units, Given: map[string]uint64{}, Payments: map[string]int64{}, Builds: []string{}}
		for _, u := range l.Units {
			if u.Lot == uint32(i) {
				lot.Given[v.name(l.Asks[u.Ask].Worker)]++
				lot.Builds = append(lot.Builds, hex.EncodeToString(u.Build[:]))
			}
		}
		for j, at := range l.Lots[i].Asks {
			if paid := l.Lots[i].Paid[j]; paid > 0 {
				lot.Payments[v.name(l.Asks[at].Worker)] = int64(paid)
			}
		}
		c.Lots = append(c.Lots, lot)
	}
	r.Last = c
	return r
}

// marketCase is a lot as gavel lab clear reads it.
type marketCase struct {
	ID      string       `json:"id"`
	Rule    string       `json:"rule"`
	Pricing string       `json:"pricing"`
	Source  string       `json:"source"`
	Reserve int64        `json:"reserve"`
	Units   uint64       `json:"units"`
	Sellers []sellerBid  `json:"seller_bids"`
	Expect  marketExpect `json:"expect"`
}

type sellerBid struct {
	ID       string `json:"id"`
	Price    int64  `json:"price"`
	Capacity uint64 `json:"capacity"`
}

type marketExpect struct {
	Allocation map[string]uint64 `json:"allocation"`
	Payments   map[string]int64  `json:"payments"`
}

// lotCase lays out a lot of the last cleared epoch.
func (v *poolView) lotCase(lot int) (*marketCase, error) {
	last := v.market.Epoch.Last
	switch {
	case v.rules.Lane != build.LaneBatch:
		return nil, refused(fmt.Errorf("pool %s is of lane %s, which clears no epochs: --case is for pools of lane batch", v.rules.Name, v.rules.Lane))
	case last == nil:
		return nil, refused(fmt.Errorf("pool %s has cleared no epoch yet", v.rules.Name))
	}
	l, ok := last.Lot(lot)
	if !ok {
		return nil, refused(fmt.Errorf("there is no lot %d: epoch %d of pool %s has %s, numbered from 0", lot, last.Number, v.rules.Name, count(len(last.Lots), "lot")))
	}
	c := &marketCase{
		ID: fmt.Sprintf("%s-epoch-%d-lot-%d", v.rules.Name, last.Number, lot), Rule: "batch", Pricing: v.rules.Batch.Pricing.String(),
		Source: "cleared by the farm", Reserve: int64(last.Reserve), Units: l.Units,
		Expect: marketExpect{Allocation: map[string]uint64{}, Payments: map[string]int64{}},
	}
	for i := range l.Asks {
		a := &l.Asks[i]
		name := v.name(a.Worker)
		c.Sellers = append(c.Sellers, sellerBid{ID: name, Price: int64(a.Price), Capacity: a.Capacity})
		if a.Given > 0 {
			c.Expect.Allocation[name], c.Expect.Payments[name] = a.Given, int64(l.Paid[i])
		}
	}
	return c, nil
}

// write shows a pool to a person.
func (r *poolReport) write(term *terminal, v *poolView) {
	term.print("pool %s, lane %s: %s", r.Name, r.Lane, v.sentence())
	term.print("  %s present, %s; %s", count(r.Workers, "worker"), count(r.Domains, r.Domain), farmNow(r.FarmMillis))
	if r.Shares != "" {
		term.print("  those of pool %s serve it too", r.Shares)
	}
	switch {
	case r.Epoch != nil:
		r.Epoch.write(term, v)
	case r.Leases != nil:
		r.Leases.write(term)
	case r.Lottery != nil:
		r.Lottery.write(term)
	}
	if len(v.market.Index) > 0 {
		term.print("  price index:")
	}
	for _, q := range v.market.Index[max(0, len(v.market.Index)-shownQuotes):] {
		term.print("    %10s  %-8s  %s %s × %d", farmSeconds(q.At), q.Kind, q.Amount, v.unitOf(q.Kind), q.Units)
	}
}

// shownQuotes is how much of the price index fits a screen; the JSON has all.
const shownQuotes = 10

// asksMissing says that no worker offers what a batch pool's next epoch would buy;
// empty where one does, or where the asks of an epoch under way are with it.
func (v *poolView) asksMissing() string {
	p := &v.market.Epoch
	if v.rules.Lane != build.LaneBatch || len(p.Next) > 0 || p.State != build.EpochIdle && p.State != build.EpochGathering {
		return ""
	}
	return fmt.Sprintf("no worker asks at or below %s %s in pool %s yet", v.rules.Batch.Reserve, v.unit(), v.rules.Name)
}

func (e *epochReport) write(term *terminal, v *poolView) {
	stands := fmt.Sprintf("epoch %d is %s", e.Number, e.State)
	if e.Number == 0 {
		stands = "no epoch has begun"
	}
	switch text := v.asksMissing(); {
	case text != "":
		term.print("  %s; %s", stands, text)
	case e.Sealed == 1:
		term.print("  %s; 1 ask is sealed for the next", stands)
	default:
		term.print("  %s; %d asks are sealed for the next", stands, e.Sealed)
	}
	if e.Last == nil {
		return
	}
	term.print("  epoch %d was cleared:", e.Last.Number)
	for _, a := range e.Last.Asks {
		term.print("    %s asked %s for up to %d, got %d", a.Worker, escrow.Credits(a.Price), a.Capacity, a.Given)
	}
	for i, l := range e.Last.Lots {
		term.print("    lot %d: %s", i, count(l.Units, "build"))
		for _, worker := range wire.SortedKeys(l.Payments, strings.Compare) {
			paid, n := escrow.Credits(l.Payments[worker]), l.Given[worker]
			if v.rules.Batch.Metered { // what a build earns is this times its core-seconds: the sum is nobody's pay
				term.print("      %s is paid %s a core-second for each of %d", worker, paid/escrow.Credits(max(1, n)), n)
				continue
			}
			term.print("      %s is paid %s for %d", worker, paid, n)
		}
	}
}
