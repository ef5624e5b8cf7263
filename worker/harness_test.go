package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gavel/api"
	"gavel/api/action"
	gavelv1 "gavel/api/gavel/v1"
	"gavel/api/seal"
	"gavel/cas"
	"gavel/cas/inputs"
	"gavel/cas/tree"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/sandbox"
	"gavel/verify/attest"
	"gavel/verify/keys"
)

// sent is a command that a fake farm has taken.
type sent struct {
	kind    build.Type
	payload wire.Record
}

// fakeFarm takes commands in order and says what the test tells it to.
type fakeFarm struct {
	mu        sync.Mutex
	commands  []sent
	delivered []build.ID // leases
	chunks    map[build.ID][][]byte
	answer    func(build.Type, wire.Record) error // nil: takes all
	onLog     func() error
	feed      chan *gavelv1.Assignments
	news      chan struct{} // a token for each command and delivery
}

func newFakeFarm() *fakeFarm {
	return &fakeFarm{chunks: make(map[build.ID][][]byte), feed: make(chan *gavelv1.Assignments), news: make(chan struct{}, 1<<16)}
}

func (f *fakeFarm) Do(ctx context.Context, kind build.Type, payload wire.Record) (*gavelv1.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	answer := f.answer
	f.mu.Unlock()
	if answer != nil {
		if err := answer(kind, payload); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	f.commands = append(f.commands, sent{kind, payload})
	f.mu.Unlock()
	f.news <- struct{}{}
	return &gavelv1.Receipt{}, nil
}

func (f *fakeFarm) Work(ctx context.Context) iter.Seq2[*gavelv1.Assignments, error] {
	return func(yield func(*gavelv1.Assignments, error) bool) {
		for {
			select {
			case a := <-f.feed:
				if !yield(a, nil) {
					return
				}
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
		}
	}
}

func (f *fakeFarm) AppendLog(_ context.Context, _, lease [32]byte, first uint64, chunks [][]byte) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onLog != nil {
		if err := f.onLog(); err != nil {
			return 0, err
		}
	}
	for i, c := range chunks {
		switch at := int(first) + i; {
		case at == len(f.chunks[lease]):
			f.chunks[lease] = append(f.chunks[lease], slices.Clone(c))
		case at > len(f.chunks[lease]):
			return 0, errors.New("a gap in the log")
		}
	}
	return uint64(len(f.chunks[lease])), nil
}

func (f *fakeFarm) Deliver(_ context.Context, _, lease [32]byte) error {
	f.mu.Lock()
	f.delivered = append(f.delivered, lease)
	f.mu.Unlock()
	f.news <- struct{}{}
	return nil
}

// of returns the payloads of one type.
func (f *fakeFarm) of(kind build.Type) []wire.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []wire.Record
	for _, c := range f.commands {
		if c.kind == kind {
			out = append(out, c.payload)
		}
	}
	return out
}

// await returns when cond holds, looking again after everything the worker says.
func (f *fakeFarm) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-f.news:
		case <-timeout:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// fakeRunner runs a function instead of a command.
type fakeRunner struct {
	mu    sync.Mutex
	runs  int
	roots []string
	run   func(ctx context.Context, s sandbox.Spec) (sandbox.Result, error)
}

func (r *fakeRunner) Run(ctx context.Context, s sandbox.Spec) (sandbox.Result, error) {
	r.mu.Lock()
	r.runs++
	run := r.run
	r.mu.Unlock()
	if run != nil {
		return run(ctx, s)
	}
	return writeOutputs(s, "honest bytes")
}

func (r *fakeRunner) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs
}

func (r *fakeRunner) Roots(context.Context) ([]string, error) { return slices.Clone(r.roots), nil }
func (r *fakeRunner) Describe() sandbox.Description {
	return sandbox.Description{Name: "fake", InputUID: -1, InputGID: -1}
}
func (r *fakeRunner) Close() error { return nil }

