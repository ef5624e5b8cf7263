package inputs

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkWarm compares handing out an input tree that the cache has laid out
// before with fetching and laying it out, for a tree of 1,000 files of 4 KiB in 50
// directories, in turns, and prints the ratio.
func BenchmarkWarm(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	from := newRemote(b)
	tree := func(name string) map[string]string {
		content := map[string]string{}
		for i := range 1000 {
			block := make([]byte, 4<<10)
			for at := range block {
				block[at] = byte(rng.Uint32())
			}
			content[fmt.Sprintf("%s/%02d/%03d", name, i/20, i)] = string(block)
		}
		return content
	}
	cache := openCache(b, b.TempDir(), Config{TreeBytes: 1 << 40, BlobBytes: 1 << 40})
	defer cache.Close()
	var warm, cold time.Duration
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		root := from.upload(b, tree(fmt.Sprint(n)))
		b.StartTimer()
		for _, took := range []*time.Duration{&cold, &warm} {
			begin := time.Now()
			out, err := cache.Materialise(b.Context(), root, from, own)
			if err != nil {
				b.Fatal(err)
			}
			*took += time.Since(begin)
			out.Release()
		}
	}
	b.ReportMetric(float64(cold.Microseconds())/1000/float64(b.N), "ms/cold")
	b.ReportMetric(float64(warm.Microseconds())/1000/float64(b.N), "ms/warm")
	b.ReportMetric(float64(warm)/float64(cold), "x-cold")
}
