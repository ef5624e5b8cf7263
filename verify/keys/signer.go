package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
)

// Algorithm is a kind of signing key.
type Algorithm string

// The kinds of signing keys.
const (
	Ed25519   Algorithm = "ed25519"
	ECDSAP256 Algorithm = "ecdsa-p256"
)

// PublicSuffix is what Create adds to a private key's path for its public half.
const PublicSuffix = ".pub"

// ErrExists says that Create would have written over a key: name another file.
var ErrExists = errors.New("key file exists already")

// Signer signs for one participant, from a file or a KMS. It is a sigstore
// signer, and safe for concurrent use.
type Signer struct {
	signature.Signer
	// Public is the key in PKIX DER, ID its SHA-256.
	Public []byte
	ID     [32]byte
}

// Sign is the signature over msg, as Verify checks it. A KMS may take a while
// and fail; the error then is worth a retry.
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	sig, err := s.SignMessage(bytes.NewReader(msg))
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", Fingerprint(s.ID), err)
	}
	return sig, nil
}

// Create makes a key and writes it: the private half at path, PKCS #8 in PEM,
// mode 0600, the public half at path + ".pub". An existing file is never
// written over.
func Create(path string, algorithm Algorithm) (*Signer, error) {
	return create(path, algorithm, cryptoutils.MarshalPrivateKeyToPEM)
}

func create(path string, algorithm Algorithm, encode func(crypto.PrivateKey) ([]byte, error)) (*Signer, error) {
	private, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	secret, err := encode(private)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	defer clear(secret)
	public, err := cryptoutils.MarshalPublicKeyToPEM(private.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	if _, err := os.Lstat(path + PublicSuffix); err == nil {
		return nil, fmt.Errorf("%w: %s; name another or move it away", ErrExists, path+PublicSuffix)
	}
	// The private key goes first: after a crash between the two, the public half
	// can be had from it, never the other way round.
	if err := writeNew(path, secret, 0o600); err != nil {
		return nil, err
	}
	if err := writeNew(path+PublicSuffix, public, 0o644); err != nil {
		return nil, err
	}
	return newSigner(private)
}

func generate(algorithm Algorithm) (crypto.Signer, error) {
	switch algorithm {
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return nil, fmt.Errorf("no signing algorithm %q; there are %s and %s", algorithm, Ed25519, ECDSAP256)
}

// writeNew writes a file that must not exist, and its directory's entry, to disk.
func writeNew(path string, content []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s; name another or move it away", ErrExists, path)
	}
	if err != nil {
		return fmt.Errorf("creating key file: %w", err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		// Half a key is of no use and would block the next attempt.
		return fmt.Errorf("writing key file: %w", errors.Join(err, os.Remove(path)))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("opening directory of key file: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("writing directory of key file: %w", err)
	}
	return nil
}

// Load opens a signing key: a file as Create or CreateEncrypted writes it, or a KMS
// key by its URI ("awskms://…"), for which sigstore's registered providers and its
// plugin programs on the PATH are asked. For an encrypted file Passphrase is asked.
func Load(ctx context.Context, ref string) (*Signer, error) {
	if strings.Contains(ref, "://") {
		return loadKMS(ctx, ref)
	}
	content, err := readPrivate(ref)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	s, err := parsePrivate(content, func() ([]byte, error) { return Passphrase(ref, false) })
	if err != nil {
		return nil, fmt.Errorf("reading key file %s: %w", ref, err)
	}
	return s, nil
}

// readPrivate reads a private key's file if strangers cannot. A group may: that
// is how orchestrators mount secrets.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening key file: %w; make one with `gavel keys`", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening key file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFileBytes {
		return nil, fmt.Errorf("key file %s: not a file of at most %d bytes", path, maxKeyFileBytes)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("key file %s has mode %04o, open to everyone; chmod 600 it, and replace the key if others use this machine", path, mode)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes))
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	return content, nil
}

func newSigner(private crypto.Signer) (*Signer, error) {
	public, err := PKIX(private.Public())
	if err != nil {
		return nil, err
	}
	sv, err := signature.LoadSignerVerifier(private, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("loading signing key: %w", err)
	}
	return &Signer{Signer: sv, Public: public, ID: ID(public)}, nil
}

func loadKMS(ctx context.Context, uri string) (*Signer, error) {
	sv, err := kms.Get(ctx, uri, crypto.SHA256)
	if missing := new(kms.ProviderNotFoundError); errors.As(err, &missing) {
		scheme, _, _ := strings.Cut(uri, "://")
		linked := kms.SupportedProviders()
		slices.Sort(linked)
		return nil, fmt.Errorf("no key management provider for %q: linked into this binary are [%s]; "+
			"put sigstore's plugin program sigstore-kms-%s on the PATH, or name a key file", uri, strings.Join(linked, " "), scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", uri, err)
	}
	pub, err := sv.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("asking for the public half of %s: %w", uri, err)
	}
	public, err := PKIX(pub)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", uri, err)
	}
	return &Signer{Signer: sv, Public: public, ID: ID(public)}, nil
}