// writeOutputs makes every declared output a file.
func writeOutputs(s sandbox.Spec, text string) (sandbox.Result, error) {
	for _, p := range s.Outputs {
		path := filepath.Join(s.OutputDir, filepath.FromSlash(p))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text+" "+p), 0o755)); err != nil {
			return sandbox.Result{}, err
		}
	}
	if s.Log != nil {
		fmt.Fprintln(s.Log, "built", len(s.Outputs), "outputs")
	}
	return sandbox.Result{Status: sandbox.Exited}, nil
}

// bench is a worker with a fake farm and a fake sandbox around real parts. It can
// be restarted: a new worker on the same directory and farm.
type bench struct {
	t          *testing.T
	dir        string
	farm       *fakeFarm
	runner     *fakeRunner
	store      *memoryStore // the farm's
	signer     *keys.Signer
	sealKeys   []*seal.PrivateKey
	members    []build.Coordinator
	cluster    build.ID
	action     *action.Action
	log        *lockedBuffer
	config     Config
	wrap       func(records) records // around the journal
	journal    *journal
	cache      *inputs.Cache
	w          *worker
	cancelLoop context.CancelFunc
	loopEnded  chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), farm: newFakeFarm(), runner: &fakeRunner{roots: []string{"host"}}, log: &lockedBuffer{}, cluster: id("cluster")}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b.signer, err = keys.Create(filepath.Join(b.dir, "key.pem"), keys.Ed25519)
	must(err)
	for i := range 3 {
		k, err := seal.GenerateKey()
		must(err)
		public := k.Public()
		b.sealKeys = append(b.sealKeys, k)
		b.members = append(b.members, build.Coordinator{ID: build.ID{byte(i + 1)}, Name: fmt.Sprint("c", i+1), SealKey: public[:]})
	}
	b.store = &memoryStore{blobs: make(map[cas.Digest][]byte)}
	price := Amount(2_000_000)
	b.config = Config{Name: "w1", Dir: b.dir, Endpoints: []string{"x"}, KeyFile: "k", Pool: "main", Operator: "o1", Machine: "m1", Price: &price}.withDefaults()
	if change != nil {
		change(&b.config)
	}
	b.uploadAction()
	b.open()
	t.Cleanup(b.stop)
	return b
}

// uploadAction puts a small project and its action into the farm's store.
func (b *bench) uploadAction() {
	b.t.Helper()
	src := b.t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "main.c"), []byte("int main;"), 0o644); err != nil {
		b.t.Fatal(err)
	}
	root, _, err := tree.Upload(b.t.Context(), cas.InProcess{Store: b.store}, src, tree.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.action = &action.Action{InputRoot: root, Argv: []string{"make"}, Outputs: []string{"bin/app", "lib"}, Root: "host", TimeoutMillis: 60_000, Env: []attest.EnvVar{{Name: "A", Value: "b"}}}
	rawAction, rawCommand, err := b.action.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, raw := range [][]byte{rawAction, rawCommand} {
		if err := b.store.Put(b.t.Context(), cas.Of(raw), bytes.NewReader(raw)); err != nil {
			b.t.Fatal(err)
		}
	}
}

// open makes the worker, as Run does.
func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.journal, err = openJournal(filepath.Join(b.dir, "journal.db")); err != nil {
		b.t.Fatal(err)
	}
	var rs records = b.journal
	if b.wrap != nil {
		rs = b.wrap(rs)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(b.log, testWriter{b.t}), nil))
	b.w = &worker{config: b.config, key: b.signer.Public, class: "linux/amd64", runner: b.runner, log: log, wake: make(chan struct{}, 1)}
	if err := b.w.readRoots(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if b.w.kept, err = openKept(b.dir, 1<<30, rs, log); err != nil {
		b.t.Fatal(err)
	}
	local := cas.InProcess{Store: b.store}
	from := &lateCache{content: &content{Uploader: local, fetcher: local, layout: inputs.Options{UID: -1, GID: -1, Epoch: action.SourceDateEpoch}}, b: b}
	lodge := func(buildID, lease, commitment build.ID, o *build.Opening) ([]byte, error) {
		return seal.Lodgement(b.members, b.cluster, buildID, lease, commitment, o)
	}
	b.w.connect(b.cluster, rs, from, b.farm, lodge, &attester{
		farm: b.cluster, signer: b.signer, log: log, self: &build.Worker{ID: b.signer.ID, Name: "w1", Operator: "o1", Class: "linux/amd64"},
	})
}

