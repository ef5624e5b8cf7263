//go:build itest

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"gavel/raftfsm/escrow"
)

// cli runs a subcommand on the farm and wants an exit status.
func (f *testFarm) cli(code int, args ...string) string {
	f.t.Helper()
	got, stdout, stderr := call(f.t.Context(), append(args, "--farm", f.dir)...)
	if got != code {
		f.t.Fatalf("gavel %s: exit status %d, want %d: %s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout
}

// recomputed runs pool verify, which must find everything as recorded and name
// the things given.
func (f *testFarm) recomputed(pool string, things ...string) {
	f.t.Helper()
	var checks []poolCheck
	f.ask(&checks, "pool", "verify", pool)
	text := ""
	for _, c := range checks {
		if !c.OK {
			f.t.Errorf("pool verify %s: %s: %s", pool, c.What, c.Detail)
		}
		text += c.What + "\n"
	}
	for _, want := range things {
		if !strings.Contains(text, want) {
			f.t.Errorf("pool verify %s recomputed no %q, only\n%s", pool, want, text)
		}
	}
}

// burst submits n builds of one small action to a pool, and waits until all have
// settled.
func (f *testFarm) burst(pool string, n int) []*buildReport {
	f.t.Helper()
	project := f.t.TempDir()
	if err := os.WriteFile(filepath.Join(project, "build.sh"), []byte(honest), 0o644); err != nil {
		f.t.Fatal(err)
	}
	reports := make([]*buildReport, n)
	var wg sync.WaitGroup
	places := make(chan struct{}, 16)
	for i := range n {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			code, stdout, stderr := call(f.t.Context(), "submit", "--farm", f.dir, "--json", "--pool", pool, "--output", "out", "--detach", project, "--", "sh", "build.sh")
			r := new(buildReport)
			if err := json.Unmarshal([]byte(stdout), r); code != exitDone || err != nil {
				f.t.Errorf("submit: exit status %d, %v: %s%s", code, err, stdout, stderr)
				return
			}
			reports[i] = r
		})
	}
	wg.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
	for i, r := range reports {
		reports[i] = f.until(r.Build, func(r *buildReport) bool { return r.State == "settled" })
	}
	return reports
}

// unit is one action that an ask offers.
type unit struct {
	worker string
	price  int64
}

// naivePrices prices n units by a rule read from its definition, over a list with
// one entry for each unit on offer, in order of sale.
func naivePrices(pricing string, offered []unit, n int, reserve int64) map[string]int64 {
	at := func(i int) int64 {
		if i < len(offered) {
			return offered[i].price
		}
		return reserve
	}
	paid := map[string]int64{}
	for i, u := range offered[:n] {
		switch pricing {
		case "first":
			paid[u.worker] += u.price
		case "gsp":
			paid[u.worker] += at(i + 1)
		case "uniform":
			paid[u.worker] += at(n)
		case "uniform-last":
			paid[u.worker] += at(n - 1)
		}
	}
	if pricing != "vcg" {
		return paid
	}
	cost := func(list []unit) (sum int64) { // of the n cheapest
		for i := range n {
			if i < len(list) {
				sum += list[i].price
			} else {
				sum += reserve
			}
		}
		return sum
	}
	for _, u := range offered[:n] {
		others := slices.DeleteFunc(slices.Clone(offered), func(o unit) bool { return o.worker == u.worker })
		own := int64(0)
		for _, o := range offered[:n] {
			if o.worker == u.worker {
				own += o.price
			}
		}
		paid[u.worker] = cost(others) - (cost(offered) - own)
	}
	return paid
}

