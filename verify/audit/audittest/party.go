package audittest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
)

// Party is somebody with a signing key.
type Party struct {
	Name    string
	ID      raftfsm.ID
	PKIX    []byte
	private ed25519.PrivateKey
}

// newParty makes the same key for the same name at every run.
func newParty(name string) *Party {
	seed := sha256.Sum256([]byte("audittest " + name))
	private := ed25519.NewKeyFromSeed(seed[:])
	pkix, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		panic(fmt.Sprintf("audittest: %v", err)) // an Ed25519 key has an encoding
	}
	return &Party{Name: name, ID: build.AccountID(pkix), PKIX: pkix, private: private}
}

// Sign is the party's signature over msg.
func (p *Party) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(p.private, msg), nil }

func (p *Party) sign(msg []byte) []byte { return ed25519.Sign(p.private, msg) }

// worker is a machine that builds.
type worker struct {
	*Party
	pool, operator, machine, class string
	stake                          int64
}

func parties(kind string, n int) []*Party {
	out := make([]*Party, n)
	for i := range out {
		out[i] = newParty(fmt.Sprintf("%s-%d", kind, i+1))
	}
	return out
}
