package main

import (
	"fmt"
	"strings"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
)

// varyDefault is what --vary alone means.
const varyDefault = "all"

// dimensionWords say what each dimension is, for a person.
var dimensionWords = map[string]string{
	"path": "the build path", "hostname": "the host name", "uid": "the user id", "umask": "the umask", "locale": "the locale",
	"timezone": "the time zone", "clock": "the clock", "cpus": "the number of CPUs", "order": "the directory order", "addresses": "address randomisation",
}

// parseVary reads the flag's list.
func parseVary(names []string) (build.Dimensions, error) {
	d, err := build.ParseDimensions(names)
	if err != nil {
		return 0, usage("--vary: %v", err)
	}
	return d, nil
}

// dependenceReport is a dimension of the environment that changes the result.
type dependenceReport struct {
	Dimension string `json:"dimension"`
	Found     uint32 `json:"found"` // validators whose result it changed
	Tried     uint32 `json:"tried"` // of so many that varied it
}

func dependences(b *gavelv1.Build) []dependenceReport {
	if len(b.Vary) == 0 {
		return nil
	}
	out := []dependenceReport{}
	for _, x := range b.Dependences {
		out = append(out, dependenceReport{x.Dimension, x.Found, x.Tried})
	}
	return out
}

// unvaried says that some validator's varied build gave another result.
func (r *buildReport) unvaried() bool {
	for _, seats := range [][]seatReport{r.Validators, r.Panel} {
		for _, s := range seats {
			if s.Finding != "" && s.Finding != build.FindSame.String() {
				return true
			}
		}
	}
	return false
}

// writeVaried says what varying the environment showed.
func (r *buildReport) writeVaried(term *terminal) {
	if len(r.Varied) == 0 || r.Verdict == "" {
		return
	}
	for _, d := range r.DependsOn {
		term.print("  %s on %s (%s): %d of %s that varied it got another result", term.paint(red, "depends"), dimensionWords[d.Dimension], d.Dimension, d.Found, count(int64(d.Tried), "validator"))
	}
	tried := map[string]bool{}
	same := 0
	for _, s := range r.Validators {
		for _, name := range s.Tried {
			tried[name] = true
		}
		switch s.Finding {
		case build.FindSame.String():
			same++
		case build.FindTogether.String():
			term.print("  %s got another result with everything varied, and with no single thing: several together matter", s.Worker)
		case build.FindUnstable.String():
			term.print("  %s got different results in one and the same environment: the build is not deterministic", s.Worker)
		case build.FindUnfinished.String():
			term.print("  %s got another result when it varied the environment, or hit a limit, and could not find out why", s.Worker)
		}
	}
	if same > 0 && same == len(r.Validators) {
		term.print("  the same result with %s varied, by %s", strings.Join(inOrder(r.Varied, tried), ", "), count(int64(same), "validator"))
	}
	var untried []string
	for _, name := range r.Varied {
		if !tried[name] {
			untried = append(untried, name)
		}
	}
	if len(untried) > 0 && len(tried) > 0 {
		term.print("  not varied, because no validator's machine can: %s", strings.Join(untried, ", "))
	}
}

// inOrder lists the members of all that are in some.
func inOrder(all []string, some map[string]bool) []string {
	var out []string
	for _, name := range all {
		if some[name] {
			out = append(out, name)
		}
	}
	return out
}

// explainVaried says in the reason on what the result depends.
func (r *buildReport) explainVaried() {
	var on []string
	for _, d := range r.DependsOn {
		on = append(on, fmt.Sprintf("%s (%s)", dimensionWords[d.Dimension], d.Dimension))
	}
	if len(on) > 0 {
		r.Reason = sentences(r.Reason, "the result depends on "+strings.Join(on, ", "))
	}
}
