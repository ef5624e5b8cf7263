package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gavel/api/seal"
	"gavel/verify/keys"
)

func keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "make and show keys",
		Long: `Makes, shows and changes the keys of requesters, workers and coordinators. A key names
its account: the account's id is the SHA-256 of its first public key.

  gavel keys new alice                  writes alice (0600) and alice.pub
  gavel keys show alice                 its account, fingerprint and public half
  gavel keys revoke worker-3            by the admin: out of use from now on
  gavel keys rotate alice alice-2 --key alice    another key in its place
  gavel keys history                    what was revoked and replaced, when and why`,
		Args: cobra.NoArgs,
		RunE: action(func(_ context.Context, c *cobra.Command, _ []string) error {
			return usage("say new, show, revoke, rotate or history")
		}),
	}
	c.AddCommand(keysNewCommand(), keysShowCommand(), keysRevokeCommand(), keysRotateCommand(), keysHistoryCommand())
	return c
}

// shownKey is what keys prints as JSON.
type shownKey struct {
	Path        string `json:"path"`
	Account     string `json:"account,omitempty"` // hex, of signing keys
	Fingerprint string `json:"fingerprint,omitempty"`
	PublicKey   string `json:"public_key"` // PEM of signing keys, hex of sealing keys
}

func (k *shownKey) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(k)
	}
	if k.Account != "" {
		fmt.Fprintf(w, "account      %s\nfingerprint  %s\n", k.Account, k.Fingerprint)
	}
	_, err := fmt.Fprintln(w, k.PublicKey)
	return err
}

func shownSigner(path string, pkix []byte) *shownKey {
	id := keys.ID(pkix)
	return &shownKey{
		Path: path, Account: hex.EncodeToString(id[:]), Fingerprint: keys.Fingerprint(id),
		PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})),
	}
}

func keysNewCommand() *cobra.Command {
	var algorithm string
	var sealing, encrypt, asJSON bool
	c := &cobra.Command{
		Use:   "new FILE",
		Short: "make a key",
		Long: `Writes a new signing key to FILE, readable by you alone, and its public half to
FILE.pub. An existing file is never written over. With --seal it makes an X25519 key
instead, of the kind that logs and lodged openings are encrypted to.

With --passphrase the private half is encrypted at rest, in the form that cosign reads
and writes. The passphrase is asked for on the terminal, now and whenever the key is
used, unless GAVEL_PASSWORD, a file that GAVEL_PASSWORD_FILE names, or the open
descriptor that GAVEL_PASSWORD_FD numbers has it.`,
		Args: wants("FILE"),
		RunE: action(func(_ context.Context, c *cobra.Command, args []string) error {
			if sealing && encrypt {
				return usage("--seal and --passphrase exclude each other: sealing keys are read by programs that run unattended")
			}
			if sealing {
				k, err := newSealKey(args[0])
				if err != nil {
					return refused(err)
				}
				return k.print(c.OutOrStdout(), asJSON)
			}
			if a := keys.Algorithm(algorithm); a != keys.Ed25519 && a != keys.ECDSAP256 {
				return usage("no algorithm %q: there are %s and %s", algorithm, keys.Ed25519, keys.ECDSAP256)
			}
			s, err := newSigningKey(args[0], keys.Algorithm(algorithm), encrypt)
			if err != nil {
				return refused(err)
			}
			return shownSigner(args[0], s.Public).print(c.OutOrStdout(), asJSON)
		}),
	}
	c.Flags().StringVar(&algorithm, "algorithm", string(keys.Ed25519), "ed25519 or ecdsa-p256")
	c.Flags().BoolVar(&encrypt, "passphrase", false, "encrypt the private half under a passphrase")
	c.Flags().BoolVar(&sealing, "seal", false, "make an X25519 key for sealed messages")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newSigningKey(path string, algorithm keys.Algorithm, encrypt bool) (*keys.Signer, error) {
	if !encrypt {
		return keys.Create(path, algorithm)
	}
	passphrase, err := keys.Passphrase(path, true)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	return keys.CreateEncrypted(path, algorithm, passphrase)
}

func newSealKey(path string) (*shownKey, error) {
	k, err := seal.GenerateKey()
	if err != nil {
		return nil, err
	}
	if err := seal.WriteKey(path, k); err != nil {
		return nil, err
	}
	public := k.Public()
	return &shownKey{Path: path, PublicKey: hex.EncodeToString(public[:])}, nil
}

func keysShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "show a key's account and public half",
		Long: `Shows the account, the fingerprint and the public half of a signing key: a file of
gavel keys new, its .pub, or a KMS URI.`,
		Args: wants("FILE"),
		RunE: action(func(ctx context.Context, c *cobra.Command, args []string) error {
			if raw, err := readSmall(args[0], maxPublicKeyBytes); err == nil {
				if public, err := keys.ParsePublic(raw); err == nil {
					pkix, err := keys.PKIX(public)
					if err != nil {
						return err
					}
					return shownSigner(args[0], pkix).print(c.OutOrStdout(), asJSON)
				}
			}
			s, err := keys.Load(ctx, args[0])
			if err != nil {
				return refused(err)
			}
			return shownSigner(args[0], s.Public).print(c.OutOrStdout(), asJSON)
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
