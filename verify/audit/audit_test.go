package audit

import (
	"testing"
	"time"

	"gavel/verify/audit/audittest"
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

// A log of a thousand builds, of all lanes and verdicts, has nothing wrong with it.
func TestAuditOfAThousandBuildsFindsNothing(t *testing.T) {
	begin := time.Now()
	w := must(audittest.New(audittest.Options{Builds: 1000, Seed: 1}))
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
		r.Unpublished != 0 || r.Stopped != "" || len(r.Cosigners) != 3 {
		t.Errorf("%+v", r)
	}
	t.Logf("made in %v, audited in %v: %d leaves, %d builds and %d without a result, %d auctions, %d draws, %d transfers, %d epochs", made.Sub(begin), time.Since(made),
		r.Leaves, r.Builds, r.Undelivered, r.Auctions, r.Draws, r.Transfers, r.Epochs)
}
