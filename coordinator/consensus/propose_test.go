package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gavel/raftfsm/build"

	"github.com/hashicorp/raft"
)

func commands(n int) []build.Command {
	var out []build.Command
	for range n {
		out = append(out, command())
	}
	return out
}

// While one entry is in flight the others' commands gather, and each caller gets
// the outcomes of its own.
func TestConcurrentCallersShareEntries(t *testing.T) {
	c := newCluster(t, 1)
	c.start()
	ctx := testContext(t)
	leader, _ := c.leader(ctx)
	fsm := c.fsms[c.peers[0].Name]
	if _, _, err := leader.Propose(ctx, commands(1)); err != nil {
		t.Fatal(err)
	}
	fsm.mu.Lock()
	fsm.hold, fsm.entries = make(chan struct{}), nil
	fsm.mu.Unlock()

	const callers = 100
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for i := range callers {
		if i == 1 {
			<-fsm.reached // the first is in flight and held there, so all others must wait
		}
		wg.Go(func() {
			mine := commands(1 + i%3)
			outcomes, index, err := leader.Propose(ctx, mine)
			switch {
			case err != nil:
			case index == 0 || len(outcomes) != len(mine):
				err = fmt.Errorf("index %d, %d outcomes for %d commands", index, len(outcomes), len(mine))
			default:
				for j := range mine {
					if [16]byte(outcomes[j].Subject[:16]) != mine[j].Request {
						err = errors.New("another's outcome")
					}
				}
			}
			errs <- err
		})
	}
	for len(leader.calls) < callers-1 {
		time.Sleep(time.Millisecond)
	}
	close(fsm.hold)
	wg.Wait()
	for range callers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	fsm.mu.Lock()
	defer fsm.mu.Unlock()
	if len(fsm.entries) > 3 {
		t.Errorf("%d callers took %d entries: %v", callers, len(fsm.entries), fsm.entries)
	}
}

// gather never divides a call, never exceeds an entry and loses nobody.
func TestGatherKeepsLimits(t *testing.T) {
	n := &Node{calls: make(chan *call, 100)}
	var sizes []int
	for i := range 60 {
		c := &call{commands: make([]build.Command, 1+i*37%200), bytes: 1 + i*7919%(maxEntryBytes/3), reply: make(chan reply, 1)}
		if i%7 == 3 {
			c.settled.Store(true) // its caller left
		} else {
			sizes = append(sizes, len(c.commands))
		}
		n.calls <- c
	}
	var got []int
	next := <-n.calls
	for next != nil || len(n.calls) > 0 {
		if next == nil {
			next = <-n.calls
		}
		var batch []*call
		batch, next = n.gather(next)
		commands, bytes := 0, 0
		for _, c := range batch {
			commands += len(c.commands)
			bytes += c.bytes
			got = append(got, len(c.commands))
		}
		if commands > build.MaxBatch || bytes > maxEntryBytes {
			t.Fatalf("a batch of %d commands, %d bytes", commands, bytes)
		}
	}
	if !slices.Equal(got, sizes) {
		t.Errorf("took %v, want %v", got, sizes)
	}
}

// A call without commands is a barrier: when it returns at a follower, that
// follower has applied what was committed before, and no command was made up.
func TestProposeOfNothingIsABarrier(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	leader, followers := c.leader(ctx)
	m := command()
	if _, _, err := leader.Propose(ctx, []build.Command{m}); err != nil {
		t.Fatal(err)
	}
	for _, n := range append(followers, leader) {
		outcomes, index, err := n.Propose(ctx, nil)
		if err != nil || len(outcomes) != 0 || index == 0 {
			t.Fatalf("%s: %d outcomes at index %d, %v", n.config.Name, len(outcomes), index, err)
		}
		if got := c.fsms[n.config.Name].requests(); !slices.Equal(got, [][16]byte{m.Request}) {
			t.Errorf("%s has applied %x, want the one command", n.config.Name, got)
		}
	}
}