// inOneEpoch submits n builds to a new pool of a pricing, and again to another with
// an epoch twice as long, should the first be over before all have been submitted.
// It returns how many pools that took, the last one's name, and its builds.
func (f *testFarm) inOneEpoch(pricing string, n int) (pools int, pool string, reports []*buildReport) {
	f.t.Helper()
	for epoch := 30 * time.Second; epoch <= 4*time.Minute; epoch *= 2 {
		pools++
		pool = fmt.Sprintf("batch-%s-%s", pricing, epoch)
		f.cli(exitDone, "pool", "create", pool, "--lane", "batch", "--pricing", pricing, "--reserve", "3", "--epoch", epoch.String())
		f.cli(exitDone, "account", "mint", "requester", "8000")
		reports = f.burst(pool, n)
		late := 0
		for _, r := range reports {
			if r.Epoch != 1 {
				late++
			}
		}
		if late == 0 {
			return pools, pool, reports
		}
		f.t.Logf("%d of %d builds came after an epoch of %s", late, n, epoch)
	}
	f.t.Fatal("this machine is too slow")
	return 0, "", nil
}

// A batch of 500 actions over an epoch is priced by each rule, and the price is
// computed again: by hand, by gavel lab clear, and by gavel pool verify. Every
// build is paid its equal part, rounded down.
func TestBatchOf500IsPricedByEachRule(t *testing.T) {
	const builds = 500
	f := newTestFarm(t)
	all := 0 // pools, each of which has asks for its next epoch
	for _, pricing := range []string{"vcg", "uniform", "uniform-last", "gsp", "first"} {
		t.Run(pricing, func(t *testing.T) {
			f.t = t
			pools, pool, reports := f.inOneEpoch(pricing, builds)
			all += pools
			paid := map[string]int64{}
			for _, r := range reports {
				if r.Verdict != "agreed" || r.Payment == nil {
					t.Fatalf("report: %+v", r)
				}
				paid[r.Winner] += *r.Payment
			}
			f.recomputed(pool, "epoch 1: the draw", "epoch 1: the order of equal prices", "epoch 1, lot 0: prices by "+pricing)
			text := f.cli(exitDone, "pool", "show", pool, "--case", "0")
			file := filepath.Join(t.TempDir(), "case.json")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if code, _, stderr := call(t.Context(), "lab", "clear", "--check", file); code != exitDone {
				t.Errorf("lab clear --check: %s", stderr)
			}
			var one marketCase
			if err := json.Unmarshal([]byte(text), &one); err != nil || one.Units != builds {
				t.Fatalf("the case is of %d builds, %v", one.Units, err)
			}
			var offered []unit
			for _, s := range one.Sellers {
				for range s.Capacity {
					offered = append(offered, unit{s.ID, s.Price})
				}
			}
			if want := naivePrices(pricing, offered, builds, one.Reserve); !maps.Equal(want, one.Expect.Payments) {
				t.Errorf("paid %v, by hand %v", one.Expect.Payments, want)
			}
			for worker, total := range one.Expect.Payments {
				n := int64(one.Expect.Allocation[worker])
				if paid[worker] != total/n*n {
					t.Errorf("the builds of %s earned %d, its payment for %d is %d", worker, paid[worker], n, total)
				}
			}
			for _, a := range f.conserved().Accounts { // each pool's next epoch has an ask of every worker, with a bond of the reserve
				if most := int64(all) * 3 * int64(escrow.One); a.Role == "escrow" || a.Role == "worker" && a.Held > most || a.Role != "worker" && a.Held != 0 {
					t.Errorf("held beyond %d for asks: %+v", most, a)
				}
			}
		})
	}
	f.t = t
}

// bidders makes n accounts with credits and returns the paths of their keys, by name.
func (f *testFarm) bidders(n int) map[string]string {
	f.t.Helper()
	out := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("team-%d", i+1)
		path := filepath.Join(f.dir, "keys", name)
		if code, _, stderr := call(f.t.Context(), "keys", "new", path); code != exitDone {
			f.t.Fatalf("keys: %s", stderr)
		}
		f.cli(exitDone, "account", "open", name, "--key", path)
		f.cli(exitDone, "account", "mint", name, "1000")
		out[name] = path
	}
	return out
}

// balances are the accounts by name.
func (f *testFarm) balances(names map[string]string) map[string]accountReport {
	f.t.Helper()
	r := new(ledgerReport)
	f.ask(r, "account")
	out := map[string]accountReport{}
	for name := range names {
		a, _ := r.find(name)
		out[name] = a
	}
	return out
}

