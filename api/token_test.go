package api

import (
	"context"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

var testNow = time.UnixMilli(1_800_000_000_000)

// signed returns a good token after change, signed where resign says so.
func signed(change func(*Token), resign bool) string {
	s := newSigner(1)
	t := Token{Cluster: cluster, Key: s.PublicPKIX(), Account: build.AccountID(s.PublicPKIX()), Audience: AudienceFarm, ExpiresWallMillis: testNow.Add(time.Minute).UnixMilli()}
	if !resign {
		t.Signature, _ = s.Sign(t.signingBytes())
	}
	change(&t)
	if resign {
		t.Signature, _ = s.Sign(t.signingBytes())
	}
	return base64.RawURLEncoding.EncodeToString(wire.Encode(&t))
}

func incoming(values ...string) context.Context {
	md := metadata.MD{}
	md.Append(tokenKey, values...)
	return metadata.NewIncomingContext(context.Background(), md)
}

func TestAuthenticate(t *testing.T) {
	good := signed(func(*Token) {}, true)
	account, err := Authenticate(incoming(good), cluster, AudienceFarm, testNow)
	if err != nil || account != build.AccountID(newSigner(1).PublicPKIX()) {
		t.Fatalf("good token: %x, %v", account, err)
	}
	other := newSigner(2)
	for name, values := range map[string][]string{
		"none": {}, "two": {good, good}, "empty": {""}, "padded": {good + "="}, "not base64": {"%%"}, "cut": {good[:40]},
		"long":              {good + string(make([]byte, maxTokenBytes))},
		"other cluster":     {signed(func(t *Token) { t.Cluster[0] ^= 1 }, true)},
		"other audience":    {signed(func(t *Token) { t.Audience = AudienceNode(cluster) }, true)},
		"expired":           {signed(func(t *Token) { t.ExpiresWallMillis -= 10 * 60_000 }, true)},
		"too long":          {signed(func(t *Token) { t.ExpiresWallMillis += 60 * 60_000 }, true)},
		"another's account": {signed(func(t *Token) { t.Account = build.AccountID(other.PublicPKIX()) }, true)},
		"another's key":     {signed(func(t *Token) { t.Key, t.Account = other.PublicPKIX(), build.AccountID(other.PublicPKIX()) }, true)},
		"longer after all":  {signed(func(t *Token) { t.ExpiresWallMillis++ }, false)},
		"unsigned":          {signed(func(t *Token) { t.Signature = nil }, false)},
		"trailing byte":     {good[:len(good)-1] + "AA"},
	} {
		if _, err := Authenticate(incoming(values...), cluster, AudienceFarm, testNow); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// countingSigner counts how often it signs.
type countingSigner struct {
	edSigner
	signed *int
}

func (s countingSigner) Sign(msg []byte) ([]byte, error) { *s.signed++; return s.edSigner.Sign(msg) }

func TestCredentialsUseATokenForHalfItsLife(t *testing.T) {
	n, now := 0, testNow
	c := NewCredentials(cluster, AudienceFarm, countingSigner{newSigner(1), &n})
	c.now = func() time.Time { return now }
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {MaxTokenLifetime / 2, 1}, {time.Second, 2}, {-time.Hour, 3}} {
		now = now.Add(step.after)
		md, err := c.GetRequestMetadata(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Authenticate(incoming(md[tokenKey]), cluster, AudienceFarm, now); err != nil {
			t.Errorf("after %v: %v", step.after, err)
		}
		if n != step.want {
			t.Errorf("after %v: signed %d times, want %d", step.after, n, step.want)
		}
	}
}

func TestVerifyReceipt(t *testing.T) {
	s, command := newSigner(1), []byte("a command")
	keys := map[[32]byte][]byte{build.AccountID(s.PublicPKIX()): s.PublicPKIX()}
	for name, change := range map[string]func(r *gavelv1.Receipt){
		"":            func(*gavelv1.Receipt) {},
		"index":       func(r *gavelv1.Receipt) { r.Index++ },
		"code":        func(r *gavelv1.Receipt) { r.Code++ },
		"subject":     func(r *gavelv1.Receipt) { r.Subject = slices.Repeat([]byte{1}, 32) },
		"digest":      func(r *gavelv1.Receipt) { r.CommandDigest = r.Subject },
		"coordinator": func(r *gavelv1.Receipt) { r.Coordinator = r.Subject },
		"short":       func(r *gavelv1.Receipt) { r.Subject = nil },
		"unsigned":    func(r *gavelv1.Receipt) { r.Signature = nil },
	} {
		r, err := NewReceipt(cluster, s, command, 3, build.Outcome{Code: build.CodeBusy, Detail: "later"})
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		if err := VerifyReceipt(cluster, keys, command, r); (err == nil) != (name == "") {
			t.Errorf("%s changed: %v", name, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(signed(func(*Token) {}, true))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseToken(text)
		if err != nil {
			return
		}
		if again := base64.RawURLEncoding.EncodeToString(wire.Encode(token)); again != text {
			t.Fatalf("two texts for one token: %q and %q", text, again)
		}
	})
}
