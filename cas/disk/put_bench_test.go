package disk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"gavel/cas"
)

// BenchmarkPut reports, as x-sha256, how many times longer hashing and storing a
// blob takes than hashing it alone, measured in the same run; durable is with
// fsync, cache without.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 20, 64 << 20} {
		for name, o := range map[string]Options{"durable": {}, "cache": {Cache: true}} {
			b.Run(fmt.Sprintf("%dKiB/%s", n>>10, name), func(b *testing.B) {
				s := newStore(b, o)
				content := randomBytes(uint64(n), n)
				b.SetBytes(int64(n))
				var hashing time.Duration
				i := 0
				for b.Loop() {
					// A new blob each time: storing one again would measure a replacement.
					content[i%n]++
					i++
					start := time.Now()
					sum := sha256.Sum256(content)
					hashing += time.Since(start)
					d := cas.OfSum(sum, int64(n))
					if err := s.Put(b.Context(), d, bytes.NewReader(content)); err != nil {
						b.Fatal(err)
					}
				}
				total := b.Elapsed() - hashing // of Put, which hashes once more
				b.ReportMetric(float64(total)/float64(hashing), "x-sha256")
			})
		}
	}
}
