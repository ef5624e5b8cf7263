package consensus

import (
	"context"
	"crypto/rand"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"

	"github.com/hashicorp/raft"
)

// fakeFSM is the least state machine there is: it remembers request ids in the
// order of their first appearance, and what ticks came.
type fakeFSM struct {
	mu       sync.Mutex
	state    fakeState
	entries  []int // commands per entry applied since the start
	restores int
	pending  bool
	changed  chan struct{}
	hold     chan struct{} // Apply waits for it where it is not nil
	reached  chan struct{} // gets a value when Apply begins to wait; room for one
}

type fakeState struct {
	Index    uint64
	Requests [][16]byte
	Elapsed  []int64
	Wall     int64 // as last told
}

func newFakeFSM() *fakeFSM {
	return &fakeFSM{changed: make(chan struct{}), reached: make(chan struct{}, 1)}
}

func (f *fakeFSM) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeFSM) Apply(l *raft.Log) any {
	var b build.Batch
	if err := wire.Decode(l.Data, &b); err != nil {
		panic(err)
	}
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case f.reached <- struct{}{}:
		default:
		}
		<-hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []build.Outcome
	for i := range b.Commands {
		c := &b.Commands[i]
		var o build.Outcome
		if c.Type == build.TypeTick {
			var t build.Tick
			if err := wire.Decode(c.Payload, &t); err != nil {
				panic(err)
			}
			f.state.Elapsed, f.state.Wall = append(f.state.Elapsed, t.ElapsedMillis), t.WallMillis
		} else if !slices.Contains(f.state.Requests, c.Request) {
			f.state.Requests = append(f.state.Requests, c.Request)
		}
		copy(o.Subject[:], c.Request[:])
		out = append(out, o)
	}
	f.state.Index = l.Index
	f.entries = append(f.entries, len(b.Commands))
	f.wake()
	return out
}

func (f *fakeFSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.Requests, s.Elapsed = slices.Clone(s.Requests), slices.Clone(s.Elapsed)
	return fakeSnapshot(s), nil
}

type fakeSnapshot fakeState

func (s fakeSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := gob.NewEncoder(sink).Encode(fakeState(s)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (fakeSnapshot) Release() {}

func (f *fakeFSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	var s fakeState
	if err := gob.NewDecoder(r).Decode(&s); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
	f.restores++
	f.wake()
	return nil
}

func (f *fakeFSM) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeFSM) WaitApplied(ctx context.Context, index uint64) error {
	return f.wait(ctx, func(s fakeState) bool { return s.Index >= index })
}

func (f *fakeFSM) wait(ctx context.Context, done func(fakeState) bool) error {
	for {
		f.mu.Lock()
		ok, changed := done(f.state), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeFSM) isPending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pending
}

func (f *fakeFSM) setPending(p bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = p
	f.wake()
}

func (f *fakeFSM) requests() [][16]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.state.Requests)
}

// fakeWires is a Forwarder that calls the other node of the same process, and
// loses what it is told to lose.
type fakeWires struct {
	mu    sync.Mutex
	nodes map[string]*Node
	// loseAnswer makes the next call do its work and fail all the same.
	loseAnswer bool
	forwarded  int
}

func (w *fakeWires) Forward(ctx context.Context, leader Peer, commands []build.Command) ([]build.Outcome, uint64, error) {
	w.mu.Lock()
	n, lose := w.nodes[leader.Name], w.loseAnswer
	w.loseAnswer = false
	w.forwarded++
	w.mu.Unlock()
	if n == nil {
		return nil, 0, fmt.Errorf("%w: connection refused", ErrNoLeader)
	}
	outcomes, index, err := n.ProposeHere(ctx, commands)
	if lose {
		return nil, 0, errors.New("connection reset")
	}
	return outcomes, index, err
}

// fast makes elections short, for nodes that are alone or need not keep the lead;
// steady is for clusters that must not lose their leader to a busy processor.
var (
	fast   = Timing{Election: 200 * time.Millisecond, Lease: 200 * time.Millisecond}
	steady = Timing{Election: 700 * time.Millisecond, Lease: 700 * time.Millisecond}
)

