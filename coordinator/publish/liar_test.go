package publish

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"gavel/raftfsm"
	"gavel/verify/audit/audittest"
	"gavel/verify/evidence"
	"gavel/verify/tlog"
)

// liar is a farm of which one coordinator answers otherwise than it should.
type liar struct {
	*farm
	who    ID
	read   func(path string, raw []byte) ([]byte, error)
	builds func([]LoggedBuild)
	cosign func(line []byte) []byte
}

func (l *liar) ReadLog(ctx context.Context, at ID, path string, limit int64) ([]byte, error) {
	raw, err := l.farm.ReadLog(ctx, at, path, limit)
	if err == nil && at == l.who && l.read != nil {
		return l.read(path, slices.Clone(raw))
	}
	return raw, err
}

func (l *liar) LoggedBuilds(ctx context.Context, at ID, from, to uint64) ([]LoggedBuild, error) {
	list, err := l.farm.LoggedBuilds(ctx, at, from, to)
	if at == l.who && l.builds != nil {
		l.builds(list)
	}
	return list, err
}

func (l *liar) Cosign(ctx context.Context, at ID, note []byte) ([]byte, error) {
	if at == l.who && l.cosign != nil {
		return l.cosign(note), nil
	}
	return l.farm.Cosign(ctx, at, note)
}

// below changes what is read from a directory of the log.
func below(dir string, change func(raw []byte) []byte) func(string, []byte) ([]byte, error) {
	return func(path string, raw []byte) ([]byte, error) {
		if strings.HasPrefix(path, dir) {
			return change(raw), nil
		}
		return raw, nil
	}
}

func flipped(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw }

// What a peer says of the log that this node missed is held to the leaves, and what
// it does not show yet is left for later.
func TestNothingIsTakenOverOnAPeersWord(t *testing.T) {
	f := newFarm(t)
	w := f.world
	a, b := f.start(0, t.TempDir()), f.start(1, t.TempDir())
	for _, n := range []*node{a, b} {
		n.apply(w, 0, len(w.Entries))
	}
	shown := f.complete(a)
	eventually(t, "every epoch is shown", func() bool {
		e, err := a.journal.nextEpoch()
		return err == nil && e == nil
	})
	l := &liar{farm: f, who: a.config.Self}
	f.lies = l
	late := f.open(2, t.TempDir())
	defer func() { check(t, late.Close()) }()
	take := func() error { return late.takeOver(t.Context(), late.journal.position(), peerLog{l, l.who}) }
	var other []byte
	for what, lie := range map[string]liar{
		"another build's summary": {read: below("vsa/", func(raw []byte) []byte {
			if other == nil {
				other = raw
			}
			return other
		})},
		"another manifest":      {read: below("manifest/", flipped)},
		"another transcript":    {read: below("transcript/", flipped)},
		"other entries":         {read: below("epoch/", flipped)},
		"other leaves":          {read: below("tile/entries/", flipped)},
		"another place":         {builds: func(list []LoggedBuild) { list[0].Place.First++ }},
		"another build":         {builds: func(list []LoggedBuild) { list[0].Build = list[1].Build }},
		"one build again":       {builds: func(list []LoggedBuild) { list[len(list)-1] = list[0] }},
		"another author's leaf": {builds: swapAuthors},
	} {
		l.read, l.builds = lie.read, lie.builds
		if err := take(); err == nil {
			t.Fatalf("%s: was taken over", what)
		}
		if at := late.journal.position(); at.Logged != 0 || late.log().Size() != 0 {
			t.Fatalf("%s: %d items were logged", what, at.Logged)
		}
	}
	l.builds = nil
	l.read = func(path string, raw []byte) ([]byte, error) { return raw, missing(path, 3) }
	check(t, take())
	part := late.journal.position()
	if part.Logged == 0 || part.Leaves >= shown.Size {
		t.Fatalf("while the third epoch is not shown %d of %d leaves were taken over", part.Leaves, shown.Size)
	}
	l.read = nil
	check(t, take())
	if root := late.log().Root(); late.log().Size() != shown.Size || root != shown.Root {
		t.Fatalf("%d leaves with root %x were taken over, want %d and %x", late.log().Size(), root, shown.Size, shown.Root)
	}
	if got, want := contents(t, late), contents(t, a); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error("what lies beside the log differs")
	}
}

// missing is fs.ErrNotExist for an epoch from a number on.
func missing(path string, from uint64) error {
	for n := from; n < from+100; n++ {
		if path == evidence.EpochPath(n) {
			return fs.ErrNotExist
		}
	}
	return nil
}

func swapAuthors(list []LoggedBuild) {
	for i := range list {
		if p := list[i].Place.Attempts; len(p) > 1 {
			p[0], p[1] = p[1], p[0]
			return
		}
	}
}

// What is lost with a store, the others' logs have.
func TestANodeWithoutTheBlobsTakesOver(t *testing.T) {
	f := newFarm(t)
	w := f.world
	nodes := []*node{f.start(0, t.TempDir()), f.start(1, t.TempDir())}
	for _, n := range nodes {
		n.apply(w, 0, len(w.Entries))
	}
	f.complete(nodes[0])
	f.complete(nodes[1])
	f.blobs = &blobs{world: &audittest.World{}}
	late := f.start(2, t.TempDir())
	late.apply(w, 0, len(w.Entries))
	if got, want := f.complete(late), f.complete(nodes[0]); got != want {
		t.Errorf("without blobs the log is %+v, with them %+v", got, want)
	}
}

// A coordinator that answers at once with what is no signature of its own does not
// keep the others' from counting.
func TestAFalseCosignatureIsPassedOver(t *testing.T) {
	f := newFarm(t)
	w := f.world
	honest := f.start(1, t.TempDir())
	l := &liar{farm: f, who: w.Coordinators[0].ID}
	f.lies = l
	name := tlog.CosignerName(tlog.Origin(w.Cluster), w.Genesis.Coordinators[0].Name)
	l.cosign = func(note []byte) []byte {
		line, err := tlog.Cosign(note, name, 1, w.Admin.Sign, w.Admin.PKIX)
		if err != nil {
			return nil
		}
		return line
	}
	n := f.start(2, t.TempDir())
	honest.apply(w, 0, len(w.Entries))
	n.apply(w, 0, len(w.Entries))
	f.complete(n)
}

// A status list from before an event gets no signature with a time after it.
func TestAnOutdatedStatusListIsNotCosigned(t *testing.T) {
	f := newFarm(t)
	w := f.world
	n := f.start(0, t.TempDir())
	n.apply(w, 0, len(w.Entries))
	f.start(1, t.TempDir()).apply(w, 0, len(w.Entries))
	shown := f.complete(n)
	ask := func(size uint64) error {
		list, _, err := n.statusList(size)
		check(t, err)
		note, err := tlog.SignCheckpoint(evidence.StatusCheckpoint(n.origin, size, list), w.ClusterKey.Sign, w.ClusterKey.PKIX)
		check(t, err)
		_, err = n.Cosign(t.Context(), note)
		return err
	}
	check(t, ask(shown.Size-1))
	event, err := evidence.KeyLeaf(&raftfsm.KeyItem{Account: w.Admin.ID, Role: "admin"})
	check(t, err)
	check(t, n.journal.db.Update(func(tx *bbolt.Tx) error { return keepEvents(tx, shown.Size-1, [][]byte{event}) }))
	check(t, ask(shown.Size))
	if err := ask(shown.Size - 1); err == nil || !strings.Contains(err.Error(), "lacks what the log has had since") {
		t.Errorf("a list from before the first event: %v", err)
	}
}
