package raftfsm

import (
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/transcript"
)

// judged holds the transcript of every build that any test of this package settles
// to the independent judge, which must find nothing.
func (f *farm) judged(a Applied) {
	g := f.genesis
	for _, of := range a.Transcripts {
		if f.judgedOnce[of.Build] {
			continue // another replica's, and replicas agree
		}
		f.judgedOnce[of.Build] = true
		claim := new(build.Claim)
		raw, _, _ := build.SplitTranscript(of.Bytes)
		check(f.t, wire.Decode(raw, claim))
		f.claims[of.Digest] = *claim
		var pools []build.Pool
		for _, p := range f.replicas[0].state.Pools() {
			pools = append(pools, *p)
		}
		keys := map[ID][][]byte{}
		for id, k := range f.replicas[0].state.keyrings {
			for _, e := range k.Events {
				keys[id] = append(keys[id], e.NewKey)
			}
		}
		cert := build.Certificate{Transcripts: []ID{of.Digest}}
		cert.Signature = cheapBeacon(beacon.Message(g.Digest(), build.PurposeCertificate, build.CertificateSubject(cert.Transcripts), 0))
		report, err := transcript.Judge(of.Bytes, of.Digest, cert, transcript.Trust{
			GroupKeys: [][96]byte{f.replicas[0].state.keys.Group.Key}, Cluster: g.Digest(), Defer: true, Keys: keys,
			Challenged: func(transcript ID) (build.Claim, bool) { m, ok := f.claims[transcript]; return m, ok },
			Founding:   &transcript.Founding{Simulated: g.Simulated, Params: g.Params, Coordinators: g.Coordinators, Pools: pools},
		})
		if err != nil {
			f.t.Fatalf("build %x: %v", of.Build[:4], err)
		}
		b := &report.Transcript.Build
		for _, d := range report.Deviations {
			f.t.Errorf("build %x, %v in a %v pool, auction %d: the judge says %v", of.Build[:4], b.Verdict, report.Facts.Lane, b.AuctionNumber, d)
		}
		for _, s := range report.Signatures {
			if s.Signature != cheapBeacon(s.Message) {
				f.t.Errorf("build %x: %s is not on the message that the judge derives", of.Build[:4], s.Field)
			}
		}
	}
}
