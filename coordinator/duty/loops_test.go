package duty

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gavel/raftfsm"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// fakeSource is a state that says what the test wants.
type fakeSource struct {
	mu      sync.Mutex
	look    Look
	builds  []*build.Build
	changed chan struct{}
	looks   int // calls of Settled
}

func newFakeSource() *fakeSource { return &fakeSource{changed: make(chan struct{})} }

func (s *fakeSource) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *fakeSource) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *fakeSource) Look() Look {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look
}

func (s *fakeSource) Build(id ID) (*build.Build, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.builds {
		if b.ID == id {
			return b, true
		}
	}
	return nil, false
}

func (s *fakeSource) Settled(limit int, known func(ID, uint64) bool) (out []*build.Build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	for _, b := range s.builds {
		if len(out) < limit && !known(b.ID, b.Version) {
			out = append(out, b)
		}
	}
	return out
}

// fakeProposer records what is proposed, after failing as often as it is told.
type fakeProposer struct {
	mu    sync.Mutex
	fails int
	code  build.Code
	got   []build.Command
}

func (p *fakeProposer) Propose(_ context.Context, commands []build.Command) ([]build.Outcome, uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, commands...)
	if len(p.got) <= p.fails {
		return nil, 0, errors.New("no leader")
	}
	return []build.Outcome{{Code: p.code}}, 1, nil
}

func (p *fakeProposer) Leads() bool { return true }

func (p *fakeProposer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got)
}

// alone makes the duties of the first of three coordinators over fakes.
func alone(t *testing.T, source Source, proposer Proposer) (*Duties, *bench) {
	b := newBench(t, 3, 0)
	m := b.members[0]
	d, err := New(Config{Genesis: b.genesis, Self: m.id, Dir: m.dir, SealKey: m.seal, Source: source, Propose: proposer, Peers: m, Sign: m, Store: &b.store})
	if err != nil {
		t.Fatal(err)
	}
	return d, b
}

// An act is signed, tried again while it is owed, once it is done no more, and
// not after it was taken away.
func TestAuctioneerActs(t *testing.T) {
	source, proposer := newFakeSource(), &fakeProposer{fails: 3}
	d, b := alone(t, source, proposer)
	act := build.Auctioneer{Build: ID{1}, Auction: ID{2}, Act: build.ActOpen}
	synctest.Test(t, func(t *testing.T) {
		source.changed = make(chan struct{})
		source.look.FarmMillis = 5000
		defer run(d)()
		settle()
		if proposer.count() != 0 {
			t.Fatal("acted without a duty")
		}
		source.set(func() { source.look.Acts = []build.Auctioneer{act} })
		pass(10 * time.Second)
		if n := proposer.count(); n != 4 {
			t.Fatalf("proposed %d times, want 3 failures and a success", n)
		}
		source.set(func() {}) // still owed: it is on its way
		pass(10 * time.Second)
		if n := proposer.count(); n != 4 {
			t.Errorf("proposed %d times after it was done", n)
		}
		c := proposer.got[3]
		var got build.Auctioneer
		if err := wire.Decode(c.Payload, &got); err != nil || got != act {
			t.Errorf("payload %+v, %v", got, err)
		}
		if c.Type != build.TypeAuctioneer || c.Sender != b.members[0].id || c.ValidUntilMillis != 5000+validForMillis || c.Request == [16]byte{} {
			t.Errorf("command %+v", c)
		}
		if err := wire.VerifySignature(b.members[0].pkix, c.SigningBytes(b.genesis.Digest()), c.Signature); err != nil {
			t.Error(err)
		}
		proposer.mu.Lock()
		proposer.code = build.CodeWrongState // another is refused, again and again
		proposer.mu.Unlock()
		act.Act = build.ActClose
		source.set(func() { source.look.Acts = []build.Auctioneer{act} })
		pass(10 * time.Second)
		before := proposer.count()
		if before < 8 {
			t.Errorf("a refused act was tried %d times", before-4)
		}
		source.set(func() { source.look.Acts = nil })
		pass(time.Minute)
		if n := proposer.count(); n > before {
			t.Errorf("%d more after it was taken away", n-before)
		}
	})
}

