package probe

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Outcome is how one attempt went. It is JSON for a driver that runs suites as
// other users.
type Outcome struct {
	Probe    string
	Category Category
	Tries    string
	Shows    string
	Verdict  Verdict
	Why      string
}

// Report is how all attempts on one runner went.
type Report struct {
	Runner   string
	Notes    []string // what the runner says of this machine
	Unvaried string   // why the runner could not be probed varied in everything
	Outcomes []Outcome
}

// Held says whether nothing succeeded and nothing failed to be tried.
func (r *Report) Held() bool {
	return !slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.Verdict == Succeeded || o.Verdict == Broke })
}

// count is a cell of the table.
type count struct{ tried, succeeded, impossible int }

func (c count) String() string { return fmt.Sprintf("%d/%d/%d", c.tried, c.succeeded, c.impossible) }

func (r *Report) count(category Category) (c count) {
	for _, o := range r.Outcomes {
		if category != "" && o.Category != category {
			continue
		}
		switch o.Verdict {
		case Impossible:
			c.impossible++
		case Succeeded:
			c.succeeded++
			c.tried++
		case Denied:
			c.tried++
		}
	}
	return c
}

// Line is one outcome as a line, with what was tried.
func (o Outcome) Line() string {
	return fmt.Sprintf("%-10s %-26s %s: %s", o.Verdict, o.Probe, o.Tries, o.Why)
}

// WriteTable prints the counts of every category and runner, then why attempts
// could not be made, then in a sentence everything that succeeded or broke.
func WriteTable(w io.Writer, reports []*Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, cell func(*Report) string) {
		fmt.Fprint(t, name)
		for _, r := range reports {
			fmt.Fprint(t, "\t", cell(r))
		}
		fmt.Fprintln(t)
	}
	row("tried/succeeded/not possible here", func(r *Report) string { return r.Runner })
	for _, c := range Categories {
		row(string(c), func(r *Report) string { return r.count(c).String() })
	}
	row("all", func(r *Report) string { return r.count("").String() })
	if err := t.Flush(); err != nil {
		return err
	}
	writeImpossible(w, reports)
	for _, r := range reports {
		if r.Unvaried != "" {
			fmt.Fprintf(w, "not varied in everything: %s: %s.\n", r.Runner, r.Unvaried)
		}
	}
	for _, r := range reports {
		for _, o := range r.Outcomes {
			switch o.Verdict {
			case Succeeded:
				fmt.Fprintf(w, "SUCCEEDED on %s: %s, which %s: %s.\n", r.Runner, o.Probe, o.Tries, strings.TrimSuffix(o.Why, "."))
			case Broke:
				fmt.Fprintf(w, "NOT TRIED on %s: %s, which %s: %s.\n", r.Runner, o.Probe, o.Tries, strings.TrimSuffix(o.Why, "."))
			}
		}
	}
	return nil
}

// writeImpossible says once for each reason which attempts it rules out.
func writeImpossible(w io.Writer, reports []*Report) {
	byReason := map[string][]string{}
	for _, r := range reports {
		for _, o := range r.Outcomes {
			if o.Verdict == Impossible && !slices.Contains(byReason[o.Why], o.Probe) {
				byReason[o.Why] = append(byReason[o.Why], o.Probe)
			}
		}
	}
	for _, why := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(w, "not possible here: %s: %s.\n", strings.Join(byReason[why], ", "), why)
	}
}
