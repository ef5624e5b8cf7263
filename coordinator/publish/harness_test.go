package publish

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"

	"gavel/api/action"
	"gavel/cas"
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
	"gavel/verify/audit/audittest"
	"gavel/verify/keys"
	"gavel/verify/tlog"
)

// theWorld is one market that has run, shared by all tests: it is only read.
var theWorld = sync.OnceValues(func() (*audittest.World, error) { return audittest.New(audittest.Options{Seed: 7}) })

func world(t *testing.T) *audittest.World {
	t.Helper()
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// partySigner is a party's key as sigstore has signers.
type partySigner struct{ *audittest.Party }

func (p partySigner) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return keys.ParsePKIX(p.PKIX)
}

func (p partySigner) SignMessage(message io.Reader, _ ...signature.SignOption) ([]byte, error) {
	raw, err := io.ReadAll(message)
	if err != nil {
		return nil, err
	}
	return p.Sign(raw)
}

func signerOf(p *audittest.Party) *keys.Signer {
	return &keys.Signer{Signer: partySigner{p}, Public: p.PKIX, ID: p.ID}
}

// blobs has every action and manifest of a world.
type blobs struct {
	world    *audittest.World
	actions  map[ID]*action.Action
	timeouts map[ID]int64 // by action
}

func newBlobs(w *audittest.World) *blobs {
	b := &blobs{w, map[ID]*action.Action{}, map[ID]int64{}}
	for i := range w.Applied {
		for _, raw := range w.Applied[i].Transcripts {
			if t, err := build.ReadTranscript(raw.Bytes, raw.Digest); err == nil {
				b.timeouts[t.Build.Terms.ActionDigest] = t.Build.Terms.TimeoutMillis
			}
		}
	}
	for order := range uint64(10_000) {
		blob := func(what string) cas.Digest {
			return cas.OfSum(wire.NewHasher("audittest-"+what).U64(order).Sum(), 140)
		}
		b.actions[blob("action").Sum()] = &action.Action{
			Digest: blob("action"), Command: blob("command"), InputRoot: blob("input"), Argv: []string{"make", "-j2"},
			Env: []attest.EnvVar{{Name: "MODE", Value: "release"}}, Root: "host", Outputs: []string{"bin"},
		}
	}
	return b
}

func (b *blobs) Action(_ context.Context, _ ID, d cas.Digest) (*action.Action, error) {
	a, ok := b.actions[d.Sum()]
	if !ok {
		return nil, cas.ErrNotFound
	}
	copied := *a
	copied.TimeoutMillis = b.timeouts[d.Sum()]
	return &copied, nil
}

func (b *blobs) Manifest(_ context.Context, _ ID, d cas.Digest) (*build.Manifest, error) {
	m, ok := b.world.Manifests[d.Sum()]
	if !ok {
		return nil, cas.ErrNotFound
	}
	return m, nil
}

// farm is some coordinators that talk to each other directly.
type farm struct {
	t     *testing.T
	world *audittest.World
	blobs *blobs
	mu    sync.Mutex
	nodes map[ID]*node
	// witnesses are those of the nodes started next.
	witnesses []*tlog.WitnessClient
	// lies, if set, is what the others are to the nodes started next.
	lies Peers
}

type node struct {
	*Publisher
	fsm  *raftfsm.FSM
	stop func()
}

func newFarm(t *testing.T) *farm { return newFarmOf(t, world(t)) }

func newFarmOf(t *testing.T, w *audittest.World) *farm {
	return &farm{t: t, world: w, blobs: newBlobs(w), nodes: map[ID]*node{}}
}

func (f *farm) node(id ID) (*node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[id]; n != nil {
		return n, nil
	}
	return nil, errors.New("that coordinator is down")
}

func (f *farm) Cosign(ctx context.Context, at ID, note []byte) ([]byte, error) {
	n, err := f.node(at)
	if err != nil {
		return nil, err
	}
	return n.Cosign(ctx, note)
}

func (f *farm) ReadLog(_ context.Context, at ID, path string, limit int64) ([]byte, error) {
	n, err := f.node(at)
	if err != nil {
		return nil, err
	}
	return n.ReadFile(path, limit)
}

func (f *farm) LoggedBuilds(_ context.Context, at ID, from, to uint64) ([]LoggedBuild, error) {
	n, err := f.node(at)
	if err != nil {
		return nil, err
	}
	return n.Publisher.LoggedBuilds(from, to)
}

// open opens coordinator i on dir and leaves it at that.
func (f *farm) open(i int, dir string) *node {
	f.t.Helper()
	fsm, err := raftfsm.New(f.world.Genesis)
	check(f.t, err)
	party := f.world.Coordinators[i]
	var peers Peers = f
	if f.lies != nil {
		peers = f.lies
	}
	p, err := Open(Config{
		Genesis: f.world.Genesis, Self: party.ID, Dir: dir, Cluster: []*keys.Signer{signerOf(f.world.FirstClusterKey()), signerOf(f.world.ClusterKey)}, Signer: signerOf(party),
		State: fsm, Blobs: f.blobs, Peers: peers, Witnesses: f.witnesses, Log: slog.New(slog.DiscardHandler),
	})
	check(f.t, err)
	fsm.Observe(p.Take)
	return &node{Publisher: p, fsm: fsm}
}

// start opens coordinator i on dir, with the state machine as after a restart.
func (f *farm) start(i int, dir string) *node {
	f.t.Helper()
	n := f.open(i, dir)
	party, p := f.world.Coordinators[i], n.Publisher
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		f.mu.Lock()
		delete(f.nodes, party.ID)
		f.mu.Unlock()
		cancel()
		running.Wait()
		check(f.t, p.Close())
	})
	f.t.Cleanup(n.stop)
	f.mu.Lock()
	f.nodes[party.ID] = n
	f.mu.Unlock()
	return n
}

// apply applies the world's entries from one to before another.
func (n *node) apply(w *audittest.World, from, to int) {
	for _, e := range w.Entries[from:to] {
		n.fsm.Apply(e.Index, e.Data)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// items counts what the world leaves for the log.
func items(w *audittest.World) (n uint64) {
	for i := range w.Applied {
		n += uint64(len(w.Applied[i].Items))
	}
	return n
}

// complete waits until a node has logged everything and shows it.
func (f *farm) complete(n *node) tlog.Checkpoint {
	f.t.Helper()
	want := items(f.world)
	eventually(f.t, "everything is logged", func() bool { return n.journal.position().Logged == want })
	eventually(f.t, "the checkpoint covers the log", func() bool { return n.log().Published().Size == n.log().Size() })
	return n.log().Published()
}

// contents are the files of a node's log but those of its tiles that only tell how
// it grew.
func contents(t *testing.T, n *node) map[string]string {
	t.Helper()
	out := map[string]string{}
	root := LogDir(n.config.Dir)
	check(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has got there meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if filepath.Dir(name) == "incoming" {
			return nil // on its way to its name
		}
		if filepath.Dir(name) != "." && !bytes.HasPrefix([]byte(name), []byte("tile/")) || name == "genesis" {
			raw, err := os.ReadFile(path)
			out[name] = string(raw)
			return err
		}
		return nil
	}))
	return out
}
