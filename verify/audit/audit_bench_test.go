package audit

import (
	"runtime"
	"testing"
	"time"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/audit/audittest"
	"gavel/verify/tlog"
)

// signed is a signature that an audit cannot do without.
type signed struct{ key, msg, sig []byte }

// bareChecks are all signatures that a log's audit needs: of every command, every
// vouch and every summary, and the group's.
type bareChecks struct {
	ed25519 []signed
	group   beacon.GroupKey
	msgs    [][]byte
	sigs    []beacon.Signature
}

func collect(b *testing.B, w *audittest.World, s *audittest.Served) *bareChecks {
	b.Helper()
	out := &bareChecks{group: w.GroupKey()}
	take := func(key, msg, sig []byte) {
		if wire.VerifySignature(key, msg, sig) == nil {
			out.ed25519 = append(out.ed25519, signed{key, msg, sig})
		}
	}
	for i := range w.Entries {
		var batch build.Batch
		if wire.Decode(w.Entries[i].Data, &batch) != nil {
			continue
		}
		for j := range batch.Commands {
			m := &batch.Commands[j]
			var vouched build.Vouched
			var drawn build.Beacon
			switch {
			case m.Type.Signed():
				take(w.Key(m.Sender), m.SigningBytes(w.Cluster), m.Signature)
			case (m.Type == build.TypeStored || m.Type == build.TypeMismatch) && wire.Decode(m.Payload, &vouched) == nil:
				for _, v := range vouched.Vouches {
					take(w.Key(v.Coordinator), build.VouchBytes(m.Type, w.Cluster, vouched.Build, vouched.Lease, vouched.Digest), v.Signature)
				}
			case m.Type == build.TypeBeacon && wire.Decode(m.Payload, &drawn) == nil && build.Code(s.Entries[i].Codes[j]) == build.Done:
				out.msgs = append(out.msgs, beacon.Message(w.Cluster, drawn.Purpose, drawn.Build, drawn.Round))
				out.sigs = append(out.sigs, beacon.Signature(drawn.Signature))
			}
		}
	}
	for _, raw := range s.Files {
		if statement, sig, err := attest.ReadEnvelope(raw); err == nil {
			take(w.ClusterKey.PKIX, attest.Payload(statement), sig)
		}
	}
	return out
}

func (c *bareChecks) run(b *testing.B) time.Duration {
	begin := time.Now()
	for i := range c.ed25519 {
		if err := wire.VerifySignature(c.ed25519[i].key, c.ed25519[i].msg, c.ed25519[i].sig); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; i < len(c.msgs); i += proveAt {
		end := min(i+proveAt, len(c.msgs))
		if err := beacon.VerifyBatch(c.group, c.msgs[i:end], c.sigs[i:end]); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin)
}

// BenchmarkAudit audits a log of a thousand builds of all lanes and verdicts on one
// processor, in turns with nothing but the signature checks that it needs: every
// command's, vouch's and summary's Ed25519, and the group's, in batches as the audit
// makes them. Reported are the time as a multiple of that, and the rates.
func BenchmarkAudit(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := must(audittest.New(audittest.Options{Builds: 1000, Seed: 1}))
	s := must(w.Serve())
	dir := b.TempDir()
	check(b, s.Write(dir))
	bare := collect(b, w, s)
	var audit, checks time.Duration
	for b.Loop() {
		checks += bare.run(b)
		begin := time.Now()
		if r := must(Run(b.Context(), tlog.DirSource(dir), Options{})); !r.Clean() || r.Builds+r.Undelivered < 1000 {
			b.Fatalf("%+v", r)
		}
		audit += time.Since(begin)
	}
	builds := float64(1000 * b.N)
	b.ReportMetric(0, "ns/op") // of both
	b.ReportMetric(float64(audit)/float64(checks), "x-signatures")
	b.ReportMetric(builds/audit.Seconds(), "builds/s")
	b.ReportMetric(float64(len(bare.ed25519))/1000, "ed25519/build")
	b.ReportMetric(float64(len(bare.sigs))/1000, "bls/build")
}
