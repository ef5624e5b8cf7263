package publish

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
	"gavel/verify/keys"
	"gavel/verify/tlog"
)

func TestCoordinatorsWriteOneLog(t *testing.T) {
	f := newFarm(t)
	w := f.world
	nodes := make([]*node, len(w.Coordinators))
	for i := range nodes {
		nodes[i] = f.start(i, t.TempDir())
	}
	var applying sync.WaitGroup
	for _, n := range nodes {
		applying.Go(func() { n.apply(w, 0, len(w.Entries)) })
	}
	applying.Wait()
	first := f.complete(nodes[0])
	trust := evidence.Trust(w.Genesis)
	for i, n := range nodes {
		if got := f.complete(n); got != first {
			t.Errorf("coordinator %d shows %+v, the first %+v", i, got, first)
		}
		note, err := n.ReadFile("checkpoint", maxNoteBytes)
		check(t, err)
		_, err = trust.Open(note)
		check(t, err)
	}
	counts := map[string]int{}
	for i := range first.Size {
		raw, err := nodes[0].log().Entry(i)
		check(t, err)
		leaf, err := evidence.Read(raw)
		check(t, err)
		switch {
		case leaf.Epoch != nil:
			counts["epoch"]++
		case leaf.Build != nil:
			counts["build"]++
		case leaf.Record != nil && leaf.Ends(w.Genesis.ClusterKey):
			counts["summary"]++
		case leaf.Record != nil:
			counts["provenance"]++
		}
	}
	certified, epochs := 0, 0
	for i := range w.Applied {
		for _, item := range w.Applied[i].Items {
			switch {
			case item.Certified != nil:
				certified++
			case item.Epoch != nil:
				epochs++
			}
		}
	}
	if counts["summary"]+counts["build"] != certified || counts["epoch"] != epochs || counts["summary"] == 0 || counts["build"] == 0 || counts["provenance"] < 2*counts["summary"] {
		t.Errorf("the log has %v, the state machine left %d certified builds and %d epochs", counts, certified, epochs)
	}
	eventually(t, "every epoch is shown", func() bool {
		e, err := nodes[1].journal.nextEpoch()
		return err == nil && e == nil
	})
	eventually(t, "a status list of the whole log is shown", func() bool {
		raw, err := nodes[2].ReadFile(evidence.StatusPath, evidence.MaxStatusBytes)
		if err != nil {
			return false
		}
		list, _, err := evidence.OpenStatus(raw, trust)
		return err == nil && list.Size == first.Size
	})
	want := contents(t, nodes[1])
	eventually(t, "all show the same", func() bool { return fmt.Sprint(contents(t, nodes[2])) == fmt.Sprint(want) })
	if got := len(want); got < certified+epochs {
		t.Errorf("%d files beside the log, want a transcript of each of %d builds and entries of %d epochs", got, certified, epochs)
	}
}

