package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

func id32(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func attempt(round build.Round, seat uint32, n string, result byte) *gavelv1.Attempt {
	a := &gavelv1.Attempt{Round: round.String(), Seat: seat, Worker: "worker-" + n, Operator: "operator-" + n, State: "opened", CommittedMillis: 5}
	if result != 0 {
		a.Result, a.Agreed = id32(result), result == 1
	}
	return a
}

// judgedBuild is one that worker-8 forged, with a seat that was replaced.
func judgedBuild() *gavelv1.Build {
	return &gavelv1.Build{
		Id: id32(0xab), State: "settled", Verdict: "judged", Reason: "results differed; a panel of 3 decided against 1", Winner: "worker-8",
		Price: 180_000, Payment: 0, Reference: 8_900_000, MaximumPrice: 10_000_000, Auctioneer: "coordinator-2", Bids: 8, Reveals: 8,
		StartedMillis: 3, CommittedMillis: 5, VerdictMillis: 9, Delivered: true, Result: id32(1), Status: "exited", Slashed: []string{"worker-8"},
		RequesterName: "requester",
		Attempts: []*gavelv1.Attempt{
			attempt(build.RoundFirst, 0, "8", 2),
			{Round: "first", Seat: 1, Worker: "worker-7", Operator: "operator-7", State: "silent"},
			attempt(build.RoundFirst, 2, "3", 1), attempt(build.RoundFirst, 1, "4", 1),
			attempt(build.RoundRecheck, 0, "8", 3), attempt(build.RoundRecheck, 1, "4", 1), attempt(build.RoundRecheck, 2, "3", 1),
			attempt(build.RoundPanel, 1, "5", 1), attempt(build.RoundPanel, 2, "6", 1), attempt(build.RoundPanel, 3, "1", 1),
		},
		Transfers: []*gavelv1.Transfer{
			{Id: id32(1), Purpose: "escrow", From: "requester", To: "escrow", Amount: 21_100_000},
			{Id: id32(2), Purpose: "slash", From: "worker-8", To: "treasury", Amount: 11_900_000},
			{Id: id32(3), Purpose: "refund", From: "escrow", To: "requester", Amount: 21_100_000},
		},
	}
}

func houseBuild() *gavelv1.Build {
	b := judgedBuild()
	b.House, b.Price, b.Reference, b.Auctioneer, b.Transfers, b.Slashed = true, 0, 0, "", nil, nil
	return b
}

func TestReportJSON(t *testing.T) {
	for name, b := range map[string]*gavelv1.Build{
		"report-spot.json": judgedBuild(), "report-house.json": houseBuild(),
		"report-queued.json": {Id: id32(0xcd), State: "queued"},
	} {
		raw, err := json.MarshalIndent(newReport(b), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, append(raw, '\n'))
	}
}

func TestReportForPeople(t *testing.T) {
	var out bytes.Buffer
	r := newReport(judgedBuild())
	r.Outputs = []outputReport{{Path: "bin/app", Digest: sha256Text(id32(7)), Size: 42}}
	r.Attestations = []string{"/farm/attestations/b/worker-3.sigstore.json"}
	if err := r.write(&terminal{out: &out}); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", out.Bytes())
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		verdict, status string
		code            uint32
		want, warned    int
	}{
		{"agreed", "exited", 0, 0, 0}, {"judged", "exited", 0, 0, 0}, {"unsampled", "exited", 0, 0, 0},
		{"agreed", "exited", 7, 1, 1}, {"judged", "exited", 1, 1, 1}, {"unsampled", "exited", 1, 1, 1},
		{"agreed", "timeout", 0, 1, 1}, {"agreed", "out-of-memory", 0, 1, 1}, {"agreed", "missing-output", 0, 1, 1}, {"agreed", "signaled", 0, 1, 1},
		{"non-deterministic", "exited", 0, 3, 0}, {"environment-dependent", "exited", 0, 3, 0}, {"unverified", "", 0, 3, 0}, {"too-few", "", 0, 3, 0},
		{"failed", "", 0, 3, 0}, {"cancelled", "", 0, 3, 0}, {"expired", "", 0, 3, 0}, {"no-bids", "", 0, 3, 0}, {"", "", 0, 3, 0},
	} {
		r := newReport(&gavelv1.Build{Verdict: c.verdict, Status: c.status, ExitCode: c.code})
		if got, warned := r.exitCode(false), r.exitCode(true); got != c.want || warned != c.warned {
			t.Errorf("%s, %s %d: exit status %d and with warn %d, want %d and %d", c.verdict, c.status, c.code, got, warned, c.want, c.warned)
		}
	}
}

