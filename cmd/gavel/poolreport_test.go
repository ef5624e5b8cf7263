package main

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/auction"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// someone is an account's id, and is called worker-N in views.
func someone(n byte) build.ID { return build.ID{n} }

func testView(rules build.Pool) *poolView {
	if rules.Name == "" {
		rules.Name = "p"
	}
	rules.Domain = build.DomainOperator
	v := &poolView{PoolView: &gavelv1.PoolView{Pool: &gavelv1.Pool{Name: rules.Name, Workers: 1, Domains: 1, Domain: "operator"}, Names: map[string]string{}}, rules: rules, now: 212_400}
	for n, name := range map[byte]string{1: "worker-1", 2: "worker-2", 10: "worker-10", 20: "alice", 21: "bob"} {
		id := someone(n)
		v.Names[hex.EncodeToString(id[:])] = name
	}
	return v
}

// shown is what pool show prints.
func (v *poolView) shown() string {
	var out bytes.Buffer
	v.report().write(&terminal{out: &out}, v)
	return out.String()
}

func wantIn(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func meteredPool(metered bool) *poolView {
	v := testView(build.Pool{Lane: build.LaneBatch, Batch: build.BatchRules{EpochMillis: 10_000, Reserve: 2 * escrow.One, Pricing: auction.PricingVCG, Metered: metered}})
	k := &v.market
	k.Epoch.Number = 1
	k.Epoch.Next = []build.Ask{{Worker: someone(1)}}
	k.Epoch.Last = &build.Clearing{
		Number: 1, Reserve: 2 * escrow.One,
		Asks:  []build.Ask{{Worker: someone(1), Price: 1_200_000, Capacity: 5}, {Worker: someone(2), Price: 1_100_000, Capacity: 3, Given: 3}, {Worker: someone(10), Price: 1_100_000, Capacity: 1}},
		Lots:  []build.Lot{{Asks: []uint32{0, 1, 2}, Paid: []escrow.Credits{0, 3_600_000, 0}, Units: 3}},
		Units: []build.Unit{{Build: someone(1), Ask: 1}, {Build: someone(2), Ask: 1}, {Build: someone(3), Ask: 1}},
	}
	k.Index = []build.Quote{{At: 100, Kind: build.QuotePaid, Amount: 1_200_000, Units: 3}, {At: 200, Kind: build.QuotePriority, Amount: 500_000, Units: 1}}
	return v
}

// A metered pool's payments are rates, and each price says what it is of.
func TestPoolShowNamesTheUnit(t *testing.T) {
	text := meteredPool(true).shown()
	wantIn(t, text, "it is 212.4 s of farm time", "1 worker present, 1 operator;", "epoch 1 is idle; 1 ask is sealed for the next", "lot 0: 3 builds",
		"worker-2 is paid 1.2 a core-second for each of 3", "1.2 a core-second × 3", "0.5 a place in the queue × 1", "at most 2 a core-second, epochs of 10s")
	if first, second, third := strings.Index(text, "worker-2 asked"), strings.Index(text, "worker-10 asked"), strings.Index(text, "worker-1 asked"); first < 0 || first > second || second > third {
		t.Errorf("asks are not by price, then name:\n%s", text)
	}
	wantIn(t, meteredPool(false).shown(), "worker-2 is paid 3.6 for 3\n", "1.2 an action × 3")
	lease := testView(build.Pool{Lane: build.LaneLease})
	lease.market.Index = []build.Quote{{Kind: build.QuoteLease, Amount: 5 * escrow.One, Units: 2}, {Kind: build.QuotePaid, Amount: escrow.One, Units: 1}}
	wantIn(t, lease.shown(), "5 a period × 2", "1 a build × 1")
	lottery := testView(build.Pool{Lane: build.LaneLottery})
	lottery.market.Index = []build.Quote{{Kind: build.QuoteTickets, Amount: escrow.One, Units: 3}}
	wantIn(t, lottery.shown(), "1 a ticket × 3")
}

// Each lane has a rule to show.
func TestEveryLaneHasASentence(t *testing.T) {
	for lane, want := range map[build.Lane]string{
		build.LaneSpot: "lane spot: sealed bids, second price\n", build.LaneHouse: "lane house: no bids; the builder is drawn\n",
		build.LaneLease: "lane lease: 1 slot, periods of 1h, candle of 30s after 0s\n",
	} {
		wantIn(t, testView(build.Pool{Lane: lane, Lease: build.LeaseRules{Slots: 1, PeriodMillis: 3_600_000, EndingMillis: 30_000}}).shown(), want)
	}
}

// A batch pool that no worker asks in says so, when it is shown and when a build
// begins to wait for it: with a reserve below all asks it once waited in silence.
func TestMissingAsksAreTold(t *testing.T) {
	v := testView(build.Pool{Name: "bmet", Lane: build.LaneBatch, Batch: build.BatchRules{Reserve: 10_000, Metered: true}})
	const missing = "no worker asks at or below 0.01 a core-second in pool bmet yet"
	for _, state := range []build.EpochState{build.EpochIdle, build.EpochGathering} {
		v.market.Epoch.State = state
		if got := v.reminder(someone(20)); got != missing+": the build waits for one, or for its deadline" {
			t.Errorf("%v: %q", state, got)
		}
		wantIn(t, v.shown(), "  no epoch has begun; "+missing+"\n")
	}
	v.market.Epoch.State = build.EpochRunning // its asks are with it
	if got := v.reminder(someone(20)); got != "" {
		t.Errorf("while an epoch runs: %q", got)
	}
	v.market.Epoch.State, v.market.Epoch.Next = build.EpochIdle, []build.Ask{{Worker: someone(1)}, {Worker: someone(2)}}
	if got := v.reminder(someone(20)); got != "" {
		t.Errorf("with asks: %q", got)
	}
	wantIn(t, v.shown(), "  no epoch has begun; 2 asks are sealed for the next\n")
}

// A pool that clears no epochs says of which lane it is.
func TestCaseOfAnotherLane(t *testing.T) {
	if _, err := testView(build.Pool{Lane: build.LaneLease}).lotCase(0); err == nil || !strings.Contains(err.Error(), "of lane lease") {
		t.Errorf("lease: %v", err)
	}
	if _, err := testView(build.Pool{Lane: build.LaneBatch}).lotCase(0); err == nil || !strings.Contains(err.Error(), "no epoch yet") {
		t.Errorf("batch: %v", err)
	}
	if _, err := meteredPool(true).lotCase(1); err == nil || !strings.Contains(err.Error(), "there is no lot 1: epoch 1 of pool p has 1 lot, numbered from 0") {
		t.Errorf("no such lot: %v", err)
	}
}

// What a lottery has come to is told, also where that is nothing.
func TestTicketsAreTold(t *testing.T) {
	v := testView(build.Pool{Name: "free", Lane: build.LaneLottery})
	me := someone(20)
	wantIn(t, v.shown(), "no ticket of pool free was ever bought")
	if got := v.reminder(me); !strings.Contains(got, "gavel ticket buy 1 --pool free") {
		t.Errorf("without a ticket: %q", got)
	}
	v.market.Lottery = build.Lottery{
		Draws: 2, Slots: 3, Sold: 4, Holders: []build.TicketHolder{{Owner: me, Tickets: 1}},
		Upcoming: []build.Slot{{Number: 3, Draw: 2, Owner: someone(21)}}, Taken: []build.Slot{{Number: 2, Draw: 1, Owner: me, Build: someone(7)}},
	}
	wantIn(t, v.shown(), "4 tickets of pool free sold, 3 drawn", "alice holds 1 ticket\n", "slot 3 goes to bob (draw 2)", "slot 2 went to alice (draw 1), build 0700")
	for _, owner := range []build.ID{me, someone(21)} { // a ticket, and a slot
		if got := v.reminder(owner); got != "" {
			t.Errorf("with a ticket or a slot: %q", got)
		}
	}
}