// The trusted root of a log has the keys that the log says the cluster has had, on
// every coordinator the same and after every restart.
func TestTrustedRootFollowsTheClustersKey(t *testing.T) {
	w, err := audittest.New(audittest.Options{Builds: 60, Seed: 5, Keys: true})
	check(t, err)
	s, err := w.Serve()
	check(t, err)
	whole := string(s.Files[evidence.TrustedRootPath])
	before, err := evidence.TrustedRoot(w.Genesis, nil)
	check(t, err)
	changed := slices.IndexFunc(w.Applied, func(a raftfsm.Applied) bool {
		return slices.ContainsFunc(a.Items, func(i raftfsm.Item) bool { return i.Key != nil && i.Key.Role == raftfsm.RoleCluster })
	})
	if changed < 0 || whole == string(before) {
		t.Fatal("the cluster's key was never changed")
	}
	f := newFarmOf(t, w)
	dirs := []string{t.TempDir(), t.TempDir()}
	root := func(n *node) string {
		raw, err := n.ReadFile(evidence.TrustedRootPath, maxFileBytes)
		check(t, err)
		return string(raw)
	}
	shows := func(n *node, leaves uint64) {
		t.Helper()
		eventually(t, "the checkpoint covers the log", func() bool {
			size := n.log().Published().Size
			return size >= leaves && size == n.journal.position().Leaves
		})
	}
	nodes := []*node{f.start(0, dirs[0]), f.start(1, dirs[1])}
	for _, n := range nodes {
		n.apply(w, 0, changed)
	}
	for _, n := range nodes {
		shows(n, 1)
		if got := root(n); got != string(before) {
			t.Errorf("before the key changed it is\n%s\nwant\n%s", got, before)
		}
	}
	// The first cannot write it for a while: it shows no checkpoint that needs the new key.
	path := filepath.Join(LogDir(dirs[0]), evidence.TrustedRootPath)
	check(t, os.Remove(path))
	check(t, os.Mkdir(path, 0o700))
	for _, n := range nodes {
		n.apply(w, changed, len(w.Entries))
	}
	f.complete(nodes[1])
	eventually(t, "the first has logged everything", func() bool { return nodes[0].journal.position().Logged == items(w) })
	pause(t.Context(), 2*retryPause)
	if size := nodes[0].log().Published().Size; size == nodes[0].log().Size() {
		t.Error("a checkpoint is shown without its key")
	}
	check(t, os.Remove(path))
	f.complete(nodes[0])
	for i, n := range nodes {
		if got := root(n); got != whole {
			t.Errorf("it is\n%s\nwant\n%s", got, whole)
		}
		n.stop()
		check(t, os.Remove(filepath.Join(LogDir(dirs[i]), evidence.TrustedRootPath)))
		again := f.open(i, dirs[i])
		if got := root(again); got != whole {
			t.Errorf("after a restart it is\n%s\nwant\n%s", got, whole)
		}
		check(t, again.Close())
	}
}

// Whatever is closed and opened again when: the log is the same.
func TestRestartsLoseAndRepeatNothing(t *testing.T) {
	f := newFarm(t)
	w := f.world
	steady := f.start(0, t.TempDir())
	steady.apply(w, 0, len(w.Entries))
	dir := t.TempDir()
	for to := len(w.Entries) / 7; ; to += len(w.Entries) / 7 {
		to = min(to, len(w.Entries))
		n := f.start(1, dir)
		n.apply(w, 0, to) // from the start: what was taken comes again
		if to == len(w.Entries) {
			if got, want := f.complete(n), f.complete(steady); got != want {
				t.Fatalf("after restarts the log is %+v, without %+v", got, want)
			}
			return
		}
		pause(t.Context(), time.Duration(to%5)*30*time.Millisecond)
		n.stop()
	}
}

// What the journal says it has is on disk when Durable returns.
func TestDurableIsDurable(t *testing.T) {
	f := newFarm(t)
	w := f.world
	n := f.start(0, t.TempDir())
	n.apply(w, 0, 100)
	check(t, n.Durable(w.Entries[99].Index))
	copied := filepath.Join(t.TempDir(), "evidence.db")
	raw, err := os.ReadFile(filepath.Join(n.config.Dir, "evidence.db")) // as a crash would leave it
	check(t, err)
	check(t, os.WriteFile(copied, raw, 0o600))
	j, err := openJournal(copied, w.Genesis.ClusterKey)
	check(t, err)
	defer func() { check(t, j.close()) }()
	if at := j.position(); at.Index < w.Entries[99].Index || at.Chain != w.Applied[99].Chain {
		t.Errorf("after a crash the journal ends at entry %d with chain %x, want %d and %x", at.Index, at.Chain, w.Entries[99].Index, w.Applied[99].Chain)
	}
}

// A full disk delays what is kept and loses nothing: it is written when there is
// room again, and until then Raft may forget nothing.
func TestAFullDiskLosesNothing(t *testing.T) {
	f := newFarm(t)
	w := f.world
	n := f.start(0, t.TempDir())
	n.apply(w, 0, 10)
	check(t, n.Durable(w.Entries[9].Index))
	var full atomic.Bool
	full.Store(true)
	n.journal.mu.Lock() // the writer waits, and holds it when it looks
	n.journal.update = func(fn func(*bbolt.Tx) error) error {
		if full.Load() {
			return errors.New("no space left on device")
		}
		return n.journal.db.Update(fn)
	}
	n.journal.mu.Unlock()
	n.apply(w, 10, 60)
	if err := n.Durable(w.Entries[59].Index); err == nil {
		t.Error("what could not be written is said to be durable")
	}
	check(t, n.Durable(w.Entries[9].Index))
	full.Store(false)
	eventually(t, "it is written", func() bool { return n.Durable(w.Entries[59].Index) == nil })
	if at := n.journal.position(); at.Chain != w.Applied[59].Chain {
		t.Errorf("the journal's chain is %x, want %x", at.Chain, w.Applied[59].Chain)
	}
}

