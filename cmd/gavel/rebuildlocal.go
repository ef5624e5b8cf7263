package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	reapi "gavel/api/action"
	"gavel/cas"
	"gavel/cas/layout"
	"gavel/cas/tree"
	"gavel/raftfsm/build"
	"gavel/sandbox"
	"gavel/sandbox/image"
	"gavel/verify/diff"
	"gavel/worker/rebuild"
)

// publishedFlags are the flags of rebuild deb and rebuild gotoolchain: those of a
// submission, or of this machine.
type publishedFlags struct {
	submitFlags
	here  localFlags
	local bool
}

func (f *publishedFlags) add(c *cobra.Command) {
	f.addMarket(c)
	f.here.add(c)
	c.Flags().BoolVar(&f.local, "local", false, "build on this machine, without a farm")
}

// limit applies the flags that bound a build.
func (f *submitFlags) limit(a *reapi.Action) (err error) {
	a.TimeoutMillis = f.timeout.Milliseconds()
	l := &a.Limits
	if f.memory != "" {
		if l.MemoryBytes, err = parseBytes(f.memory); err != nil {
			return usage("--memory %q: %v", f.memory, err)
		}
	}
	if f.cpus != "" {
		if l.CPUMillis, err = parseThousandths(f.cpus); err != nil {
			return usage("--cpus %q: %v", f.cpus, err)
		}
	}
	bounds := sandbox.Limits{MemoryBytes: l.MemoryBytes, CPUMillis: l.CPUMillis}
	if err := bounds.Validate(); err != nil {
		return usage("%v", err)
	}
	if a.TimeoutMillis <= 0 || a.TimeoutMillis > build.MaxTimeoutMillis {
		return usage("--timeout %v: want more than 0 and at most 24h", f.timeout)
	}
	return nil
}

// submitPublished has a farm build a directory, and says there what was published.
func (f *publishedFlags) submitPublished(ctx context.Context, term *terminal, farm *farm, a *reapi.Action, dir string, published []build.Expected) error {
	f.outputs, f.expect = a.Outputs, nil
	for _, e := range published {
		f.expect = append(f.expect, e.Path+"=sha256:"+hex.EncodeToString(e.Digest[:]))
	}
	order, err := f.order(dir, a.Argv)
	if err != nil {
		return err
	}
	order.action.WorkDir = a.WorkDir
	if order.action.Limits.MemoryBytes == 0 {
		order.action.Limits.MemoryBytes = a.Limits.MemoryBytes
	}
	order.action.Limits.DiskBytes, order.action.Limits.Pids = a.Limits.DiskBytes, a.Limits.Pids
	return f.carryOut(ctx, term, farm, order)
}

// publishedReport is what rebuild deb and rebuild gotoolchain print as JSON of a
// build on this machine: a result beside an answer that somebody else published.
type publishedReport struct {
	What string `json:"what"` // in words, such as "base-files 12.4 from its source"
	// Equal says that every published digest is met.
	Equal     bool             `json:"equal"`
	Published []publishedEntry `json:"published"`
	Status    string           `json:"status"`
	ExitCode  uint32           `json:"exit_code"`
	Outputs   []outputReport   `json:"outputs"`
	Image     string           `json:"image"`
	InputRoot digest.Digest    `json:"input_root"`
	Notes     []string         `json:"notes"`
	RunMillis int64            `json:"run_millis"`
	// Differences explain what is not equal, where the published files are at hand.
	Differences *diff.Report `json:"differences,omitempty"`
}

type publishedEntry struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"` // as published
	Got    digest.Digest `json:"got"`    // empty where it was not made
	Match  bool          `json:"match"`
}