func TestProposeRefusesWhatCannotBe(t *testing.T) {
	c := newCluster(t, 1)
	c.start()
	ctx := testContext(t)
	leader, _ := c.leader(ctx)
	large := command()
	large.Payload = make([]byte, build.MaxPayloadBytes)
	over := command()
	over.Payload = make([]byte, build.MaxPayloadBytes+1)
	signed := command()
	signed.Signature = make([]byte, build.MaxSignatureBytes+1)
	for name, m := range map[string][]build.Command{
		"too many": commands(build.MaxBatch + 1), "too large": {over}, "signature": {signed},
		"too large together": slices.Repeat([]build.Command{large}, 17), "a tick": {{Version: 1, Type: build.TypeTick, Payload: make([]byte, 16)}},
	} {
		for _, propose := range []func(context.Context, []build.Command) ([]build.Outcome, uint64, error){leader.Propose, leader.ProposeHere} {
			if _, _, err := propose(ctx, m); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
	if got := c.fsms[leader.config.Name].requests(); len(got) != 0 {
		t.Errorf("%d commands applied", len(got))
	}
}

// A full queue refuses at once, a caller that leaves before its turn has
// proposed nothing, and one that leaves after it cannot know.
func TestQueueIsBoundedAndHonest(t *testing.T) {
	c := newCluster(t, 1)
	c.start()
	ctx := testContext(t)
	leader, _ := c.leader(ctx)
	fsm := c.fsms[leader.config.Name]
	if _, _, err := leader.Propose(ctx, commands(1)); err != nil {
		t.Fatal(err)
	}
	fsm.mu.Lock()
	fsm.hold = make(chan struct{})
	fsm.mu.Unlock()

	taken, leave := context.WithCancel(ctx)
	inFlight := command()
	result := make(chan error, 1)
	go func() { _, _, err := leader.Propose(taken, []build.Command{inFlight}); result <- err }()
	<-fsm.reached
	gone, cancel := context.WithCancel(ctx)
	cancel()
	early := command()
	if _, _, err := leader.Propose(gone, []build.Command{early}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("left before its turn: got %v", err)
	}
	for range maxQueuedCalls {
		leader.Propose(gone, []build.Command{early})
	}
	if _, _, err := leader.Propose(ctx, commands(1)); !errors.Is(err, ErrBusy) {
		t.Errorf("a full queue: got %v", err)
	}
	leave()
	if err := <-result; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("left while in flight: got %v", err)
	}
	close(fsm.hold)
	last := command()
	if err := insist(ctx, func() *Node { return leader }, last); err != nil {
		t.Fatal(err)
	}
	got := fsm.requests()
	if !slices.Contains(got, inFlight.Request) || slices.Contains(got, early.Request) {
		t.Error("what was in flight must be applied, what never had its turn must not")
	}
}

func TestFollowersForward(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	leader, followers := c.leader(ctx)
	for _, n := range followers {
		m := command()
		outcomes, index, err := n.Propose(ctx, []build.Command{m})
		if err != nil {
			t.Fatal(err)
		}
		if len(outcomes) != 1 || [16]byte(outcomes[0].Subject[:16]) != m.Request || index == 0 {
			t.Fatalf("outcomes %v at %d", outcomes, index)
		}
		// Applied here, not only at the leader, by the time the caller is told.
		if !slices.Contains(c.fsms[n.config.Name].requests(), m.Request) {
			t.Error("told before it was applied here")
		}
		if _, _, err := n.ProposeHere(ctx, commands(1)); !errors.Is(err, ErrNoLeader) {
			t.Errorf("a follower sent on what was sent to it: %v", err)
		}
		if p, ok := n.Leader(); !ok || p.GRPCAddr != "grpc-of-"+leader.config.Name {
			t.Errorf("leader is %+v", p)
		}
		if s := n.Status(); s.State != "follower" || s.Leader.Name != leader.config.Name || s.Term == 0 {
			t.Errorf("status %+v", s)
		}
	}
	if s := leader.Status(); s.State != "leader" {
		t.Errorf("leader's status %+v", s)
	}
}

// An answer lost on the way leaves the outcome unknown; the same request id
// again brings the same outcome and changes nothing.
func TestUnknownOutcomeIsRetried(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	leader, followers := c.leader(ctx)
	n, m := followers[0], command()
	c.wires.mu.Lock()
	c.wires.loseAnswer = true
	c.wires.mu.Unlock()
	if _, _, err := n.Propose(ctx, []build.Command{m}); !errors.Is(err, ErrOutcomeUnknown) {
		t.Fatalf("got %v", err)
	}
	if err := insist(ctx, func() *Node { return n }, m); err != nil {
		t.Fatal(err)
	}
	if got := c.fsms[leader.config.Name].requests(); len(got) != 1 || got[0] != m.Request {
		t.Errorf("applied %d requests", len(got))
	}
}

// Callers at every node go on through the death of the leader; each command is
// applied exactly once, in the same order everywhere.
func TestLeaderDies(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	leader, followers := c.leader(ctx)
	const each = 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sent [][16]byte
	half := make(chan struct{}, 2*each)
	for _, n := range followers {
		wg.Go(func() {
			for range each {
				m := command()
				if err := insist(ctx, func() *Node { return n }, m); err != nil {
					t.Error(err)
				}
				mu.Lock()
				sent = append(sent, m.Request)
				mu.Unlock()
				half <- struct{}{}
			}
		})
	}
	for range each {
		<-half
	}
	dead := leader.config.Name
	c.stop(dead)
	wg.Wait()
	survivor := c.fsms[followers[0].config.Name].requests()
	if len(survivor) != len(sent) {
		t.Fatalf("%d applied, %d sent", len(survivor), len(sent))
	}
	for _, r := range sent {
		if !slices.Contains(survivor, r) {
			t.Error("an acknowledged command is missing")
		}
	}
	c.start(dead) // from its own disk; it learns the rest
	back := c.fsms[dead]
	if err := back.wait(ctx, func(s fakeState) bool { return len(s.Requests) == len(sent) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(back.requests(), survivor) {
		t.Error("orders differ")
	}
}

func TestNoLeaderProposesNothing(t *testing.T) {
	c := newCluster(t, 3)
	c.start(c.peers[0].Name) // one of three cannot lead
	n := c.node(c.peers[0].Name)
	if _, _, err := n.Propose(testContext(t), commands(1)); !errors.Is(err, ErrNoLeader) {
		t.Errorf("got %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Propose(testContext(t), commands(1)); !errors.Is(err, ErrNoLeader) {
		t.Errorf("after Close: got %v", err)
	}
	if s := n.Status(); s.State != "shutdown" {
		t.Errorf("state %s", s.State)
	}
}

func TestCloseWithEntriesInFlight(t *testing.T) {
	c := newCluster(t, 1)
	c.start()
	ctx := testContext(t)
	leader, _ := c.leader(ctx)
	var wg sync.WaitGroup
	begun := make(chan struct{}, 8)
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _, err := leader.Propose(ctx, commands(1))
				select {
				case begun <- struct{}{}:
				default:
				}
				if err != nil {
					return
				}
			}
		})
	}
	for range 8 {
		<-begun
	}
	c.stop(leader.config.Name)
	wg.Wait()
	if ctx.Err() != nil {
		t.Error("a caller was never answered")
	}
}

