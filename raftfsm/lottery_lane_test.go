package raftfsm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/draw"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

const ticketPrice = credit / 2

func lotteryFarm(t *testing.T, rule auction.TicketRule, lookahead uint32, seed uint64) *farm {
	return newFarm(t, farmOptions{lane: build.LaneLottery, workers: 8, replicas: 2, buyers: 4, drop: 10_000 * credit, stake: 1_000 * credit, seed: seed,
		rules: func(p *build.Pool, params *build.Params) {
			p.Lottery = build.LotteryRules{Price: ticketPrice, Rule: rule, Lookahead: lookahead, SlotMillis: 5_000}
			params.UnbondMillis += int64(seed) // another cluster, and so other beacons
		}})
}

func (f *farm) ticketCommand(buyer int, n uint64) build.Command {
	return f.command(f.requesters[buyer], build.TypeTickets, &build.BuyTickets{Pool: "pool", Count: n})
}

// idle lets all workers take work, or none.
func (f *farm) idle(yes bool) {
	f.t.Helper()
	for w := range f.workers {
		f.must(f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: !yes}))
	}
}

// ticketModel is a lottery as its buyers see it: a box of tickets.
type ticketModel struct {
	f         *farm
	box, late []int // owners of tickets, those bought while a draw was awaited apart
	bought    []escrow.Credits
	draws     uint64
	slots     []int // owners of slots, in order of their numbers
}

// buy buys tickets and puts them where they belong.
func (m *ticketModel) buy(buyer int, n uint64) {
	m.f.t.Helper()
	awaited := slices.ContainsFunc(m.f.state().Demands(), func(d Demand) bool { return d.Purpose == build.PurposeLottery })
	m.f.must(m.f.ticketCommand(buyer, n))
	m.bought[buyer] += escrow.Credits(n)
	for range n {
		if awaited {
			m.late = append(m.late, buyer)
		} else {
			m.box = append(m.box, buyer)
		}
	}
}

// catchUp makes the draws again that the market has made: one ticket after the
// other out of a box in which they lie by owner.
func (m *ticketModel) catchUp() {
	f := m.f
	f.t.Helper()
	k := f.market("pool")
	for _, d := range k.Lottery.Drawn {
		if d.Number <= m.draws {
			continue
		}
		if m.draws++; d.Number != m.draws {
			f.t.Fatalf("draw %d follows draw %d", d.Number, m.draws-1)
		}
		s := f.state()
		seed := beacon.Randomness(cheapBeacon(beacon.Message(s.Cluster(), build.PurposeLottery, k.ID, d.Number)))
		if seed != beacon.Randomness(d.Sigma) {
			f.t.Fatalf("draw %d is not made from its beacon", d.Number)
		}
		if places, err := auction.DrawTickets(seed, d.Holdings, int(d.Wanted)); err != nil || len(places) != len(d.Owners) {
			f.t.Fatalf("draw %d cannot be made again: %v", d.Number, err)
		}
		var list []int // one for each ticket in the draw
		most := map[int]uint64{}
		for _, h := range d.Holdings {
			buyer := slices.IndexFunc(f.requesters, func(k []byte) bool { return build.AccountID(k) == h.Owner })
			most[buyer] = h.Most
			for _, owner := range m.box {
				if owner == buyer {
					list = append(list, buyer)
				}
			}
			if held := slices.Contains(list, buyer); !held || h.Most == 0 {
				f.t.Fatalf("draw %d has %+v in it", d.Number, h)
			}
		}
		stream := draw.NewStream(seed)
		for _, owner := range d.Owners {
			if len(list) == 0 {
				f.t.Fatalf("draw %d filled a slot from an empty box", d.Number)
			}
			at := int(stream.Below(uint64(len(list))))
			drawn := list[at]
			if owner != build.AccountID(f.requesters[drawn]) {
				f.t.Fatalf("draw %d of a box of %d gave a slot to %x, want buyer %d", d.Number, len(list), owner[:4], drawn)
			}
			m.slots = append(m.slots, drawn)
			list = slices.Delete(list, at, at+1)
			at = slices.Index(m.box, drawn)
			m.box = slices.Delete(m.box, at, at+1)
			if most[drawn]--; most[drawn] == 0 { // it has slots for all that it builds
				list = slices.DeleteFunc(list, func(b int) bool { return b == drawn })
			}
		}
		m.box, m.late = append(m.box, m.late...), nil
	}
}

