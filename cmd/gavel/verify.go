package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gavel/verify/attest"
	"gavel/verify/dossier"
	"gavel/verify/keys"
	"gavel/verify/policy"
	"gavel/verify/tlog"
)

// What a reader names is read no further than this: it may be the wrong file, or no
// file at all.
const (
	maxPublicKeyBytes = 64 << 10
	maxGenesisBytes   = 64 << 20
)

// verifySettings are the flags of gavel verify.
type verifySettings struct {
	key, genesis, cluster, groupKey, with, asOf, policy string
	witnesses                                           []string
	witnessQuorum                                       int
	alone, asJSON                                       bool
	further                                             further
}

func verifyCommand() *cobra.Command {
	var s verifySettings
	c := &cobra.Command{
		Use:   "verify BUNDLE FILE",
		Short: "check an attestation against a file, offline",
		Long: `Checks what is known of FILE from BUNDLE, a builder's attestation or the farm's
summary, and from what lies beside it as gavel submit saves it: signature, subject, the
log's proof and its checkpoint with a majority of coordinators, the transcript (draws,
verdict, payments, all computed again), the statements of the others who built, and
whether the result was withdrawn or a key revoked. It asks no farm and no network, and
says in words what that proves and what it does not.

  gavel verify farm/attestations/BUILD/summary.sigstore.json out/app --cluster ID

Say whose word counts: --cluster ID or --genesis FILE, the farm's id or genesis as you
know it from elsewhere; without either, the genesis beside BUNDLE is taken as given,
and the report says so. With --key alone nothing but BUNDLE is looked at.

--policy FILE holds all that to your demands: how many got the same result, of how many
operators, in which image, by whose keys, how long ago, under how many signatures. The
file is JSON; docs/ATTESTATIONS.md lists its rules. Each that is broken is named.

--as-of DATE asks what stood then: what was withdrawn or revoked later does not count.

Exit status: 0 verified, 1 not verified, 2 bad usage or an unreadable file.`,
		Args: wants("BUNDLE", "FILE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			report, err := s.check(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			if s.asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(report)
			} else if report.Verified() {
				newTerminal(c).print("verified: %s\n%s", args[1], report)
			} else {
				newTerminal(c).print("NOT verified: %s\n%s", args[1], report)
			}
			if err == nil && !report.Verified() {
				err = &exit{code: exitFailed, err: fmt.Errorf("NOT verified: %s", report.Failures[0])}
			}
			return err
		}),
	}
	f := c.Flags()
	f.StringVar(&s.key, "key", "", "the signer's public `KEY` in PEM, as in NAME.pub")
	f.StringVar(&s.cluster, "cluster", "", "the farm's `ID` in hex, as gavel cluster status shows it: the genesis must have it")
	f.StringVar(&s.genesis, "genesis", "", "the farm's genesis `FILE` (default: the one beside BUNDLE, taken as given)")
	f.StringVar(&s.groupKey, "group-key", "", "the coordinators' group key in `HEX` (default: the one in the summary, taken as given)")
	f.StringVar(&s.with, "with", "", "the `DIR` where the rest lies (default: that of BUNDLE)")
	f.BoolVar(&s.alone, "alone", false, "look at BUNDLE and --key, and at nothing beside it")
	f.StringVar(&s.policy, "policy", "", "a `FILE` of demands that must all be kept")
	f.StringVar(&s.asOf, "as-of", "", "what stood on `DATE`: 2026-01-31, or RFC 3339")
	f.StringArrayVar(&s.witnesses, "witness", nil, "a witness of the log as `NAME=KEY`, its public key in PEM; repeat it")
	f.IntVar(&s.witnessQuorum, "witness-quorum", 0, "how many witnesses must have cosigned the checkpoint")
	f.StringVar(&s.further.open, "open", "", "the requester's `FILE` withheld.json: proves which command was withheld")
	f.StringVar(&s.further.source, "source", "", "a local `CLONE`: proves that the input root is the tree of the commit named, made again from its objects")
	f.BoolVar(&s.asJSON, "json", false, "print JSON")
	return c
}