// What comes before its demand is kept, for each member up to a bound, and a
// member that floods loses only its own.
func TestEarlyPartials(t *testing.T) {
	p := newPartials(3)
	demand := func(i int) raftfsm.Demand { return raftfsm.Demand{Purpose: "seats", Round: uint64(i)} }
	has := func(i int) (members []uint32) {
		parts, _, _ := p.get(demand(i))
		for _, part := range parts {
			members = append(members, part.Index)
		}
		return members
	}
	p.add(demand(0), beacon.Partial{Index: 1})
	for i := range 3 * maxEarly {
		p.add(demand(i), beacon.Partial{Index: 2})
	}
	if got := has(0); len(got) != 1 || got[0] != 1 {
		t.Errorf("the first demand holds partials of %v, want of 1 alone", got)
	}
	if len(p.sets) != maxEarly+1 {
		t.Errorf("%d sets kept", len(p.sets))
	}
	last := 3*maxEarly - 1
	p.demanded([]raftfsm.Demand{demand(0), demand(last)})
	for i := range 2 * maxEarly { // crowds out what is early, never what is wanted
		p.add(demand(10*maxEarly+i), beacon.Partial{Index: 1})
		p.add(demand(10*maxEarly+i), beacon.Partial{Index: 2})
	}
	if len(has(0)) != 1 || len(has(last)) != 1 {
		t.Errorf("wanted partials were crowded out: %v, %v", has(0), has(last))
	}
	p.demanded([]raftfsm.Demand{demand(last)})
	if _, _, ok := p.get(demand(0)); ok {
		t.Error("a demand that passed is kept")
	}
	p.demanded(nil)
	if len(p.sets) > 2*maxEarly {
		t.Errorf("%d sets kept", len(p.sets))
	}
}

func TestReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		log := map[string]int{}
		note := func(s string) { mu.Lock(); log[s]++; mu.Unlock() }
		var group sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		tasks := newTasks[int](ctx, &group, func(ctx context.Context, v int) {
			note(fmt.Sprint("begin ", v))
			if v != 3 { // 3 ends by itself
				<-ctx.Done()
			}
			note(fmt.Sprint("end ", v))
		})
		want := func(v ...int) map[int]int { return wanted(v, func(v int) int { return v }) }
		tasks.reconcile(want(1, 2, 3))
		settle()
		tasks.reconcile(want(2, 3))
		settle()
		tasks.reconcile(want(1, 2, 3))
		settle()
		mu.Lock()
		for line, n := range map[string]int{"begin 1": 2, "end 1": 1, "begin 2": 1, "end 2": 0, "begin 3": 1, "end 3": 1} {
			if log[line] != n {
				t.Errorf("%q %d times, want %d", line, log[line], n)
			}
		}
		mu.Unlock()
		cancel()
		group.Wait()
	})
}

func settledBuild(n int) *build.Build {
	return &build.Build{ID: ID{byte(n), byte(n >> 8)}, Sequence: uint64(n), Version: 5, State: build.Settled, Verdict: build.Agreed}
}

func TestArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	a, err := OpenArchive(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{300, 1, 20} { // settled in another order than submitted
		if err := a.Put([]*build.Build{settledBuild(n)}); err != nil {
			t.Fatal(err)
		}
	}
	newer, older := settledBuild(20), settledBuild(1)
	newer.Version, newer.Reason = 6, "newer"
	older.Version, older.Reason = 4, "older"
	unfinished := settledBuild(7)
	unfinished.State = build.Agreed
	if err := a.Put([]*build.Build{newer, older, settledBuild(300)}); err != nil {
		t.Fatal(err)
	}
	if err := a.Put([]*build.Build{settledBuild(8), unfinished}); err == nil {
		t.Error("archived a build that has not settled")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err = OpenArchive(path); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var got []uint64
	list, err := a.Newest(10)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		got = append(got, b.Sequence)
	}
	if fmt.Sprint(got) != "[300 20 1]" {
		t.Errorf("newest first: %v", got)
	}
	if list, _ = a.Newest(1); len(list) != 1 || list[0].Sequence != 300 {
		t.Errorf("the newest: %v", list)
	}
	if b, err := a.Get(newer.ID); err != nil || b.Reason != "newer" {
		t.Errorf("a newer version: %v, %v", b, err)
	}
	if b, err := a.Get(older.ID); err != nil || b.Reason != "" {
		t.Errorf("an older version: %v, %v", b, err)
	}
	if _, err := a.Get(ID{9}); !errors.Is(err, ErrNotArchived) {
		t.Errorf("unknown build: %v", err)
	}
}

// A node that was away finds more settled builds than one look copies; all come
// into the archive, and then a look finds nothing new.
func TestArchiveCatchesUp(t *testing.T) {
	source := newFakeSource()
	d, _ := alone(t, source, &fakeProposer{})
	a, err := OpenArchive(filepath.Join(t.TempDir(), "archive.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	d.config.Archive = a
	const n = 2*archiveBatch + 10
	for i := range n {
		source.builds = append(source.builds, settledBuild(i+1))
	}
	synctest.Test(t, func(t *testing.T) {
		source.changed = make(chan struct{})
		defer run(d)()
		pass(10 * archivePause)
		if list, err := a.Newest(2 * n); err != nil || len(list) != n {
			t.Fatalf("%d archived, %v", len(list), err)
		}
		source.mu.Lock()
		looks := source.looks
		source.mu.Unlock()
		if looks > 4 {
			t.Errorf("%d looks at a state that does not change", looks)
		}
		late := settledBuild(n + 1)
		source.set(func() { source.builds = append(source.builds, late) })
		pass(2 * archivePause)
		if _, err := a.Get(late.ID); err != nil {
			t.Error(err)
		}
	})
}
