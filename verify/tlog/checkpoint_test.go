package tlog

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// signer is a key of a log, a cosigner or a witness.
type signer struct {
	origin string
	pkix   []byte
	do     func([]byte) ([]byte, error)
	vkey   string
}

func newLogKey(t testing.TB) *signer {
	t.Helper()
	origin := Origin(sha256.Sum256([]byte("cluster")))
	s := newEd25519(t, origin)
	s.vkey = must(VerifierKey(origin, s.pkix))
	return s
}

func newEd25519(t testing.TB, name string) *signer {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{origin: name, pkix: pkixOf(t, pub), do: func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil }}
}

func newP256(t testing.TB, name string) *signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{origin: name, pkix: pkixOf(t, &private.PublicKey), do: func(msg []byte) ([]byte, error) {
		digest := sha256.Sum256(msg)
		return ecdsa.SignASN1(rand.Reader, private, digest[:])
	}}
}

func pkixOf(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (s *signer) sign(t testing.TB, c Checkpoint) []byte {
	t.Helper()
	signed, err := SignCheckpoint(c, s.do, s.pkix)
	if c.Origin != s.origin {
		signed, err = SignCheckpoint(c, s.do, s.pkix)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (s *signer) cosign(t testing.TB, signed []byte, at int64) []byte {
	t.Helper()
	line, err := Cosign(signed, s.origin, at, s.do, s.pkix)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// house is a log with three coordinators, one of them with a P-256 key, and two
// witnesses.
type house struct {
	log       *signer
	cosigners []*signer
	witnesses []*signer
	trust     Trust
}

func newHouse(t testing.TB) *house {
	h := &house{log: newLogKey(t)}
	origin := h.log.origin
	h.cosigners = []*signer{newEd25519(t, CosignerName(origin, "c1")), newEd25519(t, CosignerName(origin, "c2")), newP256(t, CosignerName(origin, "c3"))}
	h.witnesses = []*signer{newEd25519(t, "witness.example/w1"), newEd25519(t, "witness.example/w2")}
	h.trust = Trust{Origin: origin, LogKey: h.log.pkix, Quorum: Majority(3), WitnessQuorum: 1}
	for _, c := range h.cosigners {
		h.trust.Cosigners = append(h.trust.Cosigners, Cosigner{c.origin, c.pkix})
	}
	for _, w := range h.witnesses {
		h.trust.Witnesses = append(h.trust.Witnesses, Cosigner{w.origin, w.pkix})
	}
	return h
}

func add(t testing.TB, signed []byte, lines ...[]byte) []byte {
	t.Helper()
	out, err := AddSignatures(signed, lines...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTrustOpens(t *testing.T) {
	h := newHouse(t)
	c := Checkpoint{h.log.origin, 20852163, sha256.Sum256([]byte("root"))}
	signed := h.log.sign(t, c)
	if _, err := h.trust.Open(signed); !errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), "0 of 3 cosigners signed () and 2 are wanted, 0 of 2 witnesses and 1 are wanted") {
		t.Errorf("the log's signature alone: %v", err)
	}
	signed = add(t, signed, h.cosigners[2].cosign(t, signed, 7), h.cosigners[0].cosign(t, signed, 1700000000))
	if _, err := h.trust.Open(signed); !errors.Is(err, ErrSignature) {
		t.Errorf("without a witness: %v", err)
	}
	signed = add(t, signed, h.witnesses[1].cosign(t, signed, 1700000001))
	o, err := h.trust.Open(signed)
	if err != nil {
		t.Fatal(err)
	}
	if o.Checkpoint != c || strings.Join(o.Cosigners, " ") != h.cosigners[0].origin+" "+h.cosigners[2].origin || strings.Join(o.Witnesses, " ") != "witness.example/w2" ||
		len(o.Times) != 2 || o.Times[h.cosigners[0].origin] != 1700000000 || o.Times["witness.example/w2"] != 1700000001 {
		t.Errorf("%+v", o)
	}
	if again := add(t, signed, h.witnesses[1].cosign(t, signed, 1700000001)); string(again) != string(signed) {
		t.Error("adding a signature twice changed the note")
	}
	// Signatures of strangers are carried along.
	stranger := newEd25519(t, "stranger.example")
	if _, err := h.trust.Open(add(t, signed, stranger.cosign(t, signed, 1))); err != nil {
		t.Error(err)
	}
}

// Other programs' readers accept what is signed here.
func TestPublicReadersAcceptCheckpoints(t *testing.T) {
	h := newHouse(t)
	c := Checkpoint{h.log.origin, 300, sha256.Sum256([]byte("root"))}
	signed := h.log.sign(t, c)
	signed = add(t, signed, h.cosigners[0].cosign(t, signed, 1700000000), h.cosigners[2].cosign(t, signed, 0))
	logVerifier, err := note.NewVerifier(h.log.vkey)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := rawEd25519(h.cosigners[0].pkix)
	vkey, err := note.NewEd25519VerifierKey(h.cosigners[0].origin, raw)
	if err != nil {
		t.Fatal(err)
	}
	cosigner, err := formats.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	der := sha256.Sum256(h.cosigners[2].pkix)
	p256, err := formats.NewECDSAVerifier(fmt.Sprintf("%s+%x+%s", h.cosigners[2].origin, der[:4], base64Of(append([]byte{2}, h.cosigners[2].pkix...))))
	if err != nil {
		t.Fatal(err)
	}
	got, rest, n, err := log.ParseCheckpoint(signed, h.log.origin, logVerifier, cosigner, p256)
	if err != nil {
		t.Fatal(err)
	}
	if got.Size != c.Size || string(got.Hash) != string(c.Root[:]) || len(rest) != 0 || len(n.Sigs) != 3 {
		t.Errorf("%+v, %d signatures", got, len(n.Sigs))
	}
	at, err := formats.CoSigV1Timestamp(n.Sigs[1])
	if err != nil || at.Unix() != 1700000000 {
		t.Errorf("time %v, %v", at, err)
	}
	id, err := LogID(h.log.origin, h.log.pkix)
	if err != nil || fmt.Sprintf("%x", id[:4]) != strings.Split(h.log.vkey, "+")[1] {
		t.Errorf("log id %x, %v", id, err)
	}
}

func TestTrustRefuses(t *testing.T) {
	h := newHouse(t)
	h.trust.Witnesses, h.trust.WitnessQuorum = nil, 0
	c := Checkpoint{h.log.origin, 300, sha256.Sum256([]byte("root"))}
	signed := h.log.sign(t, c)
	good := add(t, signed, h.cosigners[0].cosign(t, signed, 1), h.cosigners[1].cosign(t, signed, 1))
	if _, err := h.trust.Open(good); err != nil {
		t.Fatal(err)
	}
	text, sigs, _ := strings.Cut(string(good), "\n\n")
	lines := strings.SplitAfter(sigs, "\n")
	other := newHouse(t)
	resigned := func(text string) string {
		line, err := must(logKey(h.log.origin, h.log.pkix)).signLine(text, 0, h.log.do)
		if err != nil {
			t.Fatal(err)
		}
		note := text + "\n" + string(line)
		for _, c := range h.cosigners[:2] {
			line, err := must(cosignerKey(c.origin, c.pkix)).signLine(text, 1, c.do)
			if err != nil {
				t.Fatal(err)
			}
			note += string(line)
		}
		return note
	}
	root := base64Of(c.Root[:])
	if _, err := h.trust.Open([]byte(resigned(c.text()))); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]struct {
		note string
		kind error
	}{
		"empty":               {"", ErrMalformed},
		"huge":                {strings.Repeat(string(good), 1000), ErrMalformed},
		"no signature":        {text + "\n\n", ErrMalformed},
		"cut":                 {string(good[:len(good)-1]), ErrMalformed},
		"another size":        {strings.Replace(string(good), "\n300\n", "\n301\n", 1), ErrSignature},
		"another log's":       {string(other.log.sign(t, c)), ErrSignature},
		"no log signature":    {text + "\n\n" + lines[1] + lines[2], ErrSignature},
		"one cosigner twice":  {text + "\n\n" + lines[0] + lines[1] + lines[1], ErrSignature},
		"one, at two times":   {text + "\n\n" + lines[0] + lines[1] + string(h.cosigners[0].cosign(t, signed, 2)), ErrSignature},
		"log key as cosigner": {text + "\n\n" + lines[0] + lines[1] + lines[0], ErrSignature},
		"under another name":  {text + "\n\n" + lines[0] + lines[1] + strings.Replace(lines[1], "/c1", "/c2", 1), ErrSignature},
		"other origin":        {resigned("other.log\n300\n" + root + "\n"), ErrSignature},
		"extension":           {resigned(c.text() + "more\n"), ErrMalformed},
		"leading zero":        {resigned(h.log.origin + "\n0300\n" + root + "\n"), ErrMalformed},
		"signed size":         {resigned(h.log.origin + "\n+300\n" + root + "\n"), ErrMalformed},
		"negative size":       {resigned(h.log.origin + "\n-1\n" + root + "\n"), ErrMalformed},
		"size past all bound": {resigned(h.log.origin + "\n18446744073709551615\n" + root + "\n"), ErrMalformed},
		"short root":          {resigned(h.log.origin + "\n300\n" + base64Of(c.Root[:31]) + "\n"), ErrMalformed},
		"loose base64":        {resigned(h.log.origin + "\n300\n" + strings.Replace(root, "=", "", 1) + "\n"), ErrMalformed},
		"two lines":           {resigned(h.log.origin + "\n300\n"), ErrMalformed},
	} {
		o, err := h.trust.Open([]byte(bad.note))
		if o != nil || !errors.Is(err, bad.kind) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	for name, change := range map[string]func(*Trust){
		"quorum too large":       func(t *Trust) { t.Quorum = 4 },
		"negative quorum":        func(t *Trust) { t.Quorum = -1 },
		"no log key":             func(t *Trust) { t.LogKey = nil },
		"P-256 log key":          func(t *Trust) { t.LogKey = h.cosigners[2].pkix },
		"one key, two names":     func(t *Trust) { t.Cosigners[1].PKIX = t.Cosigners[0].PKIX },
		"two keys, one name":     func(t *Trust) { t.Cosigners[1].Name = t.Cosigners[0].Name },
		"the log as cosigner":    func(t *Trust) { t.Cosigners[1].PKIX = t.LogKey },
		"the log's name":         func(t *Trust) { t.Cosigners[1].Name = t.Origin },
		"a cosigner as witness":  func(t *Trust) { t.Witnesses = t.Cosigners[:1] },
		"a key that is none":     func(t *Trust) { t.Cosigners[2].PKIX = []byte("x") },
		"a name that can't sign": func(t *Trust) { t.Cosigners[2].Name = "a b" },
	} {
		trust := h.trust
		trust.Cosigners = append([]Cosigner{}, h.trust.Cosigners...)
		change(&trust)
		if o, err := trust.Open(good); o != nil || err == nil || errors.Is(err, ErrSignature) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}

func TestSigningRefusals(t *testing.T) {
	h := newHouse(t)
	c := Checkpoint{h.log.origin, 300, sha256.Sum256([]byte("root"))}
	if _, err := SignCheckpoint(c, h.cosigners[0].do, h.log.pkix); !errors.Is(err, ErrSignature) {
		t.Errorf("another's signature: %v", err)
	}
	if _, err := SignCheckpoint(Checkpoint{"a b", 1, c.Root}, h.log.do, h.log.pkix); !errors.Is(err, ErrMalformed) {
		t.Errorf("no origin: %v", err)
	}
	if _, err := SignCheckpoint(c, h.cosigners[2].do, h.cosigners[2].pkix); err == nil {
		t.Error("a P-256 key signed as a log")
	}
	refused := errors.New("kms is away")
	if _, err := SignCheckpoint(c, func([]byte) ([]byte, error) { return nil, refused }, h.log.pkix); !errors.Is(err, refused) {
		t.Errorf("signer fails: %v", err)
	}
	signed := h.log.sign(t, c)
	for name, err := range map[string]error{
		"no note":   second(Cosign([]byte("x"), "n", 1, h.log.do, h.log.pkix)),
		"bad name":  second(Cosign(signed, "a+b", 1, h.log.do, h.log.pkix)),
		"past":      second(Cosign(signed, "n", -1, h.log.do, h.log.pkix)),
		"not a log": second(Cosign([]byte("a\n\n— a AAAAAAAAAAAA\n"), "n", 1, h.log.do, h.log.pkix)),
		"other key": second(Cosign(signed, "n", 1, h.log.do, h.cosigners[0].pkix)),
	} {
		if err == nil {
			t.Errorf("cosigning with %s succeeded", name)
		}
	}
	for _, line := range []string{"", "\n", "— a AAAA\n", "— a AAAAAAAAAAAA", "x\n\n— a AAAAAAAAAAAA\n", "— a AAAAAAAAAAAA\n— b AAAAAAAAAAAA\n", "- a AAAAAAAAAAAA\n"} {
		if _, err := AddSignatures(signed, []byte(line)); !errors.Is(err, ErrMalformed) {
			t.Errorf("line %q: %v", line, err)
		}
	}
	var many [][]byte
	for i := range 101 {
		many = append(many, fmt.Appendf(nil, "— n%d AAAAAAAAAAAA\n", i))
	}
	if _, err := AddSignatures(signed, many...); err == nil {
		t.Error("more signatures than readers take")
	}
}
