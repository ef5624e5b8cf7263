package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/verify/attest"
	"gavel/verify/dossier"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// challengeReport is what challenge prints as JSON. Amounts are micro-credits.
type challengeReport struct {
	Challenge  string       `json:"challenge"` // the id of the build that the panel makes
	Build      string       `json:"build"`     // whose result is in doubt
	Transcript string       `json:"transcript"`
	State      string       `json:"state"`
	Verdict    string       `json:"verdict"` // upheld, refuted or undecided
	Reason     string       `json:"reason"`
	OldResult  string       `json:"old_result"`
	Found      string       `json:"found,omitempty"` // of a refuted one: what the panel has instead
	Panel      []seatReport `json:"panel"`
	Bond       int64        `json:"bond"`
	Withdrawn  bool         `json:"withdrawn"` // the old result is no longer stood by
}

func newChallengeReport(b *gavelv1.Build) *challengeReport {
	x := b.Contest
	if x == nil {
		x = &gavelv1.Contest{}
	}
	r := &challengeReport{
		Challenge: hex.EncodeToString(b.Id), Build: hex.EncodeToString(x.Build), Transcript: hex.EncodeToString(x.Transcript), State: b.State, Verdict: b.Verdict, Reason: b.Reason,
		OldResult: hex.EncodeToString(x.Result), Found: hex.EncodeToString(x.Found), Panel: seats(b, build.RoundPanel), Bond: x.Bond,
		Withdrawn: b.Verdict == build.Refuted.String(),
	}
	for i := range r.Panel { // a challenge delivers nothing that a seat could agree with
		r.Panel[i].Agreed = r.Panel[i].Digest == sha256Text(x.Result)
	}
	return r
}

// challengeFlags are the flags of challenge.
type challengeFlags struct {
	farm, key, reason, transcript, log string
	json, detach                       bool
}

func challengeCommand() *cobra.Command {
	f := &challengeFlags{}
	c := &cobra.Command{
		Use:   "challenge FILE",
		Short: "ask for a fresh panel over an old result",
		Long: `Doubts the result of a build, however long ago it was made: machines of domains that
had no part in it, drawn at random, build it again from the same inputs. FILE is the
build's verification summary, as a Sigstore bundle or raw DSSE envelope, or the
provenance of one of its builders; what is missing is fetched from the farm's log.

  gavel challenge farm/attestations/5f2c…/summary.sigstore.json --farm farm
  gavel challenge app.sigstore.json --reason "differs from my own build" --farm farm

A bond and the panel's fees are taken from your account. Where two thirds of the panel
have the old result, the bond goes to the treasury; where they have one other, the old
result is withdrawn, in the log for all to see, and you get the bond back, and the fees as
far as the treasury can; otherwise nothing is decided, and the bond returns.

The farm needs the inputs still (they are kept as long as it says; gavel rebuild does
without it) and at least three domains that had no part.

Exit status: 0 the old result stands (or --detach: it is taken); 1 it is refuted and
withdrawn; 2 bad usage, or not taken; 3 undecided; 4 no farm answers.`,
		Args: wants("FILE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			return f.run(ctx, newTerminal(c), args[0])
		}),
	}
	farmFlag(c, &f.farm)
	keyFlag(c, &f.key)
	c.Flags().StringVar(&f.reason, "reason", "", "a sentence for the log")
	c.Flags().StringVar(&f.transcript, "transcript", "", "the build's transcript `FILE` (default: beside FILE, else from the log)")
	c.Flags().StringVar(&f.log, "log", "", "the farm's log, a `DIR` or URL (default: what the farm serves)")
	c.Flags().BoolVar(&f.detach, "detach", false, "do not wait for the verdict")
	c.Flags().BoolVar(&f.json, "json", false, "print the outcome as JSON; progress goes to standard error")
	return c
}

// run challenges, and waits for the verdict.
func (f *challengeFlags) run(ctx context.Context, term *terminal, path string) error {
	if !build.ValidReason(f.reason) {
		return usage("--reason has at most %d bytes and no line breaks", build.MaxReasonBytes)
	}
	statement, err := readStatement(path)
	if err != nil {
		return err
	}
	farm, err := connectKey(ctx, f.farm, f.key)
	if err != nil {
		return err
	}
	defer farm.Close()
	log, err := f.source(ctx, farm)
	if err != nil {
		return err
	}
	m, err := f.challenge(ctx, log, path, statement)
	if err != nil {
		return refused(fmt.Errorf("%w. Nothing was sent", err))
	}
	receipt, err := farm.Do(ctx, build.TypeChallenge, m)
	if err != nil {
		return refusedAs("the challenge was not taken, and nothing is held", err)
	}
	id := [32]byte(receipt.Subject)
	term.say("challenge %x: a bond of %s credits is held", id, escrow.Credits(farm.bond(ctx)))
	var last *gavelv1.Build
	if f.detach {
		last, err = farm.Farm().GetBuild(ctx, &gavelv1.GetBuildRequest{Build: id[:]})
	} else {
		last, err = farm.awaitPanel(ctx, term, id)
	}
	if err != nil {
		return undecided(ctx, farm, hex.EncodeToString(id[:]), err)
	}
	return f.show(term, newChallengeReport(last))
}

// bond is the farm's, 0 where it does not say.
func (f *farm) bond(ctx context.Context) int64 {
	info, err := f.Info(ctx)
	if err != nil {
		return 0
	}
	return info.ChallengeBond
}

