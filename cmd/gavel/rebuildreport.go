package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"gavel/raftfsm/build"
	"gavel/sandbox"
	"gavel/verify/attest"
	"gavel/verify/diff"
	"gavel/verify/result"
	"gavel/worker/engine"
	"gavel/worker/rebuild"
)

// rebuildReport is what rebuild prints as JSON.
type rebuildReport struct {
	Build string `json:"build"`
	// Equal says that the whole result is the stated one: paths, types, executable
	// bits, links, content and how the command ended.
	Equal bool `json:"equal"`
	// Key is the fingerprint of the key that signed the statement, empty where none was given.
	Key    string        `json:"key"`
	Worker string        `json:"worker"` // who stated it, by its own words
	Result changedReport `json:"result"`
	Image  string        `json:"image"` // what it was built in, "host" or a digest
	// InputRoot is the tree it was built from: want and got differ only with --allow-changed.
	InputRoot     changedReport     `json:"input_root"`
	ChangedInputs []changedReport   `json:"changed_inputs"`
	Status        string            `json:"status"`
	ExitCode      uint32            `json:"exit_code"`
	Outputs       []rebuiltOutput   `json:"outputs"`
	Differences   []differenceEntry `json:"differences"`
	Notes         []string          `json:"notes"`
	RunMillis     int64             `json:"run_millis"`
	// Explained says why the outputs differ, with --outputs.
	Explained *diff.Report `json:"explained,omitempty"`
}

// changedReport is a digest as it should be and as it is, "" where there is nothing.
type changedReport struct {
	Path string        `json:"path,omitempty"`
	Want digest.Digest `json:"want"`
	Got  digest.Digest `json:"got"`
}

type rebuiltOutput struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"`
	Size   uint64        `json:"size"`
	Want   digest.Digest `json:"want"` // empty where the statement has no such file
	Equal  bool          `json:"equal"`
}

