package raftfsm

import (
	"fmt"
	"testing"
	"time"

	"gavel/raftfsm/build"
)

// BenchmarkBatch submits builds to a batch pool whose epoch runs, one an entry,
// when n builds have been allotted already, and n more wait that no ask can take.
// x-first is the time of an entry over that of the first ones in the same farm: what
// waits must not make an entry dear. Signatures are not checked, so that the rest shows.
func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{100, 1_000, 4_000} {
		b.Run(fmt.Sprintf("allotted=%d", n), func(b *testing.B) { benchmarkBatch(b, n, 1<<20) })
		b.Run(fmt.Sprintf("waiting=%d", n), func(b *testing.B) { benchmarkBatch(b, n, 1) })
	}
}

func benchmarkBatch(b *testing.B, n int, capacity uint64) {
	const sample = 200
	f := newFarm(b, farmOptions{lane: build.LaneBatch, workers: 8, replicas: 1, drop: 1 << 20 * credit, stake: 20_000 * credit, seed: 1, buyers: 4,
		rules: func(p *build.Pool, _ *build.Params) { p.Batch.EpochMillis = 3_000_000 }})
	asks := map[int]standing{}
	for w := range 8 {
		asks[w] = standing{credit, capacity}
	}
	open := f.seal("pool", asks)
	f.submit(0, f.terms(build.LaneBatch))
	f.tick(300)
	open()
	f.duties()
	submits := func(count int) time.Duration {
		var entries []build.Command
		for i := range count {
			entries = append(entries, f.command(f.requesters[i%4], build.TypeSubmit, &build.Submit{Terms: f.terms(build.LaneBatch)}))
		}
		begin := time.Now()
		for _, e := range entries {
			f.must(e)
		}
		return time.Since(begin) / time.Duration(count)
	}
	first := submits(sample)
	submits(n)
	b.ResetTimer()
	var later time.Duration
	for range b.N {
		later += submits(sample)
	}
	b.ReportMetric(float64(later)/float64(b.N)/float64(first), "x-first")
	b.ReportMetric(float64(later.Nanoseconds())/float64(b.N)/1000, "us/submit")
}
