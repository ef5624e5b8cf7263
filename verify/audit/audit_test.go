package audit

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// audited writes what is served and audits it.
func audited(t testing.TB, s *audittest.Served, o Options) *Report {
	t.Helper()
	dir := t.TempDir()
	check(t, s.Write(dir))
	return auditDir(t, dir, o)
}

func auditDir(t testing.TB, dir string, o Options) *Report {
	t.Helper()
	if o.List == nil {
		o.List = func() ([]string, error) { return ListDir(dir) }
	}
	return must(Run(t.Context(), tlog.DirSource(dir), o))
}

// challenge doubts three results: one stands, one is withdrawn, and of one the panel
// finds nothing.
func challenge(t *testing.T, w *audittest.World) []build.State {
	t.Helper()
	var plain []raftfsm.ID
	for i := range w.Applied {
		for _, x := range w.Applied[i].Items {
			if x.Certified == nil {
				continue
			}
			for _, raw := range w.Applied {
				for _, of := range raw.Transcripts {
					if of.Digest != x.Certified.Transcript {
						continue
					}
					if tr := must(build.ReadTranscript(of.Bytes, of.Digest)); tr.Build.Verdict == build.Agreed && tr.Pool.Lane == build.LaneSpot && tr.Build.Terms.Vary == 0 {
						plain = append(plain, of.Build)
					}
				}
			}
			if len(plain) == 3 {
				break
			}
		}
		if len(plain) >= 3 {
			break
		}
	}
	for i, finds := range []string{audittest.FindsSame, audittest.FindsOther, audittest.FindsNothing} {
		must(w.Challenge(plain[i], finds))
	}
	return []build.State{build.Upheld, build.Refuted, build.Undecided}
}

// A log of a thousand builds, of all lanes and verdicts, has nothing wrong with it.
func TestAuditOfAThousandBuildsFindsNothing(t *testing.T) {
	begin := time.Now()
	w := must(audittest.New(audittest.Options{Builds: 1000, Seed: 1, Keys: true}))
	challenged := challenge(t, w)
	s := must(w.Serve())
	made := time.Now()
	r := audited(t, s, Options{})
	for i := range r.Deviations {
		t.Error(r.Deviations[i].String())
	}
	total := 0
	for _, ends := range w.Ends {
		for _, n := range ends {
			total += n
		}
	}
	if int(r.Builds+r.Undelivered) != total || total < 1000 || r.Leaves != uint64(len(s.Leaves)) || r.Entries != uint64(len(s.Entries)) ||
		r.Withdrawn != 1 || r.Unpublished != 0 || r.Stopped != "" || len(r.Cosigners) != 3 {
		t.Errorf("%+v", r)
	}
	for _, kind := range []func(l *evidence.Leaf) bool{
		func(l *evidence.Leaf) bool { return l.Epoch != nil },
		func(l *evidence.Leaf) bool { return l.Build != nil },
		func(l *evidence.Leaf) bool { return l.Key != nil && l.Key.Role == raftfsm.RoleCluster },
		func(l *evidence.Leaf) bool { return l.Key != nil && l.Key.Revoked },
		func(l *evidence.Leaf) bool { return l.Withdrawal != nil },
		func(l *evidence.Leaf) bool { return l.Record != nil && bytes.Equal(l.Record.PKIX, w.ClusterKey.PKIX) },
		func(l *evidence.Leaf) bool {
			return l.Record != nil && bytes.Equal(l.Record.PKIX, w.Genesis.ClusterKey)
		},
	} {
		if !slices.ContainsFunc(s.Leaves, func(raw []byte) bool { return kind(must(evidence.Read(raw))) }) {
			t.Error("the log lacks a kind of leaf")
		}
	}
	verdicts := map[build.State]bool{}
	for _, ends := range w.Ends {
		for v := range ends {
			verdicts[v] = true
		}
	}
	for _, v := range append(challenged, build.Agreed, build.Judged, build.NonDeterministic, build.EnvironmentDependent, build.Unverified, build.Unsampled, build.TooFew, build.Failed, build.Cancelled, build.Expired, build.NoBids) {
		if !verdicts[v] {
			t.Errorf("no build ended %v", v)
		}
	}
	t.Logf("made in %v, audited in %v: %d leaves, %d builds and %d without a result, %d auctions, %d draws, %d transfers, %d epochs", made.Sub(begin), time.Since(made),
		r.Leaves, r.Builds, r.Undelivered, r.Auctions, r.Draws, r.Transfers, r.Epochs)
}