// A node that was given a snapshot instead of entries has the whole log all the
// same, and all that lies beside it.
func TestANodeThatWasAwayTakesOver(t *testing.T) {
	f := newFarm(t)
	w := f.world
	a, b := f.start(0, t.TempDir()), f.start(1, t.TempDir())
	c := f.start(2, t.TempDir())
	left, back := len(w.Entries)/5, len(w.Entries)*3/4
	c.apply(w, 0, left)
	dir := c.config.Dir
	c.stop()
	for _, n := range []*node{a, b} {
		n.apply(w, 0, back)
	}
	_, snapshot := a.fsm.Snapshot()
	for _, n := range []*node{a, b} {
		n.apply(w, back, len(w.Entries))
	}
	c = f.start(2, dir)
	check(t, c.fsm.Restore(bytes.NewReader(snapshot)))
	c.apply(w, back, len(w.Entries))
	if got, want := f.complete(c), f.complete(a); got != want {
		t.Fatalf("the node that was away has %+v, the others %+v", got, want)
	}
	want := contents(t, a)
	eventually(t, "everything lies beside its log", func() bool { return fmt.Sprint(contents(t, c)) == fmt.Sprint(want) })
	var builds [2][]LoggedBuild
	for i, n := range []*node{a, c} {
		var err error
		builds[i], err = n.LoggedBuilds(0, items(w))
		check(t, err)
	}
	if fmt.Sprint(builds[0]) != fmt.Sprint(builds[1]) {
		t.Error("the node that was away does not know where builds lie in the log")
	}
}

// A witness' signature comes along; one that does not answer is not waited for.
func TestWitnessesCosign(t *testing.T) {
	f := newFarm(t)
	w := f.world
	outsider := w.Requesters[0]
	self := tlog.Cosigner{Name: "example.org/witness", PKIX: outsider.PKIX}
	witness, err := tlog.OpenWitness(t.TempDir(), self, outsider.Sign, time.Now)
	check(t, err)
	check(t, witness.Watch(tlog.Origin(w.Cluster), w.ClusterKey.PKIX))
	site := httptest.NewServer(tlog.WitnessHandler(witness))
	defer site.Close()
	f.witnesses = []*tlog.WitnessClient{{URL: site.URL, Witness: self}, {URL: "http://127.0.0.1:1", Witness: tlog.Cosigner{Name: "away", PKIX: w.Requesters[1].PKIX}}}
	n := f.start(0, t.TempDir())
	f.witnesses = nil
	f.start(1, t.TempDir()).apply(w, 0, len(w.Entries))
	n.apply(w, 0, len(w.Entries))
	f.complete(n)
	note, err := n.ReadFile("checkpoint", maxNoteBytes)
	check(t, err)
	trust := evidence.Trust(w.Genesis)
	trust.Witnesses, trust.WitnessQuorum = []tlog.Cosigner{self}, 1
	if _, err := trust.Open(note); err != nil {
		t.Errorf("the witness' signature is missing: %v", err)
	}
	if latest, err := witness.Latest(trust.Origin); err != nil || latest != n.log().Published() {
		t.Errorf("the witness has seen %+v, %v; shown is %+v", latest, err, n.log().Published())
	}
}