// Four teams bid for a worker while the candle burns. The close is drawn when it
// is over, no later than its end; until then everything stays reserved, and then
// who lost has everything back. The leased worker serves its holder alone.
func TestCandleAuction(t *testing.T) {
	f := newTestFarm(t)
	teams := f.bidders(4)
	f.cli(exitDone, "pool", "create", "ahead", "--lane", "lease", "--period", "30s", "--opening", "4s", "--ending", "8s", "--samples", "16", "--slots", "2", "--reserve", "1")
	bid := func(code, team, last, price int) {
		t.Helper()
		f.cli(code, "lease", "bid", "--pool", "ahead", "--key", teams[fmt.Sprintf("team-%d", team)], "--first", "1", "--last", fmt.Sprint(last), "--price", fmt.Sprint(price))
	}
	for i := range 4 {
		bid(exitDone, i+1, 1+i, 2+i)
	}
	bid(exitUsage, 1, 4, 5)                                                                                                       // does not beat team 4
	f.cli(exitUsage, "lease", "bid", "--pool", "ahead", "--key", teams["team-1"], "--first", "3", "--last", "3", "--price", "90") // leaves a gap to period 1
	var leases leaseReport
	reserved := map[string]int64{"team-1": 2, "team-2": 6, "team-3": 12, "team-4": 20}
	late := 0
	for deadline := time.Now().Add(farmPatience); time.Now().Before(deadline); time.Sleep(250 * time.Millisecond) {
		f.ask(&leases, "lease", "list", "--pool", "ahead")
		if leases.Closed != nil {
			break
		}
		if leases.State == "ending" && late < 3 { // team 1 raises for all periods, again and again
			late++
			bid(exitDone, 1, 4, 5+late)
			reserved["team-1"] += 4 * int64(5+late)
		}
		held := f.balances(teams)
		if f.ask(&leases, "lease", "list", "--pool", "ahead"); leases.Closed != nil {
			break
		}
		for name, a := range held {
			if a.Held != reserved[name]*int64(escrow.One) {
				t.Fatalf("before the close %s has %d reserved, its bids come to %d credits", name, a.Held, reserved[name])
			}
		}
	}
	c := leases.Closed
	if c == nil || late != 3 || len(c.Bids) != 7 {
		t.Fatalf("the auction never closed, or lacks bids: %+v", leases)
	}
	if c.ClosedAt < c.EndingAt || c.ClosedAt >= c.EndedAt {
		t.Errorf("it closed at %d, its ending period went from %d to %d", c.ClosedAt, c.EndingAt, c.EndedAt)
	}
	f.recomputed("ahead", "auction 1: the draw", "auction 1: its close", "auction 1: its winners", "auction 1: its worker")
	if len(c.Won) != 1 || c.Worker == "" || len(leases.Reservations) != 1 {
		t.Fatalf("won: %+v", c)
	}
	// By hand: of the bids in time the last for all four periods was the best.
	best := rangeReport{}
	for _, b := range c.Bids {
		if b.Last == 4 && !b.Void {
			best = b.rangeReport
		}
	}
	if c.Won[0] != best {
		t.Errorf("%+v won, the best bid in time was %+v", c.Won[0], best)
	}
	for name, a := range f.balances(teams) {
		price := best.PerPeriod
		switch {
		case name != best.Bidder && (a.Held != 0 || a.Available != 1000*int64(escrow.One)):
			t.Errorf("%s lost and has not got everything back: %+v", name, a)
		case name == best.Bidder && (a.Held != 4*price || a.Available != 1000*int64(escrow.One)-4*price):
			t.Errorf("%s won at %d a period and has %+v: four periods are reserved, and paid when they are over", name, price, a)
		}
	}
	f.servesItsHolder(c.Worker, teams[best.Bidder])
	f.conserved()
}