// Every way in which a command fails is named in the reason.
func TestReasonNamesTheFailure(t *testing.T) {
	for status, want := range map[string]string{
		"exited 3": "status 3", "exited 127": "not in the build's root", "timeout 0": "--timeout", "out-of-memory 0": "--memory",
		"missing-output 0": "output unmade", "signaled 0": "signal",
	} {
		kind, code, _ := strings.Cut(status, " ")
		b := &gavelv1.Build{Verdict: "agreed", Delivered: true, Status: kind}
		for _, digit := range code {
			b.ExitCode = b.ExitCode*10 + uint32(digit-'0')
		}
		r := newReport(b)
		r.explainEnd(b)
		if !strings.Contains(r.Reason, want) {
			t.Errorf("%s: %q does not say %q", status, r.Reason, want)
		}
	}
}

func TestSidesOfADifference(t *testing.T) {
	a, others := sides(judgedBuild())
	if a == nil || a.name != "worker-3" || len(others) != 2 || others[0].name != "worker-8" || others[1].name != "worker-8 (second try)" {
		t.Errorf("got %v against %v", a, others)
	}
	if _, others := sides(&gavelv1.Build{Result: id32(1), Attempts: []*gavelv1.Attempt{attempt(0, 0, "1", 1), attempt(0, 1, "2", 1)}}); len(others) != 0 {
		t.Errorf("equal results have sides: %v", others)
	}
	// Nobody's is delivered: the first is compared with the rest.
	a, others = sides(&gavelv1.Build{Attempts: []*gavelv1.Attempt{attempt(0, 0, "1", 4), attempt(0, 1, "2", 5)}})
	if a.name != "worker-1" || len(others) != 1 {
		t.Errorf("got %v against %v", a, others)
	}
}

// Events are told once and in order, whatever views were missed.
func TestNarrator(t *testing.T) {
	views := []*gavelv1.Build{
		{State: "queued"}, {State: "queued"},
		{State: "bidding", Auctioneer: "coordinator-2"},
		{State: "running", Auctioneer: "coordinator-2", Winner: "worker-8", Bids: 8, Price: 180_000, MaximumPrice: 10_000_000, Reference: 8_900_000, StartedMillis: 3},
		judgedBuild(), judgedBuild(),
	}
	var all []string
	n := newNarrator()
	for _, v := range views {
		all = append(all, n.tell(v)...)
	}
	golden(t, "narration.txt", []byte(strings.Join(all, "\n")+"\n"))
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(all) {
		t.Errorf("something was told twice: %q", all)
	}
	// One view at the end tells the same, but for states that it cannot show.
	late := newNarrator().tell(judgedBuild())
	for _, line := range late {
		if !slices.Contains(all, line) {
			t.Errorf("told late: %q", line)
		}
	}
}

// Nothing that is printed about a house pool's build mentions a price.
func TestHouseKnowsNoMoney(t *testing.T) {
	var out bytes.Buffer
	if err := newReport(houseBuild()).write(&terminal{out: &out}); err != nil {
		t.Fatal(err)
	}
	text := out.String() + strings.Join(newNarrator().tell(houseBuild()), "\n")
	for _, word := range []string{"price", "paid", "credit", "asked", "bid", "escrow", "refund"} {
		if strings.Contains(text, word) {
			t.Errorf("%q is in:\n%s", word, text)
		}
	}
}

