package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/lab/cases"
)

// What the laboratory tells people, beside its numbers. Each row was once told
// wrongly, or not at all.
func TestLabWording(t *testing.T) {
	candle := []string{"candle", "--value", "100"}
	pool := []string{"--workers", "20", "--colluders", "6", "--validators", "3"}
	for name, c := range map[string]struct {
		args  []string
		says  []string
		never []string
	}{
		"no bid gains": { // told a bid of 601, a chance of -8.7e-18 and a utility of 4e-15
			append(candle, "--bidders", "101", "--rival", "600"),
			[]string{"best            -      do not bid  0       0\n", "No bid that can win earns anything: do not bid."}, []string{"e-", "601"}},
		"the document's bid loses": {
			append(candle, "--bidders", "2", "--rival", "60"), []string{"1/√(2−1) = 1 bids 160, above the value of 100"}, []string{"do not bid"}},
		"a bid that gains": {append(candle, "--bidders", "101", "--rival", "60"), []string{"best            0.06262"}, []string{"do not bid", "above the value"}},
		"costs are drawn, and paid out": {
			[]string{"simulate", "--mechanism", "vickrey", "--reserve", "2", "--rounds", "100"}, []string{"costs uniform", "paid out, all honest"}, []string{"values", "revenue"}},
		"values are drawn, and earn": {
			[]string{"simulate", "--mechanism", "second-price", "--rounds", "100"}, []string{"values uniform", "revenue, all honest"}, []string{"costs", "paid out"}},
		"several units of buyers": {
			[]string{"compare", "--values", "5,4,3,2", "--units", "2"}, []string{"REVENUE", "gsp-slots"}, []string{"not solved"}},
		"several units of sellers": { // the manual's example
			[]string{"compare", "--costs", "1,2,3,4", "--reserve", "5", "--units", "2"}, []string{"PAID OUT", "vcg", "uniform-last", "gsp", "first"}, []string{"not solved", "vickrey", "REVENUE"}},
		"a ticket that nobody wants": {
			[]string{"compare", "--values", "4,2", "--price", "5", "--mechanism", "lottery-winner-pays"}, []string{"nobody's value reaches the ticket price 5"}, []string{"the drawn ticket pays"}},
		"a ticket that somebody wants": {
			[]string{"compare", "--values", "6,2", "--price", "5", "--mechanism", "lottery-winner-pays"}, []string{"the drawn ticket pays 5"}, []string{"nobody's value"}},
		"the ends of a forgery": {append([]string{"odds"}, pool...), []string{"all  ", "flip  ", "slash  ", "split  "}, nil},
	} {
		code, out, stderr := call(t.Context(), append([]string{"lab"}, c.args...)...)
		if code != exitDone {
			t.Errorf("%s: exit %d, %s", name, code, stderr)
		}
		for _, text := range c.says {
			if !strings.Contains(out, text) {
				t.Errorf("%s: no %q in\n%s", name, text, out)
			}
		}
		for _, text := range c.never {
			if strings.Contains(out, text) {
				t.Errorf("%s: %q in\n%s", name, text, out)
			}
		}
	}
}

// The table called an end flip that the picture called acquitted.
func TestLabOddsNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odds.svg")
	code, table, stderr := call(t.Context(), "lab", "odds", "--workers", "20", "--colluders", "6", "--plot", path)
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	picture, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, title := range map[string]string{"all": "forgery agreed", "flip": "honest convicted", "slash": "forger convicted", "split": "undecided"} {
		if !strings.Contains(table, "\n"+name+" ") || !strings.Contains(string(picture), name+": "+title) {
			t.Errorf("table and picture do not both have %s", name)
		}
	}
}

// Which fields a rule takes was to be found out from refusals.
func TestLabClearManual(t *testing.T) {
	code, manual, _ := call(t.Context(), "lab", "clear", "--help")
	if code != exitDone {
		t.Fatalf("exit %d", code)
	}
	words := strings.Join(strings.Fields(manual), " ")
	for name, rule := range cases.Rules {
		if !strings.Contains(words, name) {
			t.Errorf("the manual lacks %s", name)
		}
		for _, form := range rule.Forms {
			for _, text := range []string{"takes " + form.Takes, "prints " + form.Prints, "such as " + form.Example} {
				if !strings.Contains(words, text) {
					t.Errorf("of %s the manual lacks %q", name, text)
				}
			}
		}
	}
}

// full is an output that takes nothing.
type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

// A result that nobody could read is no success, whatever the case.
func TestLabResultThatIsNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "case.json")
	if err := os.WriteFile(path, []byte(`{"rule":"candle-ranges","periods":4,"expect":{"ranges":10}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"clear", path}, {"clear", path, "--check"}, {"mechanisms"}, {"mechanisms", "--json"}, {"compare", "--values", "4,2"},
		{"odds", "--workers", "20", "--colluders", "6"}, {"candle", "--bidders", "3", "--value", "1"},
	} {
		var stderr strings.Builder
		if code := run(t.Context(), append([]string{"lab"}, args...), full{}, &stderr); code != exitFailed || !strings.Contains(stderr.String(), errFull.Error()) {
			t.Errorf("gavel lab %s: exit %d, %q", strings.Join(args, " "), code, stderr.String())
		}
	}
}
