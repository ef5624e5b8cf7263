package seal

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// kem is DHKEM(X25519, HKDF-SHA256).
var kem = hpke.DHKEM(ecdh.X25519())

// PrivateKey is an X25519 key that opens what was sealed to its public half.
type PrivateKey struct {
	ecdh *ecdh.PrivateKey
	hpke hpke.PrivateKey
}

// GenerateKey makes a key.
func GenerateKey() (*PrivateKey, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating an X25519 key: %w", err)
	}
	return newPrivateKey(key)
}

func newPrivateKey(key *ecdh.PrivateKey) (*PrivateKey, error) {
	h, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("using an X25519 key: %w", err)
	}
	return &PrivateKey{ecdh: key, hpke: h}, nil
}

// Public is the 32 bytes that others seal to: build.Terms.LogKey of a
// requester, build.Coordinator.SealKey of a coordinator.
func (k *PrivateKey) Public() [32]byte { return [32]byte(k.ecdh.PublicKey().Bytes()) }

// HPKE is the key for packages that open messages of their own, such as raftfsm/beacon.
func (k *PrivateKey) HPKE() hpke.PrivateKey { return k.hpke }

const pemType = "PRIVATE KEY"

// MarshalPEM writes the key as PKCS #8 (RFC 8410) in PEM.
func (k *PrivateKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.ecdh)
	if err != nil {
		return nil, fmt.Errorf("encoding an X25519 key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// ParsePEM reads what MarshalPEM wrote.
func ParsePEM(data []byte) (*PrivateKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(rest) != 0 {
		return nil, errors.New("not one PEM block of type PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing a PKCS #8 key: %w", err)
	}
	key, ok := parsed.(*ecdh.PrivateKey)
	if !ok || key.Curve() != ecdh.X25519() {
		return nil, fmt.Errorf("the key is a %T, want X25519", parsed)
	}
	return newPrivateKey(key)
}

// WriteKey stores a new key at path, mode 0600, and refuses to replace a file:
// what was sealed to the old key would be lost. A crash leaves either no file
// at path or the whole key, and at worst a stray temporary file beside it.
func WriteKey(path string, k *PrivateKey) error {
	data, err := k.MarshalPEM()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // CreateTemp makes it 0600
	if err != nil {
		return fmt.Errorf("writing key %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing key %s: %w", path, err)
	}
	// A link, unlike a rename, fails where the name is taken.
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("key %w: %s; name another or move it away", fs.ErrExist, path)
	} else if err != nil {
		return fmt.Errorf("writing key %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// ReadKey loads what WriteKey stored.
func ReadKey(path string) (*PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes))
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", path, err)
	}
	k, err := ParsePEM(data)
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", path, err)
	}
	return k, nil
}

// syncDir makes a new name in dir last through a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
