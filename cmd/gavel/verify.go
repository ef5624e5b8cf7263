package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gavel/verify/dossier"
)

// What a reader names is read no further than this: it may be the wrong file, or no
// file at all.
const (
	maxPublicKeyBytes = 64 << 10
	maxGenesisBytes   = 64 << 20
)

// verifySettings are the flags of gavel verify.
type verifySettings struct {
	request dossier.Request
	further further
	asJSON  bool
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

--as-of DATE asks what stood then: what was withdrawn or revoked later does not count. A
day counts until its end in UTC.

--open and --source are about a machine's provenance, not about a summary.

Exit status: 0 verified: what is there holds, and what is missing is named as not
proven, which --policy can demand; 1 not verified; 2 bad usage or an unreadable file.`,
		Args: wants("BUNDLE", "FILE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			s.request.Bundle, s.request.File = args[0], args[1]
			report, err := s.check(ctx)
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
	f.StringVar(&s.request.Key, "key", "", "the signer's public `KEY` in PEM, as in NAME.pub")
	f.StringVar(&s.request.Cluster, "cluster", "", "the farm's `ID` in hex, as gavel cluster status shows it: the genesis must have it")
	f.StringVar(&s.request.Genesis, "genesis", "", "the farm's genesis `FILE` (default: the one beside BUNDLE, taken as given)")
	f.StringVar(&s.request.GroupKey, "group-key", "", "the coordinators' group key in `HEX` (default: the one in the summary, taken as given)")
	f.StringVar(&s.request.With, "with", "", "the `DIR` where the rest lies (default: that of BUNDLE)")
	f.BoolVar(&s.request.Alone, "alone", false, "look at BUNDLE and --key, and at nothing beside it")
	f.StringVar(&s.request.Policy, "policy", "", "a `FILE` of demands that must all be kept")
	f.StringVar(&s.request.AsOf, "as-of", "", "what stood on `DATE`: 2026-01-31, at its end in UTC, or RFC 3339")
	f.StringArrayVar(&s.request.Witnesses, "witness", nil, "a witness of the log as `NAME=KEY`, its public key in PEM; repeat it")
	f.IntVar(&s.request.Quorum, "witness-quorum", 0, "how many witnesses must have cosigned the checkpoint")
	f.StringVar(&s.further.open, "open", "", "of a provenance: the requester's `FILE` withheld.json proves which command was withheld")
	f.StringVar(&s.further.source, "source", "", "of a provenance: a local `CLONE` proves that the input root is the tree of the commit named, made again from its objects")
	f.BoolVar(&s.asJSON, "json", false, "print JSON")
	return c
}

// check reads the files and checks them; what cannot be read is bad usage.
func (s *verifySettings) check(ctx context.Context) (*dossier.Report, error) {
	report, err := s.request.Check(ctx)
	if bad := new(dossier.BadRequest); errors.As(err, &bad) {
		if bad.Malformed {
			return nil, usage("%w", bad.Err)
		}
		return nil, refused(bad.Err)
	}
	if err != nil {
		return nil, err
	}
	return report, s.further.check(ctx, report)
}

func readPublicKey(path string) ([]byte, error) {
	pkix, err := dossier.ReadPublicKey(path)
	if err != nil {
		return nil, refused(err)
	}
	return pkix, nil
}