// cluster is n nodes on loopback addresses.
type cluster struct {
	t     *testing.T
	dir   string
	peers []Peer
	wires *fakeWires
	fsms  map[string]*fakeFSM
}

func newCluster(t *testing.T, n int) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), wires: &fakeWires{nodes: map[string]*Node{}}, fsms: map[string]*fakeFSM{}}
	for i, addr := range freeAddrs(t, n) {
		name := fmt.Sprintf("coordinator-%d", i+1)
		c.peers = append(c.peers, Peer{Name: name, RaftAddr: addr, GRPCAddr: "grpc-of-" + name})
	}
	t.Cleanup(func() {
		for _, p := range c.peers {
			c.stop(p.Name)
		}
	})
	return c
}

func freeAddrs(t testing.TB, n int) []string {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

func (c *cluster) config(name string) Config {
	timing := steady
	if len(c.peers) == 1 {
		timing = fast
	}
	return Config{
		Dir: filepath.Join(c.dir, name), Name: name, Peers: c.peers, FSM: c.fsms[name], Pending: c.fsms[name].isPending,
		Forwarder: c.wires, Tick: 20 * time.Millisecond, Timing: timing,
	}
}

func (c *cluster) start(names ...string) {
	c.t.Helper()
	if len(names) == 0 {
		for _, p := range c.peers {
			names = append(names, p.Name)
		}
	}
	for _, name := range names {
		c.fsms[name] = newFakeFSM()
		n, err := Open(c.config(name))
		if err != nil {
			c.t.Fatal(err)
		}
		c.wires.mu.Lock()
		c.wires.nodes[name] = n
		c.wires.mu.Unlock()
	}
}

func (c *cluster) node(name string) *Node {
	c.wires.mu.Lock()
	defer c.wires.mu.Unlock()
	return c.wires.nodes[name]
}

func (c *cluster) stop(name string) {
	n := c.node(name)
	if n == nil {
		return
	}
	c.wires.mu.Lock()
	delete(c.wires.nodes, name)
	c.wires.mu.Unlock()
	if err := n.Close(); err != nil {
		c.t.Errorf("closing %s: %v", name, err)
	}
}

// leader waits until all running nodes name the same running leader.
func (c *cluster) leader(ctx context.Context) (leader *Node, followers []*Node) {
	c.t.Helper()
	for {
		c.wires.mu.Lock()
		nodes := make(map[string]*Node)
		for name, n := range c.wires.nodes {
			nodes[name] = n
		}
		c.wires.mu.Unlock()
		var wake []<-chan struct{}
		leader, followers = nil, nil
		agreed := true
		for _, n := range nodes {
			wake = append(wake, n.LeaderChanged())
			p, ok := n.Leader()
			l := nodes[p.Name]
			agreed = agreed && ok && l != nil && (leader == nil || leader == l) && l.Leads()
			if agreed {
				leader = l
			}
		}
		if agreed && leader != nil {
			for _, n := range nodes {
				if n != leader {
					followers = append(followers, n)
				}
			}
			return leader, followers
		}
		if err := anyOf(ctx, wake); err != nil {
			c.t.Fatalf("no leader: %v", err)
		}
	}
}

func anyOf(ctx context.Context, wake []<-chan struct{}) error {
	ctx2, cancel := context.WithTimeout(ctx, 100*time.Millisecond) // Leads changes without a word
	defer cancel()
	for _, w := range wake {
		go func() {
			select {
			case <-w:
				cancel()
			case <-ctx2.Done():
			}
		}()
	}
	<-ctx2.Done()
	return ctx.Err()
}

// command makes a command with a random request id.
func command() build.Command {
	c := build.Command{Version: build.Version, Type: build.TypeSubmit, Payload: []byte("x")}
	if _, err := rand.Read(c.Request[:]); err != nil {
		panic(err)
	}
	return c
}

// insist proposes as a client does, with the same request id until it is told
// the outcome.
func insist(ctx context.Context, node func() *Node, m build.Command) error {
	for {
		_, _, err := node().Propose(ctx, []build.Command{m})
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, ErrNoLeader) && !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrBusy) {
			return err
		}
		select {
		case <-node().LeaderChanged():
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirVariable); dir != "" {
		child(dir, os.Getenv(childAddrVariable))
	}
	os.Exit(m.Run())
}