// publish builds a directory on this machine, and holds the result against what
// was published.
func (b *bench) publish(ctx context.Context, term *terminal, what, dir string, a *reapi.Action, img *image.Source, published []build.Expected) (*publishedReport, error) {
	in, err := layout.Create(filepath.Join(b.dir, "evidence"))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if a.InputRoot, _, err = tree.Upload(ctx, cas.InProcess{Store: in}, dir, tree.Options{}); err != nil {
		return nil, err
	}
	raw, command, err := a.Encode()
	if err != nil {
		return nil, err
	}
	for _, blob := range [][]byte{raw, command} {
		if err := in.Put(ctx, cas.Of(blob), bytes.NewReader(blob)); err != nil {
			return nil, err
		}
	}
	plan, err := rebuild.New(ctx, a, in)
	if err != nil {
		return nil, err
	}
	o := rebuild.Options{Runner: b.runner, Dir: b.dir, OutputDir: b.output, Log: b.log, Progress: func(line string) { term.say("%s", line) }}
	if img != nil {
		o.Image = &img.Image
	}
	built, err := plan.Build(ctx, o)
	if err != nil {
		return nil, err
	}
	return newPublishedReport(what, built, rebuild.Expect(built.Manifest, published)), nil
}

func newPublishedReport(what string, b *rebuild.Built, matches []rebuild.Match) *publishedReport {
	r := &publishedReport{
		What: what, Equal: len(matches) > 0, Published: []publishedEntry{}, Status: b.Manifest.Status.String(), ExitCode: b.Manifest.ExitCode,
		Outputs: []outputReport{}, Image: b.Root, InputRoot: b.InputRoot.OCI(), Notes: append([]string{}, b.Notes...), RunMillis: b.RunNanos / 1e6,
	}
	met := make(map[string]bool)
	for _, m := range matches {
		e := publishedEntry{Path: m.Path, Digest: sha256Text(m.Digest[:]), Match: m.Equal()}
		if m.Found {
			e.Got = sha256Text(m.Got[:])
		}
		r.Published = append(r.Published, e)
		r.Equal, met[m.Path] = r.Equal && e.Match, e.Match
	}
	for _, o := range b.Manifest.Outputs {
		if o.Type != build.OutputFile {
			continue
		}
		out := outputReport{Path: o.Path, Digest: sha256Text(o.Digest[:]), Size: o.Size}
		if match, ok := met[o.Path]; ok {
			out.ExpectedMatch = &match
		}
		r.Outputs = append(r.Outputs, out)
	}
	return r
}

// shownMatches is how many equal files a person is shown by name.
const shownMatches = 5

func (r *publishedReport) print(term *terminal, log *tail, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(term.out).Encode(r)
	}
	if r.Equal {
		term.print("%s  %s: what this machine made is what was published", term.paint(green, "equal"), r.What)
	} else {
		term.print("%s  %s: what this machine made is not what was published", term.paint(red, "differs"), r.What)
	}
	equal := 0
	for _, e := range r.Published {
		switch {
		case e.Match && equal < shownMatches:
			term.print("  %s equals the published %s", diff.QuoteWhole(e.Path), e.Digest)
		case e.Got == "":
			term.print("  %s was not made; it was published as %s", diff.QuoteWhole(e.Path), e.Digest)
		case !e.Match:
			term.print("  %s is %s; it was published as %s", diff.QuoteWhole(e.Path), e.Got, e.Digest)
		}
		if e.Match {
			equal++
		}
	}
	if equal > shownMatches {
		term.print("  and %s more equal what was published", count(equal-shownMatches, "file"))
	}
	for _, n := range r.Notes {
		term.print("  %s", n)
	}
	if r.Differences != nil {
		if err := r.Differences.Text(term.out); err != nil {
			return fmt.Errorf("printing what differs: %w", err)
		}
	}
	if how := failure(r.Status, r.ExitCode); how != "" {
		term.print("  the command failed: %s; its last words:", how)
		for _, line := range log.lines(shownLogLines) {
			term.print("  | %s", line)
		}
	}
	term.print("  built in %s in %d ms", r.Image, r.RunMillis)
	return nil
}

// exit is the exit status: 0 equal, 1 not.
func (r *publishedReport) exit() error {
	if !r.Equal {
		return &exit{code: exitFailed}
	}
	return nil
}
