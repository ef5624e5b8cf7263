package main

import (
	"fmt"
	"slices"
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

// dependent says that a validator found what was asked for to change the result,
// or the build to be unstable.
func (r *buildReport) dependent() bool {
	for _, s := range r.varying() {
		switch s.Finding {
		case build.FindDepends.String(), build.FindTogether.String(), build.FindUnstable.String():
			return true
		}
	}
	return false
}

// unexplored says that what was asked for was tried by nobody, or without an answer.
func (r *buildReport) unexplored() bool {
	if len(r.Varied) == 0 || r.dependent() {
		return false
	}
	for _, s := range r.varying() {
		if s.Finding == build.FindSame.String() {
			return false
		}
	}
	return true
}

// varying are the seats that were to vary something, none if nothing was asked for.
func (r *buildReport) varying() []seatReport {
	if len(r.Varied) == 0 {
		return nil
	}
	return slices.Concat(r.Validators, r.Panel)
}

// writeVaried says what varying the environment showed.
func (r *buildReport) writeVaried(term *terminal) {
	if len(r.Varied) == 0 || r.Verdict == "" || r.failed() {
		return
	}
	for _, d := range r.DependsOn {
		term.print("  %s on %s (%s): %d of %s that varied it got another result", term.paint(red, "depends"), dimensionWords[d.Dimension], d.Dimension, d.Found, count(int64(d.Tried), "validator"))
	}
	tried := map[string]bool{}
	same := 0
	for _, s := range r.varying() {
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
			term.print("  %s could not finish varying the environment: a limit was hit, or its sandbox failed", s.Worker)
		}
	}
	if same > 0 {
		term.print("  the same result with %s varied, by %s", strings.Join(inOrder(r.Varied, tried), ", "), count(int64(same), "validator"))
	}
	var untried []string
	for _, name := range r.Varied {
		if !tried[name] {
			untried = append(untried, name)
		}
	}
	switch {
	case len(untried) == len(r.Varied):
		term.print("  %s: no validator's machine can vary %s", term.paint(yellow, "nothing was varied"), strings.Join(untried, ", "))
	case len(untried) > 0:
		term.print("  not varied, because no validator's machine can: %s", strings.Join(untried, ", "))
	}
}

// failed says that the delivered result is that of a command which did not
// succeed: validators vary nothing then.
func (r *buildReport) failed() bool {
	return r.Status != "" && failure(r.Status, r.ExitCode) != ""
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

// explainVaried says in the reason on what the result depends, as far as those
// validators agree that could tell.
func (r *buildReport) explainVaried() {
	var on []string
	for _, d := range r.DependsOn {
		on = append(on, fmt.Sprintf("%s (%s)", dimensionWords[d.Dimension], d.Dimension))
	}
	unstable := slices.ContainsFunc(r.varying(), func(s seatReport) bool { return s.Finding == build.FindUnstable.String() })
	switch {
	case len(on) > 0 && unstable:
		r.Reason = sentences(r.Reason, "some validators found the result to depend on "+strings.Join(on, ", ")+", others to differ in one and the same environment")
	case len(on) > 0:
		r.Reason = sentences(r.Reason, "the result depends on "+strings.Join(on, ", "))
	case unstable:
		r.Reason = sentences(r.Reason, "the build is not deterministic: it differs in one and the same environment")
	}
}
