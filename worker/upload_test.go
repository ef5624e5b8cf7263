package worker

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/cas"
	"gavel/raftfsm/build"
)

// uploads counts the blobs in the farm's store beyond the bench's project: main.c,
// its root directory, action and command.
func (b *bench) uploads() int {
	b.t.Helper()
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	return len(b.store.blobs) - 4
}

func (b *bench) upload(l lease, o *build.Opening, evidence bool) *gavelv1.Upload {
	result := o.Summary.Digest()
	return &gavelv1.Upload{Build: l.build[:], Lease: l.id[:], Result: result[:], Evidence: evidence, UntilMillis: 60_000}
}

// Nothing leaves the machine before the farm asks, also across a restart; then
// everything does, and the farm is told.
func TestUploadOnlyAfterTheVerdict(t *testing.T) {
	for _, evidence := range []bool{false, true} {
		b := newBench(t, nil)
		b.loop()
		l := b.parsed(b.lease("l", true))
		b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 1, Leases: []*gavelv1.Lease{b.lease("l", true)}}
		b.farm.await(t, "the commitment", func() bool { return len(b.commits()) > 0 })
		b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 2, Awarded: [][]byte{l.build[:]}}
		b.stop()
		if b.uploads() != 0 || len(b.farm.delivered) != 0 {
			t.Fatal("outputs were uploaded before the verdict")
		}
		b.open()
		b.loop()
		o := b.opening(b.commits()[0])
		b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 3, Uploads: []*gavelv1.Upload{b.upload(l, o, evidence)}}
		b.farm.await(t, "the delivery", func() bool {
			b.farm.mu.Lock()
			defer b.farm.mu.Unlock()
			return len(b.farm.delivered) > 0
		})
		b.stop()
		if b.farm.delivered[0] != l.id || b.uploads() != 3 {
			t.Errorf("delivered %x, %d blobs, want 2 files and the manifest", b.farm.delivered[0], b.uploads())
		}
		manifest := cas.OfSum(o.Summary.Content, int64(o.Summary.ManifestBytes))
		// A coordinator takes no file before the manifest that names it.
		if first := b.store.order[4]; first != manifest {
			t.Errorf("the first upload was %v, want the manifest", first)
		}
		if evidence && len(b.farm.of(build.TypeHeartbeat)) != 0 {
			t.Error("evidence holds no lease")
		}
	}
}

// What is asked for must be what was committed to.
func TestUploadRefusesAnotherResult(t *testing.T) {
	b := newBench(t, nil)
	l := b.parsed(b.lease("l", false))
	if err := b.w.workshop.serve(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	for _, u := range []upload{
		{lease: l.id, build: l.build, result: id("another")},
		{lease: id("unknown"), build: l.build, result: id("another")},
	} {
		if err := b.w.uploader.Upload(t.Context(), u); err != nil {
			t.Errorf("%v: no retry helps", err)
		}
	}
	if b.uploads() != 0 || len(b.farm.delivered) != 0 {
		t.Error("something was uploaded")
	}
}

// gatedUploader lets the test decide when an upload ends.
type gatedUploader struct {
	began chan upload
	end   chan struct{}
}

func (g *gatedUploader) Upload(ctx context.Context, u upload) error {
	g.began <- u
	select {
	case <-g.end:
	case <-ctx.Done():
	}
	return nil
}

func TestEvidenceWaitsForDeliveries(t *testing.T) {
	b := newBench(t, nil)
	g := &gatedUploader{began: make(chan upload, 4), end: make(chan struct{})}
	b.w.uploader = g
	b.loop()
	l := b.parsed(b.lease("l", false))
	delivery, evidence := b.upload(l, &build.Opening{}, false), b.upload(l, &build.Opening{}, true)
	other := id("other lease")
	evidence.Lease = other[:]
	b.farm.feed <- &gavelv1.Assignments{Registered: true, Uploads: []*gavelv1.Upload{evidence, delivery}}
	if u := <-g.began; u.evidence {
		t.Fatal("evidence went first")
	}
	b.farm.feed <- &gavelv1.Assignments{Registered: true, FarmMillis: 1, Uploads: []*gavelv1.Upload{evidence, delivery}}
	if len(g.began) != 0 {
		t.Fatal("evidence did not wait")
	}
	close(g.end)
	if u := <-g.began; !u.evidence {
		t.Fatal("evidence never came")
	}
}

// Outputs stay while the farm speaks of their build, go a while after, and go
// early where there are too many; records and files go together.
func TestKeptOutputsAreTidied(t *testing.T) {
	b := newBench(t, nil)
	var leases []lease
	for _, name := range []string{"a", "b", "c"} {
		l := b.parsed(b.lease(name, false))
		l.build = id("build " + name)
		if err := b.w.workshop.serve(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	kept := func() (names string) {
		for i, l := range leases {
			_, _, err := b.w.kept.open(l.id)
			found, jerr := b.journal.Get(shelfAttempts, l.id, &attemptRecord{})
			if jerr != nil || found != (err == nil) {
				t.Fatalf("record and files disagree: %v, %v, %v", found, err, jerr)
			}
			if found {
				names += string(rune('a' + i))
			}
		}
		return names
	}
	now := time.Now()
	asked, busy := map[build.ID]bool{leases[0].id: true}, map[build.ID]bool{leases[1].build: true}
	for _, step := range []struct {
		after time.Duration
		limit int64
		want  string
	}{
		{0, 1 << 30, "abc"}, {keptAfterSettled - time.Second, 1 << 30, "abc"}, {keptAfterSettled, 1 << 30, "ab"}, {keptAfterSettled, 1, "ab"},
	} {
		b.w.kept.limit = step.limit
		if err := b.w.kept.tidy(now.Add(step.after), asked, busy); err != nil {
			t.Fatal(err)
		}
		if got := kept(); got != step.want {
			t.Fatalf("after %v: kept %q, want %q", step.after, got, step.want)
		}
	}
	if err := b.w.kept.tidy(now.Add(keptAfterSettled), nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := kept(); got != "" {
		t.Errorf("beyond the limit: kept %q", got)
	}
	orphan := filepath.Join(b.dir, "kept", "00ff")
	if err := os.Mkdir(orphan, 0o700); err != nil {
		t.Fatal(err)
	}
	b.restart()
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Errorf("an orphan survived the restart: %v", err)
	}
}
