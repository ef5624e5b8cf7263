package beacon_test

import (
	"fmt"
	"testing"
	"time"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"

	"gavel/raftfsm/beacon"
)

// inPairingChecks reports the time of op as a multiple of one bare check of a
// product of two pairings, what no verification of a BLS signature does without,
// measured in turns with it.
func inPairingChecks(b *testing.B, op func() error) {
	_, _, g1, g2 := bls.Generators()
	var negated bls.G1Affine
	negated.Neg(&g1)
	var limit time.Duration
	for b.Loop() {
		begin := time.Now()
		if ok, err := bls.PairingCheck([]bls.G1Affine{g1, negated}, []bls.G2Affine{g2, g2}); !ok || err != nil {
			b.Fatal(ok, err)
		}
		limit += time.Since(begin)
		if err := op(); err != nil {
			b.Fatal(err)
		}
	}
	took := b.Elapsed() - limit
	b.ReportMetric(0, "ns/op") // of both
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "us/run")
	b.ReportMetric(float64(took)/float64(limit), "x-pairing-check")
}

func BenchmarkSign(b *testing.B) {
	f := setup(b, 5)
	inPairingChecks(b, func() error {
		f.shares[0].Sign(message(0))
		return nil
	})
}

func BenchmarkVerify(b *testing.B) {
	f := setup(b, 5)
	sig := f.sign(b, message(0))
	inPairingChecks(b, func() error { return beacon.Verify(f.group.Key, message(0), sig) })
}

// Combining includes one verification of the outcome.
func BenchmarkCombine3of5(b *testing.B) {
	f := setup(b, 5)
	var partials []beacon.Partial
	for _, s := range f.shares[:3] {
		partials = append(partials, s.Sign(message(0)))
	}
	inPairingChecks(b, func() error {
		_, err := f.group.Combine(message(0), partials)
		return err
	})
}

// The metric is what one signature of the batch costs, as a share of verifying
// it alone in the same run.
func BenchmarkVerifyBatch(b *testing.B) {
	f := setup(b, 1)
	for _, n := range []int{2, 16, 128, 1024} {
		msgs, sigs := make([][]byte, n), make([]beacon.Signature, n)
		for i := range n {
			msgs[i] = message(i)
			sigs[i] = f.shares[0].Sign(msgs[i]).Sig
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const probes = 50
			start := time.Now()
			for i := range probes {
				if err := beacon.Verify(f.group.Key, msgs[i%n], sigs[i%n]); err != nil {
					b.Fatal(err)
				}
			}
			alone := float64(time.Since(start).Nanoseconds()) / probes
			for b.Loop() {
				if err := beacon.VerifyBatch(f.group.Key, msgs, sigs); err != nil {
					b.Fatal(err)
				}
			}
			each := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(n)
			b.ReportMetric(each, "ns/signature")
			b.ReportMetric(each/alone, "x-alone")
		})
	}
}

func BenchmarkDealVerify3of5(b *testing.B) {
	f := deal(b, 5)
	inPairingChecks(b, func() error { return f.deals[0].Verify(f.ceremony) })
}
