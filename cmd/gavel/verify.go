package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"gavel/verify/attest"
	"gavel/verify/keys"
)

func verifyCommand() *cobra.Command {
	var key string
	var asJSON bool
	f := &further{}
	c := &cobra.Command{
		Use:   "verify BUNDLE FILE --key KEY",
		Short: "check an attestation against a file and a key, offline",
		Long: `Checks that KEY's owner signed the attestation in BUNDLE, and that it is about FILE.
It asks no farm and no network, and says what that proves and what it does not.

  gavel verify farm/attestations/BUILD/worker-3.sigstore.json out/app \
      --key farm/attestations/BUILD/worker-3.pub

Exit status: 0 verified, 1 not verified, 2 bad usage or an unreadable file.`,
		Args: wants("BUNDLE", "FILE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			if key == "" {
				return usage("whose attestation? Give --key KEY, a public key in PEM")
			}
			report, err := verifyFiles(ctx, args[0], args[1], key, f)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(report)
			}
			newTerminal(c).print("verified: %s\n%s", args[1], report)
			return nil
		}),
	}
	c.Flags().StringVar(&key, "key", "", "the public `KEY` in PEM, as in NAME.pub")
	c.Flags().StringVar(&f.open, "open", "", "the requester's `FILE` withheld.json: proves which command was withheld")
	c.Flags().StringVar(&f.source, "source", "", "a local `CLONE`: proves that the input root is the tree of the commit named, made again from its objects")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// verifyFiles checks a bundle; what cannot be read is bad usage, what does not
// hold is a failure.
func verifyFiles(ctx context.Context, bundle, file, key string, f *further) (*attest.Report, error) {
	raw, err := readSmall(bundle, attest.MaxBundleBytes)
	if err != nil {
		return nil, refused(fmt.Errorf("reading the bundle: %w", err))
	}
	pem, err := os.ReadFile(key)
	if err != nil {
		return nil, refused(fmt.Errorf("reading the key: %w", err))
	}
	public, err := keys.ParsePublic(pem)
	if err != nil {
		return nil, refused(fmt.Errorf("%s: %w", key, err))
	}
	artifact, err := os.Open(file)
	if err != nil {
		return nil, refused(fmt.Errorf("reading the file: %w", err))
	}
	digest, err := attest.DigestOf(artifact)
	if err := errors.Join(err, artifact.Close()); err != nil {
		return nil, refused(fmt.Errorf("reading the file: %w", err))
	}
	report, err := attest.VerifyBundle(raw, digest, public)
	if err != nil {
		return nil, notVerified(err)
	}
	if report.Failed() {
		return nil, &exit{code: exitFailed, err: fmt.Errorf("NOT verified: the summary is genuine, and it says that verification FAILED\n%s", report)}
	}
	if err := f.check(ctx, report, raw, public); err != nil {
		return nil, err
	}
	return report, nil
}