// awaitPanel follows a challenge to its end.
func (f *farm) awaitPanel(ctx context.Context, term *terminal, id [32]byte) (*gavelv1.Build, error) {
	var last *gavelv1.Build
	told := 0
	for b, err := range f.WatchBuild(ctx, id) {
		if err != nil {
			return nil, err
		}
		committed := 0
		for _, a := range b.Attempts {
			if len(a.Commitment) > 0 {
				committed++
			}
		}
		if committed > told {
			told = committed
			term.say("%d of the panel have committed to a result", committed)
		}
		last = b
	}
	if last == nil {
		return nil, errors.New("the farm showed nothing of it")
	}
	return last, ctx.Err()
}

func (f *challengeFlags) show(term *terminal, r *challengeReport) error {
	if f.json {
		if err := json.NewEncoder(term.out).Encode(r); err != nil {
			return err
		}
	} else {
		term.print("%s", strings.TrimSuffix(cmp.Or(r.Verdict, r.State)+": "+r.Reason, ": "))
		for _, s := range r.Panel {
			term.print("  %s of %s  %s", s.Worker, s.Operator, s.Digest)
		}
		if r.Withdrawn {
			term.print("the result of build %s is withdrawn", r.Build)
		}
	}
	switch {
	case r.Verdict == build.Upheld.String(), f.detach:
		return nil
	case r.Verdict == build.Refuted.String():
		return &exit{code: exitFailed}
	}
	return &exit{code: exitUnverified}
}

// maxStatementBytes is what a bundle or envelope may have: far above a summary.
const maxStatementBytes = 16 << 20

// readStatement is the statement in a bundle or an envelope. Whose it is does not
// matter here: the farm believes the group's certificate alone.
func readStatement(path string) ([]byte, error) {
	raw, err := readSmall(path, maxStatementBytes)
	if err != nil {
		return nil, usage("reading what is challenged: %v", err)
	}
	return statementOf(raw)
}

// statementOf reads a bundle's or an envelope's payload.
func statementOf(raw []byte) ([]byte, error) {
	var x struct {
		Payload  []byte `json:"payload"`
		Envelope *struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, usage("this is neither a Sigstore bundle nor a DSSE envelope: %v", err)
	}
	if x.Envelope != nil {
		x.Payload = x.Envelope.Payload
	}
	if len(x.Payload) == 0 {
		return nil, usage("this is neither a Sigstore bundle nor a DSSE envelope: there is no statement in it")
	}
	return x.Payload, nil
}

// source is the log that is asked for what is missing; nil where there is none.
func (f *challengeFlags) source(ctx context.Context, farm *farm) (tlog.Source, error) {
	where := f.log
	if where == "" {
		info, err := farm.Info(ctx)
		if err != nil {
			return nil, plain(err)
		}
		where = info.LogUrl
	}
	switch {
	case where == "":
		return nil, nil
	case strings.HasPrefix(where, "http://"), strings.HasPrefix(where, "https://"):
		return tlog.HTTPSource(where, nil), nil
	}
	return tlog.DirSource(where), nil
}

// errNoLog says what to do where nothing can be fetched.
var errNoLog = errors.New("the farm serves no log: give --log DIR, or the verification summary and --transcript FILE")

// challenge makes the command from a statement, and the log for what is not in it.
func (f *challengeFlags) challenge(ctx context.Context, log tlog.Source, path string, statement []byte) (*build.Challenge, error) {
	summary, err := attest.ParseSummary(statement)
	if err != nil {
		if summary, err = summaryFor(ctx, log, statement, err); err != nil {
			return nil, err
		}
	}
	raw, err := f.findTranscript(ctx, log, path, summary.Transcript)
	if err != nil {
		return nil, err
	}
	if _, err := build.ReadTranscript(raw, summary.Transcript); err != nil {
		return nil, err
	}
	claim, rest, _ := build.SplitTranscript(raw)
	return &build.Challenge{Claim: claim, Rest: rest, Certificate: summary.Certificate, Reason: f.reason}, nil
}

// summaryFor fetches the verification summary of the build that a provenance is about.
func summaryFor(ctx context.Context, log tlog.Source, statement []byte, why error) (*attest.Summary, error) {
	envelope, err := json.Marshal(map[string]any{
		"payloadType": "application/vnd.in-toto+json", "payload": statement, "signatures": []map[string]any{{"sig": []byte{0}}},
	})
	if err != nil {
		return nil, err
	}
	recipe, err := attest.ReadRecipe(envelope, nil)
	if err != nil {
		return nil, fmt.Errorf("this is neither a verification summary (%w) nor a provenance of Gavel's (%w)", why, err)
	}
	if log == nil {
		return nil, errNoLog
	}
	raw, err := log.Read(ctx, evidence.SummaryPath(recipe.Build), maxStatementBytes)
	if err != nil {
		return nil, fmt.Errorf("fetching the verification summary of build %x from the log: %w", recipe.Build, err)
	}
	if statement, err = statementOf(raw); err != nil {
		return nil, err
	}
	return attest.ParseSummary(statement)
}

// findTranscript looks for a transcript where it may lie.
func (f *challengeFlags) findTranscript(ctx context.Context, log tlog.Source, path string, digest [32]byte) ([]byte, error) {
	if f.transcript != "" {
		return readSmall(f.transcript, build.MaxTranscriptBytes)
	}
	beside := tlog.DirSource(filepath.Dir(path)) // which waits for no pipe
	if raw, err := beside.Read(ctx, dossier.FileTranscript, build.MaxTranscriptBytes); err == nil && build.TranscriptDigest(raw) == digest {
		return raw, nil
	}
	if log == nil {
		return nil, errNoLog
	}
	raw, err := log.Read(ctx, evidence.TranscriptPath(digest), build.MaxTranscriptBytes)
	if err != nil {
		return nil, fmt.Errorf("fetching the transcript from the log: %w", err)
	}
	return raw, nil
}
