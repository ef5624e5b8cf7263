package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// interrupting ends its context after some reads of epochs.
type interrupting struct {
	tlog.Source
	left   int
	cancel context.CancelFunc
}

func (s *interrupting) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if strings.HasPrefix(path, "epoch/") {
		if s.left--; s.left == 0 {
			defer s.cancel()
		}
	}
	return s.Source.Read(context.WithoutCancel(ctx), path, limit)
}

func asJSON(t *testing.T, r *Report) string {
	t.Helper()
	return string(must(json.Marshal(r)))
}

// An audit that is interrupted again and again ends with the same report as one
// that is not; whether all files must be accounted for or not, and whether the log
// is good or not.
func TestResumedAuditHasTheSameReport(t *testing.T) {
	good, bad := t.TempDir(), t.TempDir()
	s := small().Copy()
	check(t, s.Write(good))
	delete(s.Files, evidence.EpochPath(4))
	check(t, s.Write(bad))
	for _, dir := range []string{good, bad} {
		for _, all := range []bool{true, false} {
			o := Options{}
			if all {
				o.List = func() ([]string, error) { return ListDir(dir) }
			}
			want := asJSON(t, must(Run(t.Context(), tlog.DirSource(dir), o)))
			o.Resume = ResumeFile(filepath.Join(t.TempDir(), "state"))
			resumed := 0
			for round := 0; ; round++ {
				ctx, cancel := context.WithCancel(t.Context())
				r, err := Run(ctx, &interrupting{tlog.DirSource(dir), 2 + round, cancel}, o)
				cancel()
				if errors.Is(err, context.Canceled) && round < 40 {
					continue
				}
				check(t, err)
				if got := asJSON(t, r); got != want {
					t.Errorf("all files %t: resumed\n%s\nin one go\n%s", all, got, want)
				}
				resumed = round
				break
			}
			if resumed < 2 {
				t.Errorf("interrupted %d times", resumed)
			}
		}
	}
}

// Who interrupts an audit is told how it goes on, however early it was.
func TestInterruptedAuditSaysHowItGoesOn(t *testing.T) {
	dir := t.TempDir()
	check(t, small().Copy().Write(dir))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, fresh := range []bool{false, true} {
		r := Request{Dir: dir, State: filepath.Join(t.TempDir(), "state"), Fresh: fresh, Out: io.Discard}
		_, err := r.Audit(ctx)
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "after 0 leaves") {
			t.Errorf("fresh %t: %v", fresh, err)
		}
		if err == nil || strings.Contains(err.Error(), "goes on where it stopped") == fresh {
			t.Errorf("fresh %t: %v", fresh, err)
		}
	}
}

// A later audit begins where the last ended; a file that was changed since, before
// that point, is found all the same.
func TestLaterAuditFindsAnEarlierChange(t *testing.T) {
	dir := t.TempDir()
	s := small().Copy()
	check(t, s.Write(dir))
	o := Options{Resume: ResumeFile(filepath.Join(t.TempDir(), "state"))}
	if r := auditDir(t, dir, o); !r.Clean() || r.Resumed != 0 {
		t.Fatalf("%+v", r)
	}
	if r := auditDir(t, dir, o); !r.Clean() || r.Resumed == 0 || r.Leaves != uint64(len(s.Leaves)) {
		t.Errorf("the second audit resumed after %d leaves and counts %d", r.Resumed, r.Leaves)
	}
	for _, path := range []string{evidence.EpochPath(1), tlog.Paths(uint64(len(s.Leaves)))[0], "checkpoint", evidence.GenesisPath} {
		name := filepath.Join(dir, path)
		raw := must(os.ReadFile(name))
		raw[len(raw)/3] ^= 1
		check(t, os.WriteFile(name, raw, 0o644))
		r, err := Run(t.Context(), tlog.DirSource(dir), Options{Resume: o.Resume, List: func() ([]string, error) { return ListDir(dir) }})
		if err == nil && r.Clean() || err != nil && !errors.Is(err, ErrUnusable) {
			t.Errorf("%s: a changed byte was not found: %v", path, err)
		}
		raw[len(raw)/3] ^= 1
		check(t, os.WriteFile(name, raw, 0o644))
	}
}