func TestTicksThroughRaft(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	c.leader(ctx)
	for _, f := range c.fsms {
		f.setPending(true)
	}
	for _, f := range c.fsms {
		if err := f.wait(ctx, func(s fakeState) bool { return len(s.Elapsed) >= 5 }); err != nil {
			t.Fatal(err)
		}
		if f.state.Elapsed[0] != 0 {
			t.Errorf("the first tick adds %d ms", f.state.Elapsed[0])
		}
	}
}

// On a farm where nothing waits for a time, a command after a pause is told it first:
// what it does is said to have been then. One right after it is not.
func TestTimeIsToldAfterAPause(t *testing.T) {
	c := newCluster(t, 3)
	c.start()
	ctx := testContext(t)
	leader, _ := c.leader(ctx)
	fsm := c.fsms[leader.config.Name]
	propose := func() (since time.Duration, ticks int) {
		t.Helper()
		began := time.Now()
		if _, _, err := leader.Propose(ctx, []build.Command{command()}); err != nil {
			t.Fatal(err)
		}
		fsm.mu.Lock()
		defer fsm.mu.Unlock()
		return time.UnixMilli(fsm.state.Wall).Sub(began.Truncate(time.Millisecond)), len(fsm.state.Elapsed)
	}
	for i := range 2 {
		if late, n := propose(); late < 0 || n != i+1 {
			t.Errorf("command %d: told a time %v before it, ticks %d", 2*i, -late, n)
		}
		if _, n := propose(); n != i+1 && time.Since(leader.clock()) < clockAge {
			t.Errorf("command %d: ticks %d", 2*i+1, n)
		}
		time.Sleep(clockAge + clockAge/10)
	}
	if slices.ContainsFunc(fsm.state.Elapsed, func(ms int64) bool { return ms != 0 }) {
		t.Errorf("it adds farm time: %v", fsm.state.Elapsed)
	}
}

// A batch that was in flight when raft shut down is answered, though raft itself
// may never answer it.
func TestAwaitEndsWithTheNode(t *testing.T) {
	n := &Node{stopped: make(chan struct{})}
	close(n.stopped)
	if err := n.await(neverDone{}); !errors.Is(err, raft.ErrRaftShutdown) {
		t.Errorf("got %v", err)
	}
}

type neverDone struct{}

func (neverDone) Error() error { select {} }
