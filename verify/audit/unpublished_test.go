package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// A log whose last entries are not published yet deviates in nothing, whatever is
// logged after them: certificates by a group whose key is not published, or that
// another was handed over to.
func TestWhatIsNotPublishedYetIsNoDeviation(t *testing.T) {
	w := must(audittest.New(audittest.Options{Seed: 6}))
	id, ok := w.Agreed()
	if !ok {
		t.Fatal("nothing was agreed on")
	}
	check(t, w.ChangeKeys())
	must(w.Challenge(id, audittest.FindsOther))
	s := must(w.Serve())
	dir := t.TempDir()
	check(t, s.Write(dir))
	last := uint64(0)
	for _, item := range s.Items {
		if item.Epoch != nil {
			last = item.Epoch.Number
		}
	}
	for from := last; from >= 1; from-- {
		check(t, os.Remove(filepath.Join(dir, filepath.FromSlash(evidence.EpochPath(from)))))
		if from > 2 && from < last-3 {
			continue
		}
		r, err := Run(t.Context(), tlog.DirSource(dir), Options{Cluster: &w.Cluster})
		if from == 1 {
			// A log that shows nothing of what led to its results once had none that deviates.
			if says := fmt.Sprintf("the entries of all its %d epochs", last); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), says) {
				t.Errorf("no epoch is there: %v", err)
			}
			break
		}
		check(t, err)
		if !r.Clean() || r.Unpublished != last-from+1 {
			t.Errorf("from epoch %d of %d on: %d unpublished, %v", from, last, r.Unpublished, r.Deviations[:min(3, len(r.Deviations))])
		}
		if says := fmt.Sprintf("nothing deviates in what is published; the entries of %s are not", epochs(r.Unpublished)); !strings.Contains(r.String(), says) {
			t.Errorf("from epoch %d of %d on: %s", from, last, r)
		}
	}
}