// balances holds every buyer's money to the model, once all its builds are settled.
func (m *ticketModel) balances(rule auction.TicketRule, builds map[int][]ID) {
	f := m.f
	f.t.Helper()
	income := escrow.Credits(0)
	for buyer := range f.requesters {
		drawn, waiting := escrow.Credits(0), escrow.Credits(0)
		for _, owner := range m.slots {
			if owner == buyer {
				drawn++
			}
		}
		for _, owner := range append(slices.Clone(m.box), m.late...) {
			if owner == buyer {
				waiting++
			}
		}
		spent, held := m.bought[buyer], escrow.Credits(0)
		if rule == auction.TicketWinnerPays {
			spent, held = drawn, waiting
		}
		for _, id := range builds[buyer] {
			b := f.build(id)
			if b.Slot != 0 && m.slots[b.Slot-1] != buyer {
				f.t.Errorf("a build of buyer %d took slot %d of buyer %d", buyer, b.Slot, m.slots[b.Slot-1])
			}
			if b.Verdict != build.Agreed || b.Payment != 0 || b.Slot == 0 {
				f.t.Errorf("a build ended %v with slot %d, its builder got %v", b.Verdict, b.Slot, b.Payment)
			}
		}
		fees := 2 * credit * escrow.Credits(len(builds[buyer]))
		want := 10_000*credit - fees - spent*ticketPrice - held*ticketPrice
		if a := f.account(f.requesters[buyer]); a.Held != held*ticketPrice || a.Available != want {
			f.t.Errorf("buyer %d has %v held and %v available, want %v and %v", buyer, a.Held, a.Available, held*ticketPrice, want)
		}
		income += spent * ticketPrice
	}
	if got := f.balance(f.state().Treasury()); got != income {
		f.t.Errorf("the treasury has %v, tickets brought %v", got, income)
	}
}

// Who has more tickets builds sooner, by draws that anyone can make again; each
// ticket is paid once, by the pool's rule, and each slot is one build's.
func TestLotteryDraws(t *testing.T) {
	for _, rule := range []auction.TicketRule{auction.TicketAllPay, auction.TicketWinnerPays} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprint(rule, seed), func(t *testing.T) { lotteryRun(t, rule, seed) })
		}
	}
}

func lotteryRun(t *testing.T, rule auction.TicketRule, seed uint64) {
	f := lotteryFarm(t, rule, uint32(seed), 20+seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	m := &ticketModel{f: f, bought: make([]escrow.Credits, 4)}
	builds := map[int][]ID{}
	var all []ID
	for range 30 {
		buyer := rng.IntN(4)
		if rng.IntN(2) == 0 {
			m.buy(buyer, uint64(1+rng.IntN(4)))
		}
		if rng.IntN(3) > 0 {
			id := f.submit(buyer, f.terms(build.LaneLottery))
			builds[buyer], all = append(builds[buyer], id), append(all, id)
		}
		if rng.IntN(2) == 0 { // between a demand and its draw
			m.buy(rng.IntN(4), uint64(1+rng.IntN(3)))
		}
		f.duties()
		m.catchUp()
		if rng.IntN(6) == 0 {
			f.snapshotRestore(1)
		}
		if rng.IntN(3) == 0 {
			f.work(all)
			m.catchUp()
		}
		f.tick(int64(rng.IntN(300)))
	}
	for buyer := range 4 { // a ticket for everyone who still waits
		m.buy(buyer, 20)
	}
	for range 200 {
		f.duties()
		m.catchUp()
		f.work(all)
		m.catchUp()
		f.tick(1_000)
		if len(f.state().Live()) == 0 {
			break
		}
	}
	if n := len(f.state().Live()); n > 0 {
		t.Fatalf("%d builds still wait, with %d tickets in the box", n, len(m.box))
	}
	m.balances(rule, builds)
	f.same()
}

// noMachine carries out commands and lets all workers drain in the same entry, so
// that what is submitted waits.
func (f *farm) noMachine(commands ...build.Command) []build.Outcome {
	f.t.Helper()
	for w := range f.workers {
		commands = append(commands, f.command(f.workers[w], build.TypeUpdate, &build.Update{Platforms: []string{"host"}, Draining: true}))
	}
	out := f.send(commands...)
	for _, o := range out {
		if o.Code != build.Done {
			f.t.Fatal(o.Detail)
		}
	}
	return out
}

func (f *farm) submitCommand(buyer int) build.Command {
	return f.command(f.requesters[buyer], build.TypeSubmit, &build.Submit{Terms: f.terms(build.LaneLottery)})
}

// A slot whose owner has nothing to build any more passes on after a while, where
// others wait; the ticket is gone, and paid.
func TestLotterySlotPassesOn(t *testing.T) {
	for _, rule := range []auction.TicketRule{auction.TicketAllPay, auction.TicketWinnerPays} {
		f := lotteryFarm(t, rule, 0, 30)
		f.must(f.ticketCommand(0, 1))
		out := f.noMachine(f.submitCommand(0), f.submitCommand(1))
		f.duties() // the only ticket is drawn
		f.must(f.ticketCommand(1, 1))
		f.must(f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: out[0].Subject}))
		f.tick(4_999)
		f.duties()
		if l := f.market("pool").Lottery; len(l.Upcoming) != 1 || l.Upcoming[0].Number != 1 {
			t.Fatalf("slots ahead before the first has passed on: %+v", l.Upcoming)
		}
		f.snapshotRestore(1)
		f.tick(1)
		f.duties()
		f.idle(true)
		f.duties()
		id := out[1].Subject
		if b := f.build(id); b.State != build.Awarded || b.Slot != 2 {
			t.Fatalf("the build is %v in slot %d after the slot has passed on", b.State, b.Slot)
		}
		if a := f.account(f.requesters[0]); a.Available != 10_000*credit-ticketPrice || a.Held != 0 {
			t.Errorf("%v: the ticket that was not used leaves %v available and %v held", rule, a.Available, a.Held)
		}
		f.work([]ID{id})
		f.same()
	}
}