// differenceEntry is one difference: of the stated result (want) and the rebuilt one (got), in words.
type differenceEntry struct {
	Path string `json:"path"` // empty: of the result as a whole
	Why  string `json:"why"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

func newRebuildReport(p *rebuild.Plan, b *rebuild.Built, c *rebuild.Comparison) *rebuildReport {
	r := &rebuildReport{
		Build: hex.EncodeToString(p.Recipe.Build[:]), Equal: c.Equal, Key: p.Recipe.Key, Worker: p.Recipe.Builder.Name,
		Result: changedReport{Want: sha256Text(c.Want[:]), Got: sha256Text(c.Got[:])}, Image: b.Root,
		InputRoot: changedReport{Want: p.Action.InputRoot.OCI(), Got: b.InputRoot.OCI()}, ChangedInputs: []changedReport{},
		Status: b.Manifest.Status.String(), ExitCode: b.Manifest.ExitCode, Outputs: []rebuiltOutput{}, Differences: []differenceEntry{},
		Notes: append([]string{}, b.Notes...), RunMillis: b.RunNanos / 1e6,
	}
	for _, x := range p.Changed {
		r.ChangedInputs = append(r.ChangedInputs, changedReport{Path: x.Path, Want: x.Want.OCI(), Got: x.Got.OCI()})
	}
	want := make(map[string][32]byte)
	for _, f := range p.Recipe.Files {
		want[f.Path] = f.SHA256
	}
	for _, o := range b.Manifest.Outputs {
		if o.Type != build.OutputFile {
			continue
		}
		out := rebuiltOutput{Path: o.Path, Digest: sha256Text(o.Digest[:]), Size: o.Size}
		if w, ok := want[o.Path]; ok {
			out.Want, out.Equal = sha256Text(w[:]), w == o.Digest
		}
		r.Outputs = append(r.Outputs, out)
	}
	for _, d := range c.Differences {
		r.Differences = append(r.Differences, differenceEntry{d.Path, string(d.Why), d.A, d.B})
	}
	r.explain(p, b)
	return r
}

// explain adds what the digests alone do not tell.
func (r *rebuildReport) explain(p *rebuild.Plan, b *rebuild.Built) {
	if b.Root != p.Action.Root {
		r.Notes = append(r.Notes, fmt.Sprintf("it was built in image %s, the statement's is %s", b.Root, p.Action.Root))
	}
	if n := len(r.ChangedInputs); n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("it was built from other inputs than the statement's: %s changed", count(n, "file")))
	}
	if !r.Equal && len(r.Differences) == 0 {
		r.Notes = append(r.Notes, "all that the statement lists is equal; the results differ in what it does not list: an executable bit, a link, a directory or a size. The stated result's manifest among the inputs (gavel download --inputs) would tell which")
	}
}

// machine says whether this machine is like the worker's, where the build ran in
// the machine's own root.
func (r *rebuildReport) machine(ctx context.Context, kind string, recipe *attest.Recipe) {
	if recipe.Platform != sandbox.HostRoot {
		return
	}
	here, err := engine.Fingerprint(ctx, kind, true)
	switch theirs := hostPart(recipe.Builder.Class); {
	case err != nil || theirs == "":
		r.Notes = append(r.Notes, "it was built with this machine's own tools; whether they are the worker's is unknown")
	case theirs != hostPart(here):
		r.Notes = append(r.Notes, "it was built with this machine's own tools, which are not the worker's ("+hostPart(here)+", there "+theirs+"): a difference may be theirs")
	}
}

// hostPart is the component of a class that stands for a machine's own root.
func hostPart(class string) string {
	for part := range strings.SplitSeq(class, "/") {
		if strings.HasPrefix(part, "host-") {
			return part
		}
	}
	return ""
}

// shownLogLines is how much of a failed command's log a person is shown.
const shownLogLines = 15

func (r *rebuildReport) print(term *terminal, log *tail, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(term.out).Encode(r)
	}
	if r.Equal {
		term.print("%s  build %s: this machine made the very result that %s stated", term.paint(green, "equal"), r.Build, r.Worker)
	} else {
		term.print("%s  build %s: this machine's result is not what %s stated", term.paint(red, "differs"), r.Build, r.Worker)
	}
	if how := failure(r.Status, r.ExitCode); how != "" && r.Equal {
		term.print("  the command failed, here as in the farm: %s", how)
	} else if how != "" {
		term.print("  the command failed here: %s", how)
	}
	for _, o := range r.Outputs {
		word := "as stated"
		switch {
		case o.Want == "":
			word = "not stated"
		case !o.Equal:
			word = "stated as " + o.Want.String()
		}
		term.print("  %s  %s  %d bytes, %s", diff.QuoteWhole(o.Path), o.Digest, o.Size, word)
	}
	if !r.Equal && len(r.Differences) > 0 {
		term.print("  %s", result.Explain("the statement", "this machine", r.differences(), nil))
	}
	for _, x := range r.ChangedInputs {
		term.print("  input %s is %s, the statement wants %s", diff.QuoteWhole(x.Path), x.Got, x.Want)
	}
	if r.Explained != nil {
		if err := r.Explained.Text(term.out); err != nil {
			return fmt.Errorf("printing what differs: %w", err)
		}
	}
	for _, n := range r.Notes {
		term.print("  %s", n)
	}
	if r.ExitCode != 0 && !r.Equal {
		for _, line := range log.lines(shownLogLines) {
			term.say("  | %s", line)
		}
	}
	if r.Key == "" {
		term.print("  whose statement it is was not checked: --key says")
	} else {
		term.print("  the statement is signed by key %s", r.Key)
	}
	term.print("  built in %s in %d ms", r.Image, r.RunMillis)
	return nil
}

// failure says how a command ended that did not succeed, "" of one that did.
func failure(status string, exitCode uint32) string {
	switch {
	case status != build.StatusExited.String():
		return status
	case exitCode != 0:
		return fmt.Sprintf("it exited with status %d", exitCode)
	}
	return ""
}

func (r *rebuildReport) differences() []result.Difference {
	out := make([]result.Difference, 0, len(r.Differences))
	for _, d := range r.Differences {
		out = append(out, result.Difference{Path: d.Path, Why: result.Why(d.Why), A: d.Want, B: d.Got})
	}
	return out
}