// servesItsHolder builds for a lease's holder and for others.
func (f *testFarm) servesItsHolder(leased, key string) {
	f.t.Helper()
	if got := f.submit(honest, "--pool", "ahead", "--key", key).report(exitDone); got.Winner != leased || *got.Payment != 0 || len(got.Bids) != 0 {
		f.t.Errorf("the holder's build went to %s for %d, the lease is of %s", got.Winner, *got.Payment, leased)
	}
	for _, pool := range []string{"ahead", "default", "ahead"} {
		got := f.submit(honest, "--pool", pool).report(exitDone)
		if got.Winner == leased || slices.ContainsFunc(got.Validators, func(v seatReport) bool { return v.Worker == leased }) {
			f.t.Errorf("%s is leased and served another: %+v", leased, got)
		}
	}
}

// Slots go to tickets by draws that anyone can make again; both ticket rules
// move money as they say.
func TestLottery(t *testing.T) {
	f := newTestFarm(t)
	teams := f.bidders(2)
	treasury := func() int64 {
		a, _ := f.conserved().find("treasury") // amounts are reserved for tickets meanwhile
		return a.Available
	}
	for _, c := range []struct {
		rule          string
		atOnce, least int64 // micro-credits in the treasury after three tickets were bought, and at least after two slots were used
	}{{"all-pay", 1_500_000, 1_500_000}, {"winner-pays", 0, 1_000_000}} {
		pool := "free-" + c.rule
		before := treasury()
		f.cli(exitDone, "pool", "create", pool, "--lane", "lottery", "--ticket", "0.5", "--rule", c.rule, "--lookahead", "1", "--slot", "2s")
		f.cli(exitDone, "ticket", "buy", "2", "--pool", pool, "--key", teams["team-1"])
		f.cli(exitDone, "ticket", "buy", "1", "--pool", pool, "--key", teams["team-2"])
		if got := treasury() - before; got != c.atOnce {
			t.Errorf("%s: the treasury took %d when tickets were bought, want %d", c.rule, got, c.atOnce)
		}
		// Both wait at once: a slot whose owner has nothing to build is passed on.
		waiting := []*submission{f.submit(honest, "--pool", pool, "--key", teams["team-1"]), f.submit(honest, "--pool", pool, "--key", teams["team-2"])}
		for _, s := range waiting {
			r := s.report(exitDone)
			if r.Verdict != "agreed" || *r.Payment != 0 || r.Slot == 0 {
				t.Errorf("%s: report: %+v", c.rule, r)
			}
		}
		if got := treasury() - before; got < c.least || got > 1_500_000 {
			t.Errorf("%s: the treasury has %d after slots were used, want %d to three tickets' price", c.rule, got, c.least)
		}
		f.recomputed(pool, "lottery draw 1: the draw", "lottery draw 1: its owners")
		file := filepath.Join(t.TempDir(), "draw.json")
		if err := os.WriteFile(file, []byte(f.cli(exitDone, "ticket", "list", "--pool", pool, "--draw", "1")), 0o644); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := call(t.Context(), "lab", "clear", "--check", file); code != exitDone {
			t.Errorf("%s: lab clear --check: %s", c.rule, stderr)
		}
	}
	f.cli(exitUsage, "submit", "--pool", "free-all-pay", "--max-price", "3", "--output", "out", t.TempDir(), "--", "true")
}

// A place ahead in the queue costs what the next behind it offers; the treasury's
// income is shared equally among the workers.
func TestPriorityIsPaidAndSmoothed(t *testing.T) {
	f := newTestFarm(t, "--treasury", "smooth", "--workers", "6")
	project := t.TempDir()
	if err := os.WriteFile(filepath.Join(project, "build.sh"), []byte("sleep 1; echo x > out"), 0o644); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range 14 { // more than six workers take at once
		code, stdout, stderr := call(t.Context(), "submit", "--farm", f.dir, "--json", "--priority", fmt.Sprint(i%5), "--output", "out", "--detach", project, "--", "sh", "build.sh")
		r := new(buildReport)
		if err := json.Unmarshal([]byte(stdout), r); code != exitDone || err != nil {
			t.Fatalf("submit: exit status %d, %v: %s", code, err, stderr)
		}
		ids = append(ids, r.Build)
	}
	charged := int64(0)
	for _, id := range ids {
		r := f.until(id, func(r *buildReport) bool { return r.State == "settled" })
		if r.Verdict != "agreed" || r.PriorityCharge > r.Priority {
			t.Errorf("report: %+v", r)
		}
		charged += r.PriorityCharge
	}
	if charged == 0 {
		t.Error("nobody waited: the test shows nothing")
	}
	if left := f.account("treasury").Available; left >= 6*100_000 { // six parts of at least 0.1 credits
		t.Errorf("the treasury keeps %d of %d micro-credits", left, charged)
	}
	f.balanced()
}

