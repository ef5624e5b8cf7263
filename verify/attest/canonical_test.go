package attest_test

import (
	"bytes"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"pgregory.net/rapid"

	"gavel/verify/attest"
	"gavel/verify/keys"
)

// Whatever is written is RFC 8785's form of itself, by the reference's own code,
// for any text: control characters, U+2028, and keys that UTF-8 and UTF-16 order
// differently.
func TestEverythingWrittenIsCanonical(t *testing.T) {
	pub, signer := p256Key(t)
	pkix, err := keys.PKIX(pub)
	if err != nil {
		t.Fatal(err)
	}
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\u2028", "\u2029\\u2028", "\x00\x01\b\f\n\r\t\x1f\x7f", "<&>'\"\\", "\U0001f600", "\uffff", "\ue000", "€ö"}))
	rapid.Check(t, func(t *rapid.T) {
		hold := func(what string, raw []byte, err error) []byte {
			if err != nil {
				t.Fatal(err)
			}
			want, err := jsoncanonicalizer.Transform(raw)
			if err != nil || !bytes.Equal(raw, want) {
				t.Fatalf("the %s is\n%s\nits canonical form\n%s\n%v", what, raw, want, err)
			}
			return raw
		}
		p := sample()
		p.Argv, p.Env = rapid.SliceOfN(text, 1, 3).Draw(t, "argv"), nil
		for name, value := range rapid.MapOfN(text, text, 0, 6).Draw(t, "env") {
			p.Env = append(p.Env, attest.EnvVar{Name: name, Value: value})
		}
		p.Builder.Name, p.Builder.Class = text.Draw(t, "name"), text.Draw(t, "class")
		st, err := p.Statement()
		st = hold("provenance", st, err)
		w, opens := withheld()
		w.Builder.Class = text.Draw(t, "host's class")
		raw, err := w.Statement()
		hold("withheld provenance", raw, err)
		raw, err = opens.File()
		hold("opening", raw, err)

		s := sampleSummary()
		s.Pool, s.Platform, s.Subjects[0].Name = text.Draw(t, "pool"), text.Draw(t, "platform"), text.Draw(t, "subject")
		s.LeftOut[0].Why, s.Expected[1].Path = text.Draw(t, "why"), "z"+text.Draw(t, "path")
		raw, err = s.Statement()
		hold("summary", raw, err)

		sig, err := attest.Sign(st, signer)
		if err != nil {
			t.Fatal(err)
		}
		raw, err = attest.Leaf(st, sig, pkix)
		hold("leaf", raw, err)
		raw, err = attest.Envelope(st, sig)
		hold("envelope", raw, err)
	})
}