// What is compared only at the end of the log is compared before the state is kept. A
// bad trusted root or status list once replaced a good state by one that was of no use.
func TestBadEndKeepsNoState(t *testing.T) {
	dir := t.TempDir()
	check(t, small().Copy().Write(dir))
	o := Options{Cluster: &small().World.Cluster, Resume: ResumeFile(filepath.Join(t.TempDir(), "state"))}
	spoil := func(path string) (mend func()) {
		name := filepath.Join(dir, path)
		good := must(os.ReadFile(name))
		check(t, os.WriteFile(name, append(bytes.Clone(good), '!'), 0o644))
		return func() { check(t, os.WriteFile(name, good, 0o644)) }
	}
	for _, path := range []string{evidence.TrustedRootPath, evidence.StatusPath} {
		mend := spoil(path)
		if r := auditDir(t, dir, o); r.Clean() {
			t.Errorf("%s was changed, and nothing deviates", path)
		}
		if state := must(o.Resume.Load()); state != nil {
			t.Errorf("%s deviates, and a state was kept", path)
		}
		mend()
	}
	if r := auditDir(t, dir, o); !r.Clean() {
		t.Fatalf("%+v", r)
	}
	for _, path := range []string{evidence.TrustedRootPath, evidence.StatusPath} {
		mend := spoil(path)
		if r := auditDir(t, dir, o); r.Clean() {
			t.Errorf("%s was changed, and nothing deviates", path)
		}
		mend()
		if r := auditDir(t, dir, o); !r.Clean() || r.Resumed == 0 || len(r.Warnings) > 0 {
			t.Errorf("after %s was mended: resumed after %d leaves, %v", path, r.Resumed, r.Warnings)
		}
	}
}

// A log that has grown is audited from where the last audit ended, and one that is
// another since then is told from it.
func TestAuditOfAGrownLog(t *testing.T) {
	w := must(audittest.New(audittest.Options{Seed: 4}))
	s := must(w.Serve())
	whole := t.TempDir()
	check(t, s.Write(whole))
	// The same log when it ended with its fifth epoch.
	short, cut := t.TempDir(), s.Copy()
	for i := range cut.Items {
		if e := cut.Items[i].Epoch; e != nil && e.Number == 5 {
			cut.Items = cut.Items[:i+1]
			break
		}
	}
	check(t, cut.Derive())
	check(t, cut.Write(short))
	o := Options{Resume: ResumeFile(filepath.Join(t.TempDir(), "state"))}
	if r := must(Run(t.Context(), tlog.DirSource(short), o)); !r.Clean() {
		t.Fatalf("%+v", r)
	}
	kept := must(o.Resume.Load())
	r := must(Run(t.Context(), tlog.DirSource(whole), o))
	if !r.Clean() || r.Resumed != uint64(len(cut.Leaves)) || r.Leaves != uint64(len(s.Leaves)) {
		t.Errorf("resumed after %d of %d leaves: %+v", r.Resumed, len(cut.Leaves), r)
	}
	// Another log of the same cluster, which goes back behind what was audited.
	check(t, o.Resume.Save(kept))
	other := s.Copy()
	other.Leaves[3], other.Leaves[4] = other.Leaves[4], other.Leaves[3]
	rewritten := t.TempDir()
	check(t, other.Write(rewritten))
	r = must(Run(t.Context(), tlog.DirSource(rewritten), o))
	said := false
	for i := range r.Deviations {
		said = said || strings.Contains(r.Deviations[i].Field, "audit that this one continues root")
	}
	if !said || len(r.Deviations) > 4 {
		t.Errorf("%+v", r.Deviations)
	}
	// A state that was changed is of no use, and says so.
	kept[len(kept)/2] ^= 1
	check(t, o.Resume.Save(kept))
	if r = must(Run(t.Context(), tlog.DirSource(whole), o)); !r.Clean() || r.Resumed != 0 || !strings.Contains(strings.Join(r.Warnings, " "), "digest differs") {
		t.Errorf("%+v", r)
	}
}

// Epochs that are not published yet, at the tail, are no deviation: what can be
// checked of their leaves is.
func TestTailThatIsNotPublished(t *testing.T) {
	s := small().Copy()
	last := uint64(0)
	for i := range s.Items {
		if e := s.Items[i].Epoch; e != nil {
			last = e.Number
		}
	}
	delete(s.Files, evidence.EpochPath(last))
	delete(s.Files, evidence.EpochPath(last-1))
	dir := t.TempDir()
	check(t, s.Write(dir))
	o := Options{List: func() ([]string, error) { return ListDir(dir) }}
	if r := must(Run(t.Context(), tlog.DirSource(dir), o)); !r.Clean() || r.Unpublished != 2 || r.Epochs != last-2 || r.Stopped != "" || r.Leaves != uint64(len(s.Leaves)) {
		t.Errorf("%+v", r)
	}
	// The log may also end before an epoch's leaf.
	s = small().Copy()
	for i := len(s.Leaves) - 1; ; i-- {
		if must(evidence.Read(s.Leaves[i])).Epoch == nil {
			s.Leaves = s.Leaves[:i+1]
			break
		}
	}
	if r := audited(t, s, Options{List: func() ([]string, error) { return nil, nil }}); !r.Clean() || r.Unpublished != 0 {
		t.Errorf("%+v", r)
	}
}