// A worker that has built an action before sells the result instead of its slot,
// beside others that bid for their slots. Who is too slow to bid is not asked.
func TestFinishedResultsCompeteWithSlots(t *testing.T) {
	const price, tries = 400_000, 4
	f := newTestFarm(t, "--finished-price", "0.4")
	made := map[string]bool{} // by whom
	var output digest.Digest
	for try := range tries {
		r := f.submit(honest).report(exitDone)
		finished := 0
		for _, b := range r.Bids {
			if b.Finished != made[b.Worker] || b.Finished && b.Price != price {
				t.Errorf("try %d: having built it: %v, %s bids %+v", try, made[b.Worker], b.Worker, b)
			}
			if b.Finished {
				finished++
			}
		}
		if r.Verdict != "agreed" || finished > 0 && (r.Price == nil || *r.Price != price) || output != "" && r.Outputs[0].Digest != output {
			t.Errorf("try %d: %+v", try, r)
		}
		if 0 < finished && finished < len(r.Bids) {
			f.balanced()
			return
		}
		output, made[r.Winner] = r.Outputs[0].Digest, true
		for _, v := range r.Validators {
			made[v.Worker] = true
		}
	}
	t.Errorf("in %d builds no finished result was offered beside a slot", tries)
}

// A farm with a second pool was never ready again after a restart. It is, and an
// epoch, an auction and a lottery that it was in the middle of go on.
func TestRestartInTheMiddleOfMarkets(t *testing.T) {
	f := newTestFarm(t)
	teams := f.bidders(1)
	f.cli(exitDone, "pool", "create", "burst", "--lane", "batch", "--reserve", "3", "--epoch", "10s")
	f.cli(exitDone, "pool", "create", "ahead", "--lane", "lease", "--period", "30s", "--opening", "4s", "--ending", "4s", "--slots", "2")
	f.cli(exitDone, "pool", "create", "free", "--lane", "lottery", "--ticket", "0.5")
	f.cli(exitDone, "lease", "bid", "--pool", "ahead", "--key", teams["team-1"], "--last", "2", "--price", "3")
	project := t.TempDir()
	if err := os.WriteFile(filepath.Join(project, "build.sh"), []byte(slow), 0o644); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 12 {
		code, stdout, stderr := call(t.Context(), "submit", "--farm", f.dir, "--json", "--pool", "burst", "--output", "out", "--detach", project, "--", "sh", "build.sh")
		r := new(buildReport)
		if err := json.Unmarshal([]byte(stdout), r); code != exitDone || err != nil {
			t.Fatalf("submit: exit status %d, %v: %s", code, err, stderr)
		}
		ids = append(ids, r.Build)
	}
	f.cli(exitDone, "ticket", "buy", "2", "--pool", "free")
	f.stop()
	f.start()
	for _, id := range ids {
		if r := f.until(id, func(r *buildReport) bool { return r.State == "settled" }); r.Verdict != "agreed" {
			t.Errorf("report: %+v", r)
		}
	}
	if r := f.submit(honest, "--pool", "free").report(exitDone); r.Slot == 0 {
		t.Errorf("report: %+v", r)
	}
	var leases leaseReport
	for deadline := time.Now().Add(farmPatience); time.Now().Before(deadline) && leases.Closed == nil; time.Sleep(250 * time.Millisecond) {
		f.ask(&leases, "lease", "list", "--pool", "ahead")
	}
	if leases.Closed == nil || len(leases.Closed.Won) != 1 {
		t.Errorf("the auction never closed: %+v", leases)
	}
	f.recomputed("burst", "prices by vcg")
	f.recomputed("ahead", "its winners")
	f.recomputed("free", "its owners")
	f.conserved()
}