// A slot was passed on although its owner had a build that waited, only for a
// machine; and although nobody waited who could have used it.
func TestLotterySlotIsKept(t *testing.T) {
	f := lotteryFarm(t, auction.TicketWinnerPays, 0, 31)
	f.must(f.ticketCommand(0, 1))
	out := f.noMachine(f.submitCommand(0), f.submitCommand(1))
	f.duties()
	kept := func(why string) {
		t.Helper()
		f.tick(30_000)
		f.duties()
		if l := f.market("pool").Lottery; len(l.Upcoming) != 1 || l.Upcoming[0].Owner != build.AccountID(f.requesters[0]) {
			t.Fatalf("%s the slots ahead are %+v", why, l.Upcoming)
		}
	}
	kept("while its owner waits for a machine, beside one without a ticket,")
	f.must(f.ticketCommand(1, 1))
	kept("while its owner waits for a machine, beside one with a ticket,")
	f.idle(true)
	f.duties()
	if b := f.build(out[0].Subject); b.Slot != 1 {
		t.Fatalf("slot %d", b.Slot)
	}
	f.work([]ID{out[0].Subject, out[1].Subject})
	f.duties()
	if b := f.build(out[1].Subject); b.Slot != 2 {
		t.Fatalf("the other has slot %d", b.Slot)
	}
	f.work([]ID{out[1].Subject})

	f.must(f.ticketCommand(0, 1))
	gone := f.noMachine(f.submitCommand(0))[0].Subject
	f.duties()
	f.must(f.command(f.requesters[0], build.TypeCancel, &build.Cancel{Build: gone}))
	kept("while nobody waits")
	f.idle(true)
	last := f.submit(0, f.terms(build.LaneLottery))
	f.duties()
	f.work([]ID{last})
	if b := f.build(last); b.Slot != 3 || b.Verdict != build.Agreed || f.account(f.requesters[0]).Held != 0 {
		t.Errorf("slot %d, %v, %v held", b.Slot, b.Verdict, f.account(f.requesters[0]).Held)
	}
	f.same()
}

