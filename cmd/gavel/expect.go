package main

import (
	"encoding/hex"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/verify/diff"
)

// parseExpect reads PATH=sha256:HEX of each published digest. A path lies at or
// below an output.
func parseExpect(list, outputs []string) ([]build.Expected, error) {
	var out []build.Expected
	for _, text := range list {
		at := strings.LastIndex(text, "=") // a path may have one of its own
		if at < 0 {
			return nil, usage("--expect %q: want PATH=sha256:HEX, a digest that somebody published for that output", text)
		}
		p, sum := path.Clean(filepath.ToSlash(text[:at])), text[at+1:]
		d, err := digest.Parse(sum)
		if err != nil || d.Algorithm() != digest.SHA256 || text[:at] == "" || !build.CleanPath(p) {
			return nil, usage("--expect %q: want PATH=sha256:HEX, a digest that somebody published for that output", text)
		}
		if !slices.ContainsFunc(outputs, func(o string) bool { return p == o || strings.HasPrefix(p, o+"/") }) {
			return nil, usage("--expect %q: no --output is or holds %s", text, p)
		}
		e := build.Expected{Path: p}
		if _, err := hex.Decode(e.Digest[:], []byte(d.Encoded())); err != nil {
			return nil, usage("--expect %q: %v", text, err)
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b build.Expected) int { return strings.Compare(a.Path, b.Path) })
	for i := range out[:max(len(out)-1, 0)] {
		if out[i].Path == out[i+1].Path {
			return nil, usage("--expect names %s twice", out[i].Path)
		}
	}
	if len(out) > build.MaxExpected {
		return nil, usage("--expect is given %d times, at most %d", len(out), build.MaxExpected)
	}
	return out, nil
}

// expectedReport is a published digest beside the result's.
type expectedReport struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"` // as published
	Match  bool          `json:"match"`  // of a delivered result: whether its file at that path has it
}

// expect holds the delivered outputs against what was published. Before a result
// is there nothing matches, and nothing is held against it.
func (r *buildReport) expect(published []*gavelv1.Expected) {
	for _, e := range published {
		x := expectedReport{Path: e.Path, Digest: sha256Text(e.Digest)}
		for i := range r.Outputs {
			if o := &r.Outputs[i]; o.Path == e.Path {
				x.Match = o.Digest == x.Digest
				o.ExpectedMatch = &x.Match
			}
		}
		r.Expected = append(r.Expected, x)
	}
}

// unexpected says whether a verified result is not what was published.
func (r *buildReport) unexpected() bool {
	return slices.ContainsFunc(r.Expected, func(x expectedReport) bool { return !x.Match })
}

// writeExpected says in words how the result compares with what was published.
func (r *buildReport) writeExpected(term *terminal, delivered bool) {
	for _, x := range r.Expected {
		switch {
		case !delivered:
			term.print("  %s was published as %s; there is no result to compare", diff.QuoteWhole(x.Path), x.Digest)
		case x.Match:
			term.print("  %s %s the published %s", diff.QuoteWhole(x.Path), term.paint(green, "equals"), x.Digest)
		default:
			term.print("  %s %s equal the published %s", diff.QuoteWhole(x.Path), term.paint(red, "does NOT"), x.Digest)
		}
	}
}
