package attest_test

import (
	"crypto"
	"crypto/ed25519"
	"testing"
	"time"

	"gavel/verify/attest"
)

// BenchmarkVerifyBundle reports, as x-signature, how many times longer checking an
// attestation takes than checking its one Ed25519 signature, in turns in the same
// run; the rest is reading the bundle and the statement strictly.
func BenchmarkVerifyBundle(b *testing.B) {
	pub, signer := ed25519Key(b)
	st := statement(b, sample())
	sig, err := attest.Sign(st, signer)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := attest.Assemble(st, sig, pub)
	if err != nil {
		b.Fatal(err)
	}
	var signature time.Duration
	for b.Loop() {
		begin := time.Now()
		if err := ed25519.VerifyWithOptions(pub.(ed25519.PublicKey), attest.Payload(st), sig, &ed25519.Options{Hash: crypto.Hash(0)}); err != nil {
			b.Fatal(err)
		}
		signature += time.Since(begin)
		if _, err := attest.VerifyBundle(raw, artifact, pub); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed()-signature)/float64(signature), "x-signature")
}
