package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"

	"gavel/verify/keys"
)

func TestCreateLoadSignVerify(t *testing.T) {
	for _, algorithm := range []keys.Algorithm{keys.Ed25519, keys.ECDSAP256} {
		t.Run(string(algorithm), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "worker.key")
			made, err := keys.Create(path, algorithm)
			if err != nil {
				t.Fatal(err)
			}
			for name, mode := range map[string]os.FileMode{path: 0o600, path + keys.PublicSuffix: 0o644} {
				if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
					t.Errorf("%s: %v, %v", name, info.Mode(), err)
				}
			}
			read, err := keys.Load(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if read.ID != made.ID || !bytes.Equal(read.Public, made.Public) || read.ID != sha256.Sum256(made.Public) {
				t.Error("the key read is not the key made")
			}
			raw, err := os.ReadFile(path + keys.PublicSuffix)
			if err != nil {
				t.Fatal(err)
			}
			pub, err := keys.ParsePublic(raw)
			if err != nil {
				t.Fatal(err)
			}
			if der, err := keys.PKIX(pub); err != nil || !bytes.Equal(der, made.Public) {
				t.Errorf("public file holds another key: %v", err)
			}
			sig, err := read.Sign([]byte("a bid"))
			if err != nil {
				t.Fatal(err)
			}
			if err := keys.Verify(made.Public, []byte("a bid"), sig); err != nil {
				t.Error(err)
			}
			if err := keys.Verify(made.Public, []byte("a lid"), sig); !errors.Is(err, keys.ErrBadSignature) {
				t.Errorf("another message: %v", err)
			}
			if want := "SHA256:" + base64.StdEncoding.EncodeToString(made.ID[:]); keys.Fingerprint(made.ID) != want {
				t.Error(keys.Fingerprint(made.ID))
			}
		})
	}
}

func TestCreateNeverWritesOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "k")
	if _, err := keys.Create(path, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	if _, err := keys.Create(path, keys.Ed25519); !errors.Is(err, keys.ErrExists) {
		t.Errorf("second time: %v", err)
	}
	if err := os.Remove(path + keys.PublicSuffix); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Create(path, keys.Ed25519); !errors.Is(err, keys.ErrExists) {
		t.Errorf("private half alone: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the private key changed")
	}
	lone := filepath.Join(dir, "lone")
	if err := os.WriteFile(lone+keys.PublicSuffix, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Create(lone, keys.Ed25519); !errors.Is(err, keys.ErrExists) {
		t.Errorf("public half alone: %v", err)
	}
	if _, err := os.Stat(lone); err == nil {
		t.Error("a private key was left beside somebody else's public key")
	}
	if _, err := keys.Create(filepath.Join(dir, "no", "dir"), keys.Ed25519); err == nil {
		t.Error("created in no directory")
	}
	if _, err := keys.Create(filepath.Join(dir, "x"), "rsa"); err == nil || !strings.Contains(err.Error(), "ecdsa-p256") {
		t.Errorf("unknown algorithm: %v", err)
	}
}

func TestLoadRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, content, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	private := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, c := range map[string]struct{ path, says string }{
		"none":       {filepath.Join(dir, "absent"), "gavel keys"},
		"directory":  {dir, "not a file"},
		"world":      {write("world", private(ed), 0o604), "chmod 600"},
		"no pem":     {write("nopem", []byte("hello"), 0o600), "PEM block"},
		"public":     {write("pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}), 0o600), "PEM block"},
		"p384":       {write("p384", private(p384), 0o600), "neither Ed25519 nor"},
		"rsa":        {write("rsa", private(rsaKey), 0o600), "neither Ed25519 nor"},
		"too big":    {write("big", make([]byte, 1<<20), 0o600), "at most"},
		"kms":        {"awskms:///alias/x", "sigstore-kms-awskms"},
		"kms nobody": {"://", "no key management provider"},
	} {
		if _, err := keys.Load(t.Context(), c.path); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, c.says)
		}
	}
	if _, err := keys.Load(t.Context(), write("group", private(ed), 0o640)); err != nil {
		t.Errorf("a secret mounted for a group: %v", err)
	}
}

func TestPublicRefusals(t *testing.T) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	der, _ := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	for what, b := range map[string][]byte{
		"empty": nil, "rsa": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "huge": make([]byte, 1<<20),
	} {
		if _, err := keys.ParsePublic(b); err == nil {
			t.Errorf("%s: parsed", what)
		}
	}
	for _, k := range []crypto.PublicKey{nil, (*ecdsa.PublicKey)(nil), ed25519.PublicKey{1}, &rsaKey.PublicKey} {
		if _, err := keys.PKIX(k); !errors.Is(err, keys.ErrUnsupported) {
			t.Errorf("%T: %v", k, err)
		}
	}
}

// cloud is a KMS provider as sigstore registers them, with its key in memory.
type cloud struct {
	signature.SignerVerifier
}

func (cloud) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.New("no")
}
func (cloud) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.New("no")
}
func (cloud) SupportedAlgorithms() []string { return nil }
func (cloud) DefaultAlgorithm() string      { return "" }

func TestLoadFromKMS(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	big, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	kms.AddProvider("testkms://", func(_ context.Context, ref string, hash crypto.Hash, _ ...signature.RPCOption) (kms.SignerVerifier, error) {
		chosen := key
		switch ref {
		case "testkms://big":
			chosen = big
		case "testkms://away":
			return nil, errors.New("region is away")
		}
		sv, err := signature.LoadSignerVerifier(chosen, hash)
		return cloud{sv}, err
	})
	s, err := keys.Load(t.Context(), "testkms://p256")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign([]byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Verify(s.Public, []byte("m"), sig); err != nil {
		t.Error(err)
	}
	for uri, says := range map[string]string{
		"testkms://big": "neither Ed25519 nor", "testkms://away": "region is away", "other://x": "[testkms://]",
	} {
		if _, err := keys.Load(t.Context(), uri); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func FuzzParsePublic(f *testing.F) {
	pub, _, _ := ed25519.GenerateKey(rand.Reader)
	der, _ := x509.MarshalPKIXPublicKey(pub)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	f.Fuzz(func(t *testing.T, b []byte) {
		pub, err := keys.ParsePublic(b)
		if err != nil {
			return
		}
		der, err := keys.PKIX(pub)
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Verify(der, nil, nil); err == nil {
			t.Fatal("an empty signature verifies")
		}
	})
}