// lateCache opens the cache when it is first needed: that takes a while, and few
// tests need it.
type lateCache struct {
	*content
	b  *bench
	mu sync.Mutex
}

func (l *lateCache) Tree(ctx context.Context, root cas.Digest) (string, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.cache == nil {
		var err error
		if l.b.cache, err = inputs.Open(filepath.Join(l.b.dir, "cache"), inputs.Config{}); err != nil {
			return "", nil, err
		}
		l.cache = l.b.cache
	}
	return l.content.Tree(ctx, root)
}

// memoryStore is a farm's store.
type memoryStore struct {
	mu    sync.Mutex
	blobs map[cas.Digest][]byte
	order []cas.Digest // as they came
}

func (s *memoryStore) Missing(_ context.Context, ds []cas.Digest) (out []cas.Digest, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range cas.Unique(ds) {
		if _, ok := s.blobs[d]; !ok {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *memoryStore) Open(_ context.Context, d cas.Digest) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, ok := s.blobs[d]
	if !ok {
		return nil, cas.NotFound(d)
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

func (s *memoryStore) Put(_ context.Context, d cas.Digest, r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if cas.Of(raw) != d {
		return cas.ErrDigestMismatch
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = raw
	s.order = append(s.order, d)
	return nil
}

// testWriter shows the worker's log with a failing test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// loop starts the worker's loop; assignments go to b.farm.feed.
func (b *bench) loop() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	b.cancelLoop, b.loopEnded = cancel, ended
	go func() {
		defer close(ended)
		b.w.loop(ctx)
	}()
}

// stop ends the worker as kill would have it end, as far as a test can: nothing
// is finished, only what is on disk stays.
func (b *bench) stop() {
	if b.cancelLoop != nil {
		b.cancelLoop()
		<-b.loopEnded
		b.cancelLoop = nil
	}
	if b.journal != nil {
		_ = b.journal.Close()
		b.journal = nil
		if b.cache != nil {
			_ = b.cache.Close()
			b.cache = nil
		}
	}
}

// restart is stop and open.
func (b *bench) restart() {
	b.t.Helper()
	b.stop()
	b.open()
}

// lease is one for the bench's action.
func (b *bench) lease(name string, builder bool) *gavelv1.Lease {
	buildID, leaseID, digest := id("build"), id(name), b.action.Digest.Sum()
	l := &gavelv1.Lease{
		Lease: leaseID[:], Build: buildID[:], ActionDigest: digest[:], ActionBytes: uint64(b.action.Digest.Size), Platform: "host",
		Builder: builder, LeaseMillis: 60_000, LeaseUntilMillis: 60_000, BoundMillis: 120_000,
	}
	if builder {
		key := b.sealKeys[0].Public()
		l.LogKey = key[:]
	}
	return l
}

// parsed is the lease as the worker reads it.
func (b *bench) parsed(m *gavelv1.Lease) lease {
	b.t.Helper()
	l, err := leaseOf(m, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// opening decrypts what a commit lodged, as every coordinator must be able to.
func (b *bench) opening(m *build.Commit) *build.Opening {
	b.t.Helper()
	var first *build.Opening
	for i, k := range b.sealKeys {
		o, err := seal.OpenLodgement(k, i, len(b.sealKeys), b.cluster, m.Build, m.Lease, m.Commitment, m.Lodged)
		if err != nil {
			b.t.Fatalf("coordinator %d: %v", i, err)
		}
		if first != nil && !bytes.Equal(wire.Encode(first), wire.Encode(o)) {
			b.t.Fatal("coordinators were lodged different openings")
		}
		first = o
	}
	return first
}

// commits are the commits so far.
func (b *bench) commits() []*build.Commit {
	var out []*build.Commit
	for _, r := range b.farm.of(build.TypeCommit) {
		out = append(out, r.(*build.Commit))
	}
	return out
}

func id(name string) build.ID { return wire.NewHasher("test").Text(name).Sum() }

func refusal(code build.Code) error {
	return &api.RefusedError{Code: code, Detail: "refused by the test"}
}