// A lane without an auction for each build says how else the builder was found,
// and nothing of sealed bids.
func TestLanesSayWhoBuildsAndWhy(t *testing.T) {
	payment := int64(1_200_000)
	for lane, c := range map[string]struct{ told, wages string }{
		"batch":   {"allotted to worker-8 in epoch 3", "asked for 1 and was paid 1.2"},
		"lease":   {"goes to worker-8, which is leased", "which is leased"},
		"lottery": {"its owner's ticket has slot 5; worker-8 was drawn", "in slot 5 of the lottery"},
	} {
		b := &gavelv1.Build{State: "settled", Verdict: "agreed", Lane: lane, Winner: "worker-8", Epoch: 3, Slot: 5}
		told := strings.Join(newNarrator().tell(b), "\n")
		price := int64(1_000_000)
		r := &buildReport{State: "settled", Lane: lane, Slot: 5, Price: &price, Payment: &payment}
		if !strings.Contains(told, c.told) || strings.Contains(told, "sealed bids") || !strings.Contains(r.wages(), c.wages) {
			t.Errorf("%s: told %q, wages %q", lane, told, r.wages())
		}
	}
}

func TestLedgerBalance(t *testing.T) {
	good := ledgerReport{Minted: 100, Burned: 10, Total: 90, Accounts: []accountReport{{Available: 50, Held: 5, Stake: 5}, {Available: 30}}}
	if !good.balanced() {
		t.Error("a balanced ledger does not balance")
	}
	for name, spoil := range map[string]func(*ledgerReport){
		"too much": func(r *ledgerReport) { r.Accounts[1].Available++ }, "below zero": func(r *ledgerReport) { r.Accounts[0].Held, r.Accounts[1].Held = -1, 6 },
		"total": func(r *ledgerReport) { r.Total++ }, "burned": func(r *ledgerReport) { r.Burned++ },
	} {
		r := good
		r.Accounts = slices.Clone(good.Accounts)
		if spoil(&r); r.balanced() {
			t.Errorf("%s: balances", name)
		}
	}
}

func TestAccountsAreListedInOrder(t *testing.T) {
	var got []string
	list := []accountReport{{Name: "worker-10", Role: "worker"}, {Name: "treasury", Role: "treasury"}, {Name: "worker-2", Role: "worker"}, {Name: "escrow-1", Role: "escrow"}, {Name: "requester", Role: "requester"}}
	slices.SortFunc(list, compareAccounts)
	for _, a := range list {
		got = append(got, a.Name)
	}
	if want := []string{"requester", "worker-2", "worker-10", "treasury", "escrow-1"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if name := accountName(&gavelv1.Account{Id: id32(9), Role: escrow.Escrow.String()}); name != "escrow-09090909" {
		t.Errorf("an escrow is called %q", name)
	}
}

// A build that is allotted and has not begun says what it waits for: in a batch it
// once looked like one that nobody would take.
func TestAllottedBuildSaysSo(t *testing.T) {
	b := &gavelv1.Build{Id: id32(0xcd), State: "queued", Pool: "burst", Lane: "batch", Epoch: 2}
	var out bytes.Buffer
	if err := newReport(b).write(&terminal{out: &out}); err != nil {
		t.Fatal(err)
	}
	if want := "  allotted in epoch 2 of pool burst, waits for its worker\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is not in %s", want, &out)
	}
	if told := strings.Join(newNarrator().tell(b), "; "); told != "waits for its turn; allotted in epoch 2, waits for its worker" {
		t.Errorf("told %q", told)
	}
	out.Reset()
	b.State, b.Winner = "running", "worker-3"
	if err := newReport(b).write(&terminal{out: &out}); err != nil || strings.Contains(out.String(), "waits for its worker") {
		t.Errorf("once it runs: %v, %s", err, &out)
	}
}