func TestCosignRefusesWhatIsNotItsLog(t *testing.T) {
	f := newFarm(t)
	w := f.world
	n := f.start(0, t.TempDir())
	n.apply(w, 0, len(w.Entries))
	f.start(1, t.TempDir()).apply(w, 0, len(w.Entries))
	shown := f.complete(n)
	sign := func(c tlog.Checkpoint, by *audittest.Party) []byte {
		note, err := tlog.SignCheckpoint(c, by.Sign, by.PKIX)
		check(t, err)
		return note
	}
	root, err := n.log().RootAt(shown.Size - 1)
	check(t, err)
	if _, err := n.Cosign(t.Context(), sign(tlog.Checkpoint{Origin: shown.Origin, Size: shown.Size - 1, Root: root}, w.ClusterKey)); err != nil {
		t.Errorf("an earlier checkpoint of the same log: %v", err)
	}
	other := shown
	other.Root[3] ^= 1
	if _, err := n.Cosign(t.Context(), sign(other, w.ClusterKey)); !errors.Is(err, ErrInconsistent) {
		t.Errorf("another root: got %v, want %v", err, ErrInconsistent)
	}
	ahead := shown
	ahead.Size++
	if _, err := n.Cosign(t.Context(), sign(ahead, w.ClusterKey)); err == nil {
		t.Error("a checkpoint beyond the own log was cosigned")
	}
	if _, err := n.Cosign(t.Context(), sign(shown, w.Admin)); err == nil {
		t.Error("a checkpoint that the cluster's key did not sign was cosigned")
	}
	foreign := shown
	foreign.Origin = "gavel-0000000000000000.log"
	if _, err := n.Cosign(t.Context(), sign(foreign, w.ClusterKey)); err == nil {
		t.Error("a checkpoint of another log was cosigned")
	}
	// A coordinator whose log was put back to an older copy knows what it signed.
	check(t, n.journal.setCosigned(&cosigned{shown.Size + 100, ID{1}}))
	if _, err := n.Cosign(t.Context(), sign(shown, w.ClusterKey)); !errors.Is(err, ErrInconsistent) {
		t.Errorf("after its log went back: got %v, want %v", err, ErrInconsistent)
	}
}

// Nothing that is shown reveals a price or a result of a build without verdict, or
// an ask of an epoch whose price is open.
func TestNothingSecretIsShown(t *testing.T) {
	f := newFarm(t)
	w := f.world
	fsm, err := raftfsm.New(w.Genesis)
	check(t, err)
	p, err := Open(Config{
		Genesis: w.Genesis, Self: w.Coordinators[0].ID, Dir: t.TempDir(), Cluster: []*keys.Signer{signerOf(w.ClusterKey)}, Signer: signerOf(w.Coordinators[0]),
		State: fsm, Blobs: f.blobs, Peers: f, Log: slog.New(slog.DiscardHandler),
	})
	check(t, err)
	defer func() { check(t, p.Close()) }()
	fsm.Observe(p.Take)
	shown, waited := uint64(0), 0
	for _, e := range w.Entries {
		fsm.Apply(e.Index, e.Data)
		check(t, p.Durable(e.Index))
		check(t, p.showReady(t.Context()))
		next, err := p.journal.nextEpoch()
		check(t, err)
		if next != nil {
			waited++
		}
		for {
			raw, err := p.ReadFile(evidence.EpochPath(shown+1), maxEpochBytes)
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			check(t, err)
			shown++
			var entries evidence.EpochEntries
			check(t, wire.Decode(raw, &entries))
			fsm.Read(func(s *raftfsm.State) { lookForSecrets(t, s, shown, entries) })
		}
	}
	if shown == 0 || waited == 0 {
		t.Errorf("%d epochs were shown, at %d entries one waited: the test saw nothing", shown, waited)
	}
}

func lookForSecrets(t *testing.T, s *raftfsm.State, epoch uint64, entries evidence.EpochEntries) {
	t.Helper()
	for i := range entries {
		var batch build.Batch
		if wire.Decode(entries[i].Data, &batch) != nil {
			continue
		}
		for _, m := range batch.Commands {
			var of ID
			switch m.Type {
			case build.TypeReveal:
				var r build.Reveal
				check(t, wire.Decode(m.Payload, &r))
				of = r.Build
			case build.TypeOpening:
				var o build.OpeningOf
				check(t, wire.Decode(m.Payload, &o))
				of = o.Build
			case build.TypeOpenAsk:
				var o build.OpenAsk
				check(t, wire.Decode(m.Payload, &o))
				if k, ok := s.Market(o.Pool); ok && k.Epoch.Number == o.Epoch && k.AsksOpen() {
					t.Errorf("epoch %d shows an ask of epoch %d of %s, which runs", epoch, o.Epoch, o.Pool)
				}
				continue
			default:
				continue
			}
			if b, ok := s.Build(of); ok && b.Verdict == 0 && b.State >= build.Revealing && slices.Contains([]build.Type{build.TypeReveal, build.TypeOpening}, m.Type) {
				t.Errorf("epoch %d shows a %v of build %x, which is %v", epoch, m.Type, of[:4], b.State)
			}
		}
	}
}
