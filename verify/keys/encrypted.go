package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// The PEM blocks that a private key's file may hold. cosign wrote the older
// encrypted one before it had the other.
const (
	blockPrivate       = "PRIVATE KEY"
	blockEC            = "EC PRIVATE KEY"
	blockEncrypted     = "ENCRYPTED SIGSTORE PRIVATE KEY"
	blockEncryptedOnce = "ENCRYPTED COSIGN PRIVATE KEY"
)

// CreateEncrypted is Create with the private half encrypted under a passphrase: PKCS
// #8 inside scrypt (N = 2¹⁶, r = 8, p = 1) and NaCl's secretbox, in the PEM block
// that cosign calls ENCRYPTED SIGSTORE PRIVATE KEY.
func CreateEncrypted(path string, algorithm Algorithm, passphrase []byte) (*Signer, error) {
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("%w: the passphrase is empty", ErrPassphrase)
	}
	return create(path, algorithm, func(private crypto.PrivateKey) ([]byte, error) {
		der, err := cryptoutils.MarshalPrivateKeyToDER(private)
		if err != nil {
			return nil, err
		}
		defer clear(der)
		sealed, err := encrypted.Encrypt(der, passphrase)
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: blockEncrypted, Bytes: sealed}), nil
	})
}

// Encrypted says whether a key's file is encrypted; of what is no key's file, not.
func Encrypted(content []byte) bool {
	block, _ := pem.Decode(content)
	return block != nil && (block.Type == blockEncrypted || block.Type == blockEncryptedOnce)
}

// parsePrivate reads a private key in PEM, asking for a passphrase if it is
// encrypted.
func parsePrivate(content []byte, passphrase func() ([]byte, error)) (*Signer, error) {
	block, _ := pem.Decode(content)
	//lint:ignore SA1019 to refuse what it is about
	if block == nil || x509.IsEncryptedPEMBlock(block) {
		return nil, errors.New("it holds no PEM block PRIVATE KEY, or one in OpenSSL's old encrypted form; `gavel keys new --passphrase` encrypts keys")
	}
	var private crypto.PrivateKey
	var err error
	switch block.Type {
	case blockPrivate:
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case blockEC:
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case blockEncrypted, blockEncryptedOnce:
		private, err = decrypt(block.Bytes, passphrase)
	default:
		return nil, fmt.Errorf("its PEM block is %q; %s or %s is wanted", block.Type, blockPrivate, blockEncrypted)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w (%T)", ErrUnsupported, private)
	}
	return newSigner(signer)
}

func decrypt(sealed []byte, passphrase func() ([]byte, error)) (crypto.PrivateKey, error) {
	pass, err := passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	der, err := encrypted.Decrypt(sealed, pass)
	if err != nil {
		return nil, fmt.Errorf("%w: it is wrong, or the file is damaged: %w", ErrPassphrase, err)
	}
	defer clear(der)
	return x509.ParsePKCS8PrivateKey(der)
}