// A build without a ticket had everybody else's drawn, one after the other, for
// slots that nobody used; and who held many tickets and built nothing kept others
// waiting. Only those take part in a draw who have something to build, for as many
// slots as they can use.
func TestTicketsAreNotDrawnForNothing(t *testing.T) {
	f := lotteryFarm(t, auction.TicketWinnerPays, 3, 35)
	f.must(f.ticketCommand(0, 100))
	poor := f.submit(1, f.terms(build.LaneLottery)) // no ticket
	for range 10 {
		f.duties()
		f.tick(5_000)
	}
	if l := f.market("pool").Lottery; l.Draws != 0 || l.Holders[0].Tickets != 100 || f.account(f.requesters[0]).Held != 100*ticketPrice {
		t.Fatalf("%d draws were made, %+v is left", l.Draws, l.Holders)
	}
	f.must(f.ticketCommand(2, 2))
	mine := f.submit(2, f.terms(build.LaneLottery))
	f.duties()
	if b := f.build(mine); b.Slot != 1 || b.State != build.Awarded {
		t.Errorf("beside a hundred idle tickets the build is %v in slot %d", b.State, b.Slot)
	}
	if l := f.market("pool").Lottery; l.Slots != 1 || f.build(poor).State != build.Queued {
		t.Errorf("%d slots were drawn for one build with a ticket", l.Slots)
	}
	f.work([]ID{mine})
	f.same()
}

// Tickets named by the request that bought them made every replica stop when the
// request id was used again, after the farm had forgotten it.
func TestTicketsOfARequestIDUsedTwice(t *testing.T) {
	for _, rule := range []auction.TicketRule{auction.TicketAllPay, auction.TicketWinnerPays} {
		f := lotteryFarm(t, rule, 0, 32)
		m := f.ticketCommand(0, 3)
		again := func() {
			m.ValidUntilMillis = f.state().Now() + 60_000
			m.Signature = f.sign(f.requesters[0], m.SigningBytes(f.state().Cluster()))
			f.must(m)
		}
		f.must(m)
		f.must(m) // remembered: nothing happens
		f.tick(60_001)
		f.must(f.ticketCommand(1, 1)) // the farm forgets what has run out when it remembers another
		again()
		for _, h := range f.market("pool").Lottery.Holders {
			if h.Owner == m.Sender && h.Tickets != 6 {
				t.Errorf("%v: %d tickets, want 6", rule, h.Tickets)
			}
		}
		f.same()
	}
}

// A lease bid's reservation was named by its request too.
func TestLeaseBidOfARequestIDUsedTwice(t *testing.T) {
	f := newFarm(t, farmOptions{lane: build.LaneLease, workers: 6, replicas: 1, drop: 1_000 * credit, stake: 100 * credit,
		rules: func(p *build.Pool, _ *build.Params) { p.Lease.OpeningMillis = 600_000 }})
	m := f.leaseCommand(leaseBid{bidder: 0, first: 1, last: 1, perPeriod: credit})
	f.must(m)
	f.tick(60_001)
	f.must(f.leaseCommand(leaseBid{bidder: 1, first: 1, last: 1, perPeriod: 2 * credit}))
	m.Payload = wire.Encode(&build.LeaseBid{Pool: "pool", First: 1, Last: 1, PerPeriod: 3 * credit})
	m.ValidUntilMillis = f.state().Now() + 60_000
	m.Signature = f.sign(f.requesters[0], m.SigningBytes(f.state().Cluster()))
	f.must(m)
	if a := f.account(f.requesters[0]); a.Held != 4*credit {
		t.Errorf("%v held, want both bids' 4", a.Held)
	}
	f.same()
}

// Whoever saw a draw's signature before it was applied could buy just so many
// tickets that one of them was drawn. They wait for the next draw.
func TestTicketsBoughtWhileADrawIsMade(t *testing.T) {
	for count := uint64(1); count <= 40; count++ {
		f := lotteryFarm(t, auction.TicketAllPay, 0, 33)
		f.must(f.ticketCommand(0, 7))
		honest := f.submit(0, f.terms(build.LaneLottery))
		f.submit(1, f.terms(build.LaneLottery))
		d := f.state().Demands()
		if len(d) != 1 || d[0].Purpose != build.PurposeLottery {
			t.Fatalf("demands %v", d)
		}
		f.must(f.ticketCommand(1, count))
		f.snapshotRestore(1)
		f.duties()
		first := f.market("pool").Lottery.Drawn[0]
		if len(first.Holdings) != 1 || first.Holdings[0].Tickets != 7 || f.build(honest).Slot != 1 {
			t.Fatalf("%d tickets bought after the demand took part: %+v", count, first.Holdings)
		}
		f.same()
		if count > 1 {
			continue
		}
		f.tick(1_000)
		f.duties()
		if got := f.market("pool").Lottery.Drawn[1].Holdings; len(got) != 1 || got[0].Owner != build.AccountID(f.requesters[1]) || got[0].Tickets != count {
			t.Errorf("they do not take part in the next draw: %+v", got)
		}
	}
}

