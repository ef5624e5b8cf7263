package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/verify/diff"
)

// buildReport is what submit and status print as JSON. Amounts are
// micro-credits; a house pool's builds have none.
type buildReport struct {
	Build   string `json:"build"`
	State   string `json:"state"`
	Verdict string `json:"verdict"`
	// Status is how the delivered result's command ended: exited, signaled,
	// timeout, out-of-memory or missing-output; empty without a result.
	Status     string         `json:"status"`
	Reason     string         `json:"reason"`
	Winner     string         `json:"winner"`
	Price      *int64         `json:"price,omitempty"`
	Payment    *int64         `json:"payment,omitempty"`
	Reference  *int64         `json:"reference,omitempty"`
	Auctioneer *string        `json:"auctioneer,omitempty"`
	Validators []seatReport   `json:"validators"`
	Panel      []seatReport   `json:"panel"`
	Outputs    []outputReport `json:"outputs"`
	// Expected are the digests that submit --expect named.
	Expected     []expectedReport `json:"expected,omitempty"`
	ExitCode     uint32           `json:"exit_code"`
	Attestations []string         `json:"attestations"`
	// Summary is the cluster's own statement on the build, once the log has it.
	Summary string `json:"summary,omitempty"`
	// WithdrawnBy is the challenge that refuted the result since; empty while it stands.
	WithdrawnBy string `json:"withdrawn_by,omitempty"`
	Pool        string `json:"pool"`
	Lane        string `json:"lane"`
	// Bids are the opened bids, after the verdict.
	Bids []bidReport `json:"bids,omitempty"`
	// Priority is what was offered for a place in the queue, and PriorityCharge
	// what it cost.
	Priority       int64  `json:"priority,omitempty"`
	PriorityCharge int64  `json:"priority_charge,omitempty"`
	Epoch          uint64 `json:"epoch,omitempty"` // of a batch pool
	Seal           uint64 `json:"seal,omitempty"`  // whose signature its draws follow from
	Slot           uint64 `json:"slot,omitempty"`  // of a lottery

	// Varied is what validators were to vary, and DependsOn what of it changed the
	// result of some, after the verdict.
	Varied    []string           `json:"varied,omitempty"`
	DependsOn []dependenceReport `json:"depends_on,omitempty"`

	slashed   []string
	delivered bool
}

// bidReport is an opened bid, in micro-credits and milliseconds.
type bidReport struct {
	Worker       string `json:"worker"`
	Price        int64  `json:"price"`
	FinishMillis int64  `json:"finish_millis"`
	Finished     bool   `json:"finished,omitempty"` // commits to a finished result
	Defaulted    bool   `json:"defaulted,omitempty"`
}

// wages says what the builder asked for and was paid, as far as its lane has prices.
func (r *buildReport) wages() string {
	switch {
	case r.Payment == nil || r.State != build.Settled.String():
		return ""
	case r.Lane == build.LaneLottery.String():
		return fmt.Sprintf(", in slot %d of the lottery", r.Slot)
	case r.Lane == build.LaneLease.String() && len(r.Bids) == 0:
		return ", which is leased"
	}
	return fmt.Sprintf(", which asked for %s and was paid %s", escrow.Credits(*r.Price), escrow.Credits(*r.Payment))
}

// remark says what is special about a bid.
func (b *bidReport) remark() string {
	switch {
	case b.Defaulted:
		return ", won and let the build down"
	case b.Finished:
		return ", for a result that it had already"
	}
	return ""
}

// seatReport is a validator or a panel's seat.
type seatReport struct {
	Worker   string        `json:"worker"`
	Operator string        `json:"operator"`
	Digest   digest.Digest `json:"digest"` // of its result, empty where it opened none
	Agreed   bool          `json:"agreed"` // with the delivered result
	// Finding is what its varied build showed ("same", "depends", …), Tried what it
	// varied, and DependsOn what of that changes its result alone.
	Finding   string   `json:"finding,omitempty"`
	Tried     []string `json:"tried,omitempty"`
	DependsOn []string `json:"depends_on,omitempty"`
}

// outputReport is one file of the delivered result.
type outputReport struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"`
	Size   uint64        `json:"size"`
	// ExpectedMatch says whether it has the digest that somebody published for it;
	// absent where nobody did.
	ExpectedMatch *bool `json:"expected_match,omitempty"`
}

