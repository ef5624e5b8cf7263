package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// tokenKey is the metadata key under which a token travels.
const tokenKey = "gavel-token"

// AudienceFarm is the audience of tokens for the Farm service and the CAS of any coordinator.
const AudienceFarm = "farm"

// AudienceNode is the audience of tokens for the Node service of one
// coordinator, so that it cannot pass a peer's token on to another.
func AudienceNode(coordinator [32]byte) string { return "node/" + hex.EncodeToString(coordinator[:]) }

// Signer signs for an account: Ed25519 over msg, or ECDSA P-256 in ASN.1 over
// its SHA-256. The account is the SHA-256 of PublicPKIX.
type Signer interface {
	PublicPKIX() []byte
	Sign(msg []byte) ([]byte, error)
}

// Token says who calls. It proves itself: the account is the hash of the key
// that signed it.
type Token struct {
	Cluster           [32]byte
	Account           [32]byte
	Key               []byte // PKIX DER
	ExpiresWallMillis int64  // since 1970, at most MaxTokenLifetime ahead
	Audience          string
	Signature         []byte
}

// Code is the canonical encoding.
func (t *Token) Code(c *wire.Coder) {
	c.Bytes32(&t.Cluster)
	c.Bytes32(&t.Account)
	c.Blob(&t.Key, maxKeyBytes)
	c.I64(&t.ExpiresWallMillis)
	c.String(&t.Audience, maxAudienceBytes)
	c.Blob(&t.Signature, build.MaxSignatureBytes)
}

// signingBytes is H("token" ‖ cluster ‖ account ‖ key ‖ expires ‖ audience).
func (t *Token) signingBytes() []byte {
	h := wire.NewHasher("token").Fixed(t.Cluster).Fixed(t.Account).Var(t.Key).I64(t.ExpiresWallMillis).Text(t.Audience).Sum()
	return h[:]
}

// errToken is wrapped by every refusal of a token.
var errToken = errors.New("token refused")

// check holds a token against what this coordinator expects.
func (t *Token) check(cluster [32]byte, audience string, now time.Time) error {
	left := time.Duration(t.ExpiresWallMillis-now.UnixMilli()) * time.Millisecond
	switch {
	case t.Cluster != cluster:
		return fmt.Errorf("%w: it is for cluster %x, this is %x", errToken, t.Cluster[:4], cluster[:4])
	case t.Audience != audience:
		return fmt.Errorf("%w: it is for %q, not for %q", errToken, t.Audience, audience)
	case left < -maxClockSkew:
		return fmt.Errorf("%w: it expired %v ago; check this machine's clock", errToken, (-left).Round(time.Second))
	case left > MaxTokenLifetime+maxClockSkew:
		return fmt.Errorf("%w: it expires in %v, at most %v are allowed; check this machine's clock", errToken, left.Round(time.Second), MaxTokenLifetime)
	case build.AccountID(t.Key) != t.Account:
		return fmt.Errorf("%w: its account is not the hash of its key", errToken)
	}
	if err := wire.VerifySignature(t.Key, t.signingBytes(), t.Signature); err != nil {
		return fmt.Errorf("%w: %w", errToken, err)
	}
	return nil
}

// Authenticate returns the key, by its AccountID, whose token came with an
// incoming call: that of an account which has had no other, or will be once it is
// opened. Whose a key is that took another's place only the state knows. Errors are
// gRPC statuses of code Unauthenticated.
func Authenticate(ctx context.Context, cluster [32]byte, audience string, now time.Time) ([32]byte, error) {
	values := metadata.ValueFromIncomingContext(ctx, tokenKey)
	if len(values) != 1 {
		return [32]byte{}, status.Errorf(codes.Unauthenticated, "%d values of %q in the call's metadata, want one: this call needs a key", len(values), tokenKey)
	}
	t, err := parseToken(values[0])
	if err == nil {
		err = t.check(cluster, audience, now)
	}
	if err != nil {
		return [32]byte{}, status.Error(codes.Unauthenticated, err.Error())
	}
	return t.Account, nil
}

func parseToken(text string) (*Token, error) {
	if len(text) > maxTokenBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errToken, len(text), maxTokenBytes)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: not base64url without padding", errToken)
	}
	var t Token
	if err := wire.Decode(raw, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	return &t, nil
}

// Credentials are per-RPC credentials that mint tokens for one cluster and
// audience and use each for half its life: a signer may be a remote KMS.
type Credentials struct {
	cluster  [32]byte
	audience string
	signer   Signer
	now      func() time.Time

	mu      sync.Mutex // guards what follows, and keeps minting to one at a time
	text    string
	refresh time.Time
}

// NewCredentials makes credentials for a cluster and audience.
func NewCredentials(cluster [32]byte, audience string, signer Signer) *Credentials {
	return &Credentials{cluster: cluster, audience: audience, signer: signer, now: time.Now}
}

// GetRequestMetadata is called by gRPC for every call.
func (c *Credentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.text == "" || now.After(c.refresh) || c.refresh.Sub(now) > MaxTokenLifetime {
		t := Token{Cluster: c.cluster, Key: c.signer.PublicPKIX(), Audience: c.audience, ExpiresWallMillis: now.Add(MaxTokenLifetime).UnixMilli()}
		t.Account = build.AccountID(t.Key)
		var err error
		if t.Signature, err = c.signer.Sign(t.signingBytes()); err != nil {
			return nil, status.Errorf(codes.Unauthenticated, "signing a token: %v", err)
		}
		c.text = base64.RawURLEncoding.EncodeToString(wire.Encode(&t))
		c.refresh = now.Add(MaxTokenLifetime / 2)
	}
	return map[string]string{tokenKey: c.text}, nil
}

// RequireTransportSecurity lets tokens travel over the plain connections of a
// farm on one machine; a token names its cluster and dies within minutes.
func (c *Credentials) RequireTransportSecurity() bool { return false }
