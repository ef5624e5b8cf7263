package transcript_test

import (
	"testing"

	"gavel/raftfsm/beacon"
	"gavel/verify/transcript"
)

// BenchmarkJudge judges builds of every sort, without and with the group's
// signatures, beside those signatures alone in one batch a build: what nobody can
// do without.
func BenchmarkJudge(b *testing.B) {
	c := marketOf(b)
	all := c.chosen(b)
	deferred := c.trust
	deferred.Defer = true
	for name, trust := range map[string]transcript.Trust{"rules": deferred, "all": c.trust} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				x := all[i%len(all)]
				if r, err := transcript.Judge(x.raw, x.digest, x.cert, trust); err != nil || len(r.Deviations) > 0 {
					b.Fatal(err, r)
				}
			}
		})
	}
	var reports []*transcript.Report
	for _, x := range all {
		r, err := transcript.Judge(x.raw, x.digest, x.cert, deferred)
		if err != nil {
			b.Fatal(err)
		}
		reports = append(reports, r)
	}
	b.Run("signatures", func(b *testing.B) {
		for i := range b.N {
			var msgs [][]byte
			var sigs []beacon.Signature
			for _, s := range reports[i%len(reports)].Signatures {
				msgs, sigs = append(msgs, s.Message), append(sigs, beacon.Signature(s.Signature))
			}
			if err := beacon.VerifyBatch(beacon.GroupKey(c.trust.GroupKeys[0]), msgs, sigs); err != nil {
				b.Fatal(err)
			}
		}
	})
}