// newReport fills what the farm's view of a build tells.
func newReport(b *gavelv1.Build) *buildReport {
	r := &buildReport{
		Build: hex.EncodeToString(b.Id), State: b.State, Verdict: b.Verdict, Reason: b.Reason, Status: b.Status, Winner: b.Winner,
		Validators: seats(b, build.RoundFirst), Panel: seats(b, build.RoundPanel), Outputs: []outputReport{}, ExitCode: exitCode(b),
		Attestations: []string{}, slashed: b.Slashed, delivered: b.Delivered, Pool: b.Pool, Lane: b.Lane,
		Priority: b.Priority, PriorityCharge: b.PriorityCharge, Epoch: b.Epoch, Seal: b.Seal, Slot: b.Slot,
		Varied: b.Vary, DependsOn: dependences(b), WithdrawnBy: hex.EncodeToString(b.WithdrawnBy),
	}
	for _, x := range b.Opened {
		r.Bids = append(r.Bids, bidReport{Worker: x.Worker, Price: x.Price, FinishMillis: x.FinishMillis, Finished: len(x.Result) > 0, Defaulted: x.Defaulted})
	}
	slices.SortStableFunc(r.Bids, func(a, b bidReport) int { return cmp.Compare(a.Price, b.Price) })
	if r.Verdict == build.TooFew.String() {
		r.Verdict = build.Unverified.String()
	}
	if !b.House {
		r.Price, r.Payment, r.Reference, r.Auctioneer = &b.Price, &b.Payment, &b.Reference, &b.Auctioneer
	}
	return r
}

// seats lists a round's seats but the builder's; where one was replaced, who took
// it last.
func seats(b *gavelv1.Build, round build.Round) []seatReport {
	bySeat := make(map[uint32]seatReport)
	var order []uint32
	for _, a := range b.Attempts {
		if a.Round != round.String() || a.Seat == 0 {
			continue
		}
		if _, known := bySeat[a.Seat]; !known {
			order = append(order, a.Seat)
		}
		s := seatReport{Worker: a.Worker, Operator: a.Operator, Agreed: a.Agreed, Finding: a.Finding, Tried: a.Tried, DependsOn: a.Broke}
		if len(a.Result) > 0 {
			s.Digest = sha256Text(a.Result)
		}
		bySeat[a.Seat] = s
	}
	slices.Sort(order)
	out := make([]seatReport, 0, len(order))
	for _, seat := range order {
		out = append(out, bySeat[seat])
	}
	return out
}

func sha256Text(sum []byte) digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, sum)
}

// exitCode is the exit status that submit ends with.
func (r *buildReport) exitCode(warn bool) int {
	switch r.Verdict {
	case build.Agreed.String(), build.Judged.String(), build.Unsampled.String():
		switch {
		case r.failed(), r.dependent():
			return exitFailed
		case r.unexplored() && !warn:
			return exitUnverified
		case r.unexpected():
			return exitUnexpected
		}
		return exitDone
	}
	if warn {
		return exitDone
	}
	return exitUnverified
}

// gather completes a settled build's report with what lies in the store:
// outputs, attestations, and why results differed.
func gather(ctx context.Context, f *farm, b *gavelv1.Build, wait time.Duration) (*buildReport, error) {
	r := newReport(b)
	store, err := f.blobs()
	if err != nil {
		return nil, err
	}
	var delivered *build.Manifest
	if b.Delivered {
		if delivered, err = readManifest(ctx, store, b.Manifest, b.ManifestBytes); err != nil {
			return nil, err
		}
		for _, o := range delivered.Outputs {
			if o.Type == build.OutputFile {
				r.Outputs = append(r.Outputs, outputReport{Path: o.Path, Digest: sha256Text(o.Digest[:]), Size: o.Size})
			}
		}
	}
	r.expect(b.Expected)
	r.explainEnd(b)
	r.explainLabel()
	r.explainVaried()
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if text := explain(patience, store, b); text != "" {
		r.Reason = sentences(r.Reason, text)
	}
	saved, err := saveAttestations(ctx, patience, f, b)
	if err != nil {
		return nil, err
	}
	r.Attestations, r.Summary = saved.bundles, saved.summary
	return r, nil
}

// exitCode is the command's own, and for a command that did not exit by itself
// what a shell and timeout(1) would show: nobody should read success from it.
func exitCode(b *gavelv1.Build) uint32 {
	switch b.Status {
	case build.StatusTimeout.String():
		return 124
	case build.StatusOOM.String():
		return 137
	case build.StatusSignaled.String():
		return 128 + b.Signal
	}
	return b.ExitCode
}

// explainLabel says what a verdict does not: that nobody reproduced the result.
func (r *buildReport) explainLabel() {
	if r.Verdict == build.Unsampled.String() {
		r.Reason = "unverified (sampled pool): " + r.Reason
	}
}

// What POSIX shells, and the sandbox, exit with where a command cannot be run.
const (
	notExecutable = 126
	notFound      = 127
)