// Without a ticket a build waits until its deadline, and costs nothing.
func TestLotteryWithoutTickets(t *testing.T) {
	f := lotteryFarm(t, auction.TicketAllPay, 3, 34)
	terms := f.terms(build.LaneLottery)
	terms.DeadlineMillis = f.state().Now() + 50_000
	id := f.submit(0, terms)
	f.must(f.ticketCommand(1, 2)) // another's tickets do not serve it
	for range 49 {
		f.duties()
		f.tick(1_000)
	}
	if b := f.build(id); b.State != build.Queued {
		t.Fatalf("%v before its deadline", b.State)
	}
	f.tick(1_000)
	if b := f.build(id); b.Verdict != build.Expired || f.account(f.requesters[0]).Available != 10_000*credit {
		t.Errorf("%v, %v left", b.Verdict, f.account(f.requesters[0]).Available)
	}
	f.same()
}

// One buyer's reservations, which cost nothing, once kept all others from buying.
func TestOneBuyerCannotReserveAllTickets(t *testing.T) {
	f := lotteryFarm(t, auction.TicketWinnerPays, 0, 35)
	f.must(f.ticketCommand(0, 500))
	if got := f.refused(build.CodeBusy, f.ticketCommand(0, 13)); !strings.Contains(got, "512") {
		t.Errorf("%q", got)
	}
	f.must(f.ticketCommand(0, 12))
	f.must(f.ticketCommand(1, 1))
	if a := f.account(f.requesters[0]); a.Held != 512*ticketPrice {
		t.Errorf("%v held", a.Held)
	}
	f.same()
}

func TestLotteryRefusals(t *testing.T) {
	f := lotteryFarm(t, auction.TicketWinnerPays, 0, 36)
	f.extraPool(build.Pool{Name: "spot", Lane: build.LaneSpot})
	f.must(f.command(f.admin, build.TypeBurn, &build.Money{Account: build.AccountID(f.requesters[1]), Amount: 9_999 * credit}))
	priced := f.terms(build.LaneLottery)
	priced.Reserve, priced.Value = credit, auction.Constant(credit)
	priced.Budget = priced.MinBudget(&f.genesis.Params)
	buy := func(pool string, n uint64) *build.BuyTickets { return &build.BuyTickets{Pool: pool, Count: n} }
	for name, c := range map[string]struct {
		code build.Code
		m    build.Command
		says string
	}{
		"none":         {build.CodeMalformed, f.ticketCommand(0, 0), "want 1 to 1000"},
		"too many":     {build.CodeMalformed, f.ticketCommand(0, 1_001), "want 1 to 1000"},
		"far too many": {build.CodeMalformed, f.ticketCommand(0, 1<<63), "want 1 to 1000"},
		"no funds":     {build.CodeFunds, f.ticketCommand(1, 3), "cost 1.5 credits, the balance is 1"},
		"wrong lane":   {build.CodeWrongState, f.command(f.requesters[0], build.TypeTickets, buy("spot", 1)), "sells no tickets"},
		"unknown pool": {build.CodeRefused, f.command(f.requesters[0], build.TypeTickets, buy("nowhere", 1)), "no pool"},
		"a worker":     {build.CodeNotAllowed, f.command(f.workers[0], build.TypeTickets, buy("pool", 1)), "only a requester"},
		"a price":      {build.CodeRefused, f.command(f.requesters[0], build.TypeSubmit, &build.Submit{Terms: priced}), "leave the maximum price out"},
	} {
		if got := f.refused(c.code, c.m); !strings.Contains(got, c.says) {
			t.Errorf("%s: %q does not say %q", name, got, c.says)
		}
	}
	f.must(f.ticketCommand(1, 2))
	if k := f.market("pool"); k.Lottery.Sold != 2 || len(k.Lottery.Holders) != 1 {
		t.Errorf("%d tickets are sold to %d holders", k.Lottery.Sold, len(k.Lottery.Holders))
	}
	f.same()
}