// check reads the files and checks them; what cannot be read is bad usage.
func (s *verifySettings) check(ctx context.Context, bundle, file string) (*dossier.Report, error) {
	trust, err := s.trust()
	if err != nil {
		return nil, err
	}
	dir := s.with
	switch {
	case s.alone && len(trust.Key) == 0:
		return nil, usage("whose attestation? --alone needs --key KEY, a public key in PEM")
	case s.alone:
		dir = ""
	case dir == "":
		dir = filepath.Dir(bundle)
	}
	files, beside, err := dossier.Load(bundle, dir)
	if err != nil {
		return nil, refused(err)
	}
	if trust.Genesis == nil {
		trust.Genesis = beside
	}
	if s.cluster != "" {
		if raw, err := hex.DecodeString(s.cluster); err != nil || len(raw) != 32 {
			return nil, usage("--cluster %q: want the cluster's id of 64 hex digits, as gavel cluster status shows it", s.cluster)
		}
		if trust.Genesis == nil {
			return nil, refused(errors.New("no genesis lies beside the bundle: name it with --genesis FILE"))
		}
		if got := trust.Genesis.Digest(); hex.EncodeToString(got[:]) != strings.ToLower(s.cluster) {
			return nil, &exit{code: exitFailed, err: fmt.Errorf("NOT verified: the genesis is that of cluster %x, not of %s: this is another farm's", got, s.cluster)}
		}
		trust.Pinned = true
	}
	if trust.Genesis == nil && len(trust.Key) == 0 {
		return nil, usage("whose attestation? No genesis lies beside the bundle: give --genesis FILE, or --key KEY, a public key in PEM")
	}
	if files.Artifact, err = digestOfFile(file); err != nil {
		return nil, refused(fmt.Errorf("reading the file: %w", err))
	}
	report, err := dossier.Check(files, trust)
	if err != nil {
		return nil, refused(err)
	}
	if err := s.hold(report, trust); err != nil {
		return nil, err
	}
	return report, s.further.check(ctx, report, files.Bundle)
}

// hold applies the policy, if there is one, as of the time that is asked about.
func (s *verifySettings) hold(report *dossier.Report, trust *dossier.Trust) error {
	if s.policy == "" {
		return nil
	}
	raw, err := readSmall(s.policy, policy.MaxFileBytes)
	if err != nil {
		return refused(fmt.Errorf("reading the policy: %w", err))
	}
	rules, err := policy.Parse(raw)
	if err != nil {
		return refused(fmt.Errorf("%s: %w", s.policy, err))
	}
	now := trust.AsOf
	if now.IsZero() {
		now = time.Now()
	}
	report.Hold(rules, now)
	return nil
}

// trust reads whose word counts.
func (s *verifySettings) trust() (*dossier.Trust, error) {
	t := &dossier.Trust{WitnessQuorum: s.witnessQuorum}
	if s.key != "" {
		pkix, err := readPublicKey(s.key)
		if err != nil {
			return nil, err
		}
		t.Key = pkix
	}
	if s.genesis != "" {
		raw, err := readSmall(s.genesis, maxGenesisBytes)
		if err != nil {
			return nil, refused(fmt.Errorf("reading the genesis: %w", err))
		}
		if t.Genesis, err = dossier.ReadGenesis(raw); err != nil {
			return nil, refused(fmt.Errorf("%s: %w", s.genesis, err))
		}
		t.Pinned = true
	}
	if s.groupKey != "" {
		raw, err := hex.DecodeString(s.groupKey)
		if err != nil || len(raw) != 96 {
			return nil, usage("--group-key wants 192 hex digits, as gavel cluster status shows them")
		}
		t.GroupKeys = [][96]byte{[96]byte(raw)}
	}
	for _, w := range s.witnesses {
		name, path, ok := strings.Cut(w, "=")
		if !ok {
			return nil, usage("--witness %q: want NAME=KEY", w)
		}
		pkix, err := readPublicKey(path)
		if err != nil {
			return nil, err
		}
		t.Witnesses = append(t.Witnesses, tlog.Cosigner{Name: name, PKIX: pkix})
	}
	if s.asOf != "" {
		var err error
		if t.AsOf, err = time.Parse(time.RFC3339, s.asOf); err != nil {
			day, dayErr := time.Parse(time.DateOnly, s.asOf)
			if dayErr != nil {
				return nil, usage("--as-of %q: want a date as 2026-01-31, or a time as 2026-01-31T12:00:00Z", s.asOf)
			}
			t.AsOf = day.Add(24*time.Hour - time.Second) // the end of that day
		}
	}
	return t, nil
}

func readPublicKey(path string) ([]byte, error) {
	pem, err := readSmall(path, maxPublicKeyBytes)
	if err != nil {
		return nil, refused(fmt.Errorf("reading the key: %w", err))
	}
	public, err := keys.ParsePublic(pem)
	if err != nil {
		return nil, refused(fmt.Errorf("%s: %w", path, err))
	}
	return keys.PKIX(public)
}

func digestOfFile(path string) ([32]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return [32]byte{}, err
	}
	digest, err := attest.DigestOf(f)
	return digest, errors.Join(err, f.Close())
}