// explainEnd says in the reason how a command failed.
func (r *buildReport) explainEnd(b *gavelv1.Build) {
	if !b.Delivered {
		return
	}
	switch b.Status {
	case build.StatusExited.String():
		switch b.ExitCode {
		case 0:
		case notExecutable:
			r.Reason = sentences(r.Reason, "the command exited with status 126: something it names cannot be executed; gavel logs shows what")
		case notFound:
			r.Reason = sentences(r.Reason, "the command exited with status 127: it, or a command it runs, is not in the build's root or in DIR; gavel logs shows which")
		default:
			r.Reason = sentences(r.Reason, fmt.Sprintf("the command exited with status %d; gavel logs shows what it printed", b.ExitCode))
		}
	case build.StatusTimeout.String():
		r.Reason = sentences(r.Reason, "the command ran into its timeout: give it longer with --timeout")
	case build.StatusOOM.String():
		r.Reason = sentences(r.Reason, "the command ran out of memory: give it more with --memory")
	case build.StatusMissingOutput.String():
		r.Reason = sentences(r.Reason, "the command exited and left a declared output unmade: see --output and the log")
	default:
		r.Reason = sentences(r.Reason, "the command was ended by a signal")
	}
}

// sentences joins two of them.
func sentences(a, b string) string {
	a, b = strings.TrimRight(a, ". "), strings.TrimRight(b, ". ")
	if a == "" {
		return b
	}
	return a + ". " + strings.ToUpper(b[:1]) + b[1:]
}

// maxManifestBytes bounds what is read into memory: 200,000 outputs.
const maxManifestBytes = 256 << 20

// readManifest reads a result in full, as the requester may once it is stored.
func readManifest(ctx context.Context, from cas.Store, sum []byte, size uint64) (*build.Manifest, error) {
	if len(sum) != 32 || size > maxManifestBytes {
		return nil, fmt.Errorf("reading the result: its manifest has a digest of %d bytes and %d bytes", len(sum), size)
	}
	r, err := from.Open(ctx, cas.OfSum([32]byte(sum), int64(size)))
	if err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	m := new(build.Manifest)
	if err := wire.Decode(raw, m); err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	return m, nil
}

// write prints a report for a person.
func (r *buildReport) write(term *terminal) error {
	colour := yellow
	switch r.exitCode(false) {
	case exitDone:
		colour = green
	case exitFailed, exitUnexpected:
		colour = red
	}
	if r.WithdrawnBy != "" {
		colour = red
	}
	verdict := r.Verdict
	if verdict == "" {
		verdict = r.State
	}
	term.print("%s  %s", term.paint(colour, verdict), r.Build)
	if r.Reason != "" {
		term.print("  %s", r.Reason)
	}
	if r.WithdrawnBy != "" {
		term.print("  withdrawn since: challenge %s found another result", r.WithdrawnBy)
	}
	if r.State == build.Queued.String() && r.Epoch > 0 { // to whom is said when it begins
		term.print("  allotted in epoch %d of pool %s, waits for its worker", r.Epoch, r.Pool)
	}
	if r.Winner != "" {
		term.print("  built by %s%s", r.Winner, r.wages())
	}
	if r.State == build.Pricing.String() {
		term.print("  its price is fixed when epoch %d of pool %s ends", r.Epoch, r.Pool)
	}
	for _, x := range r.Bids {
		term.print("  bid of %s: %s%s", x.Worker, escrow.Credits(x.Price), x.remark())
	}
	if r.PriorityCharge > 0 {
		term.print("  its place in the queue cost %s", escrow.Credits(r.PriorityCharge))
	}
	writeSeats(term, "built again by", r.Validators)
	writeSeats(term, "panel", r.Panel)
	r.writeVaried(term)
	if len(r.slashed) > 0 {
		term.print("  slashed: %s", strings.Join(r.slashed, ", "))
	}
	for _, o := range r.Outputs {
		term.print("  %s  %s  %d bytes", diff.QuoteWhole(o.Path), o.Digest, o.Size)
	}
	r.writeExpected(term, r.delivered)
	for _, a := range r.Attestations {
		term.print("  attested in %s", a)
	}
	if r.Summary != "" {
		term.print("  logged, summed up in %s", r.Summary)
	}
	return nil
}

func writeSeats(term *terminal, title string, seats []seatReport) {
	for _, s := range seats {
		word := "no result"
		switch {
		case s.Agreed:
			word = "the same result"
		case s.Digest != "":
			word = "another result"
		}
		term.print("  %s %s (%s): %s", title, s.Worker, s.Operator, word)
	}
}
