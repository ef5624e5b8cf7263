package draw

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

// BenchmarkDomains draws the whole list of names of n domains with two workers
// each. x-sha256 is its time as a multiple of the limit, in turns in the same
// run: hashing as many blocks of the stream as the 2n−1 numbers take. The rest is
// sorting the candidates, who come in no order.
func BenchmarkDomains(b *testing.B) {
	for _, n := range []int{8, 100, 1000} {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			var candidates []Candidate
			for i := range 2 * n {
				domain := fmt.Sprint("operator-", i*7919%n)
				candidates = append(candidates, Candidate{Domain: domain, Worker: sha256.Sum256(fmt.Append(nil, i))})
			}
			input := make([]byte, sha256.Size+wordBytes)
			blocks := ((2*n-1)*wordBytes + sha256.Size - 1) / sha256.Size
			var hashing time.Duration
			run := uint64(0)
			for b.Loop() {
				begin := time.Now()
				for range blocks {
					sum := sha256.Sum256(input)
					copy(input, sum[:])
				}
				hashing += time.Since(begin)
				if names := Domains(numbered(run), candidates); len(names) != n {
					b.Fatalf("%d names of %d domains", len(names), n)
				}
				run++
			}
			drawing := b.Elapsed() - hashing
			b.ReportMetric(float64(drawing.Nanoseconds())/float64(b.N)/1e3, "us/draw")
			b.ReportMetric(float64(drawing)/float64(hashing), "x-sha256")
			b.ReportMetric(0, "ns/op") // of both
		})
	}
}
