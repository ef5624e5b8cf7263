package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// demoSummary is what demo --json prints.
type demoSummary struct {
	Builds    []*buildReport `json:"builds"`
	Slashed   []string       `json:"slashed"`
	LedgerOK  bool           `json:"ledger_ok"`
	AuditOK   bool           `json:"audit_ok"` // nothing in the log deviates
	ElapsedMS int64          `json:"elapsed_ms"`
}

func newDemoSummary(builds []*demoBuild, ledger *ledgerReport, audited bool, elapsed time.Duration) *demoSummary {
	s := &demoSummary{Builds: []*buildReport{}, Slashed: []string{}, AuditOK: audited, LedgerOK: ledger.balanced() && !ledger.owes(), ElapsedMS: elapsed.Milliseconds()}
	for _, b := range builds {
		s.Builds = append(s.Builds, b.report)
		s.Slashed = append(s.Slashed, b.report.slashed...)
	}
	slices.Sort(s.Slashed)
	s.Slashed = slices.Compact(s.Slashed)
	return s
}

// owes says whether anything is still held, for a build or by it: nothing may be
// once all builds have settled.
func (r *ledgerReport) owes() bool {
	return slices.ContainsFunc(r.Accounts, func(a accountReport) bool {
		return a.Held != 0 || a.Role == escrow.Escrow.String() && a.Available != 0
	})
}

func (s *demoSummary) encode(w io.Writer) error {
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("printing the summary: %w", err)
	}
	return nil
}

// broken lists what was promised and did not come true.
func (s *demoSummary) broken(builds []*demoBuild) (broken []string) {
	forger := workerName(demoForger)
	for _, b := range builds {
		for _, what := range b.broken() {
			broken = append(broken, b.name+": "+what)
		}
	}
	if !slices.Equal(s.Slashed, []string{forger}) {
		broken = append(broken, fmt.Sprintf("slashed were %q, want %s alone", s.Slashed, forger))
	}
	if !s.LedgerOK {
		broken = append(broken, "the ledger does not balance, or something is still held")
	}
	if !s.AuditOK {
		broken = append(broken, "the audit of the log found deviations")
	}
	return broken
}

// broken lists what was promised of one build and did not come true.
func (b *demoBuild) broken() (broken []string) {
	want := func(ok bool, format string, args ...any) {
		if !ok {
			broken = append(broken, fmt.Sprintf(format, args...))
		}
	}
	forger := workerName(demoForger)
	want(b.report.Verdict == b.verdict.String(), "the verdict is %q, want %s", b.report.Verdict, b.verdict)
	want(b.view.Status == build.StatusExited.String() && b.report.ExitCode == 0, "the command ended %s %d, want exited 0", b.view.Status, b.report.ExitCode)
	want(len(b.report.Outputs) == 1 && b.report.Outputs[0].Path == b.output && b.served[b.output] == b.report.Outputs[0].Digest,
		"the output %s was to be delivered, and %v was", b.output, b.served)
	want(b.reference == "" || b.served[b.output] == b.reference, "the output differs from what this machine builds without the farm, %s", b.reference)
	want(len(b.doubts) == 0, "%s", strings.Join(b.doubts, "; "))
	switch b.verdict {
	case build.Judged:
		want(b.report.Winner == forger, "%s won it, want %s", b.report.Winner, forger)
		want(slices.Equal(b.report.slashed, []string{forger}), "slashed were %q, want %s", b.report.slashed, forger)
		want(cost(b.view) == 0, "it cost the requester %s credits, want a full refund", escrow.Credits(cost(b.view)))
		agreed := agreeing(b.report.Panel)
		want(len(b.report.Panel) >= 3 && 3*agreed >= 2*len(b.report.Panel), "%d of a panel of %d agree with what was delivered", agreed, len(b.report.Panel))
	case build.Agreed:
		want(agreeing(b.report.Validators) == demoValidators, "%d validators agree, want %d", agreeing(b.report.Validators), demoValidators)
		want(b.view.Payment == b.view.MaximumPrice-b.view.Reference && b.view.Payment >= b.view.Price, "the winner was paid %s, want the second price, %s",
			escrow.Credits(b.view.Payment), escrow.Credits(b.view.MaximumPrice-b.view.Reference))
		fallthrough
	default:
		want(len(b.report.slashed) == 0, "slashed were %q, want nobody", b.report.slashed)
	}
	if b.verdict != build.NonDeterministic {
		want(len(b.proven) > demoValidators-1, "only %q attested what was delivered", b.proven)
	}
	return broken
}

func agreeing(seats []seatReport) (n int) {
	for _, s := range seats {
		if s.Agreed {
			n++
		}
	}
	return n
}

// cost is what a build cost its requester, in micro-credits.
func cost(b *gavelv1.Build) (sum int64) {
	for _, t := range b.Transfers {
		if t.From == b.RequesterName {
			sum += t.Amount
		}
		if t.To == b.RequesterName {
			sum -= t.Amount
		}
	}
	return sum
}

// write shows the summary.
func (s *demoSummary) write(to *screen, builds []*demoBuild, ledger *ledgerReport, broken []string) {
	to.heading("What came of it")
	rows := [][]string{{"build", "verdict", "winner", "price → paid", "cost", "rebuilt by", "time"}}
	for _, b := range builds {
		var validators []string
		for _, v := range b.report.Validators {
			validators = append(validators, v.Worker)
		}
		rows = append(rows, []string{b.name, b.report.Verdict, b.report.Winner, escrow.Credits(b.view.Price).String() + " → " + escrow.Credits(b.view.Payment).String(),
			escrow.Credits(cost(b.view)).String(), strings.Join(validators, ", "), fmt.Sprintf("%.1f s", b.took.Seconds())})
	}
	for i, row := range table(rows) {
		if i == 0 {
			row = to.paint(dim, row)
		}
		to.line("  " + row)
	}
	to.line("")
	to.line("  slashed: " + to.paint(red, enumerate(s.Slashed)))
	sum := fmt.Sprintf("%s credits on all accounts = %s minted − %s burned", escrow.Credits(ledger.Total), escrow.Credits(ledger.Minted), escrow.Credits(ledger.Burned))
	if s.LedgerOK {
		to.line("  ledger:  " + to.paint(green, "balances") + ", nothing is held; " + sum)
	} else {
		to.line("  ledger:  " + to.paint(red, "DOES NOT BALANCE") + "; " + sum)
	}
	to.line(fmt.Sprintf("  elapsed: %.1f s", float64(s.ElapsedMS)/1000))
	to.line("")
	if len(broken) == 0 {
		to.line("  " + to.paint(green, "All as promised.") + " A cheat was caught, an honest build was paid, and nobody had to be trusted for it.")
	}
	for _, what := range broken {
		to.line("  " + to.paint(red, "NOT AS PROMISED") + "  " + what)
	}
}

// table aligns columns; widths count characters.
func table(rows [][]string) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var lines []string
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + spaces(widths[i]-len([]rune(cell))+2))
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}
