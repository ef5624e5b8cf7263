package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"

	"github.com/hashicorp/raft"
)

// What Propose says when it has no outcomes to give.
var (
	// ErrNoLeader: nothing was proposed. Try again, here or at another node.
	ErrNoLeader = errors.New("the cluster has no leader at the moment")
	// ErrBusy: nothing was proposed, because too much is waiting. Try again later.
	ErrBusy = errors.New("too many commands are waiting")
	// ErrOutcomeUnknown: the commands may or may not be applied, now or later.
	// Send the same commands, with the same request ids, again.
	ErrOutcomeUnknown = errors.New("the outcome is unknown")
	// ErrRefused: nothing was proposed, and never will be: the call itself is wrong.
	ErrRefused = errors.New("commands not proposed")
)

// call is one caller's commands on their way. They stay together, in order, in
// one Raft entry.
type call struct {
	commands []build.Command
	bytes    int
	direct   bool        // must not be forwarded: another node did that already
	settled  atomic.Bool // set by whoever comes first: the batch that takes it, or the caller that leaves
	reply    chan reply  // room for one
}

type reply struct {
	outcomes  []build.Outcome
	index     uint64
	forwarded bool
	err       error
}

// Propose has commands decided and returns their outcomes and the Raft index at
// which they were applied, once this node has applied it too. A follower
// forwards to the leader. Commands of concurrent callers share Raft entries;
// those of one call are never divided. A call without commands is a barrier: it
// returns once this node has applied all that was committed before. Errors wrap ErrNoLeader, ErrBusy,
// ErrOutcomeUnknown or ErrRefused, or ctx's error where nothing was proposed.
func (n *Node) Propose(ctx context.Context, commands []build.Command) ([]build.Outcome, uint64, error) {
	r, err := n.enqueue(ctx, commands, false)
	if err != nil {
		return nil, 0, err
	}
	if r.forwarded {
		if err := n.config.FSM.WaitApplied(ctx, r.index); err != nil {
			return nil, 0, fmt.Errorf("%w: applied by the leader at index %d, but not here yet: %w", ErrOutcomeUnknown, r.index, err)
		}
	}
	return r.outcomes, r.index, nil
}

// ProposeHere is Propose for commands that another node forwarded: where this
// node does not lead, it answers ErrNoLeader instead of sending them round.
func (n *Node) ProposeHere(ctx context.Context, commands []build.Command) ([]build.Outcome, uint64, error) {
	r, err := n.enqueue(ctx, commands, true)
	return r.outcomes, r.index, err
}

// enqueue hands the commands to the batch loop and waits for its reply.
func (n *Node) enqueue(ctx context.Context, commands []build.Command, direct bool) (reply, error) {
	c := &call{commands: commands, direct: direct, reply: make(chan reply, 1)}
	if err := c.measure(); err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	select {
	case <-n.ctx.Done():
		return reply{}, fmt.Errorf("%w: this node is stopping", ErrNoLeader)
	default:
	}
	select {
	case n.calls <- c:
	default:
		return reply{}, ErrBusy
	}
	var why error
	select {
	case r := <-c.reply:
		return r, r.err
	case <-ctx.Done():
		why = ctx.Err()
	case <-n.batching:
		why = errors.New("this node has stopped")
	}
	if c.settled.CompareAndSwap(false, true) {
		return reply{}, fmt.Errorf("waiting to propose: %w", why)
	}
	select {
	case r := <-c.reply: // it came at the same moment
		return r, r.err
	default:
		return reply{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, why)
	}
}

// measure checks that the commands can be encoded and fit into one entry.
func (c *call) measure() error {
	if len(c.commands) > build.MaxBatch {
		return fmt.Errorf("%d commands in one call, at most %d", len(c.commands), build.MaxBatch)
	}
	for i := range c.commands {
		m := &c.commands[i]
		if m.Type == build.TypeTick {
			return errors.New("only the leader itself ticks")
		}
		if len(m.Payload) > build.MaxPayloadBytes || len(m.Signature) > build.MaxSignatureBytes {
			return fmt.Errorf("a %v of %d bytes with a signature of %d is too large", m.Type, len(m.Payload), len(m.Signature))
		}
		c.bytes += commandOverheadBytes + len(m.Payload) + len(m.Signature)
	}
	if c.bytes > maxEntryBytes {
		return fmt.Errorf("%d bytes of commands in one call, at most %d", c.bytes, maxEntryBytes)
	}
	return nil
}

// batchLoop proposes one batch after the other: while an entry is in flight, the
// next gathers. It ends with the node.
func (n *Node) batchLoop() {
	defer close(n.batching)
	var first *call
	for {
		if first == nil {
			select {
			case first = <-n.calls:
			case <-n.ctx.Done():
				return
			}
		}
		var batch []*call
		batch, first = n.gather(first)
		if len(batch) > 0 {
			n.decide(batch)
		}
	}
}

// gather takes what is waiting, up to the limits of an entry, and returns the
// call that no longer fitted. Calls whose callers have left are dropped.
func (n *Node) gather(first *call) (batch []*call, next *call) {
	commands, bytes := 0, 0
	for c := first; ; {
		if commands+len(c.commands) > build.MaxBatch || bytes+c.bytes > maxEntryBytes {
			return batch, c
		}
		if c.settled.CompareAndSwap(false, true) {
			batch = append(batch, c)
			commands += len(c.commands)
			bytes += c.bytes
		}
		select {
		case c = <-n.calls:
		default:
			return batch, nil
		}
	}
}

// decide gets one batch decided, by this node if it leads, else by the leader.
func (n *Node) decide(batch []*call) {
	if n.raft.State() == raft.Leader {
		commands := concat(batch)
		if len(commands) > 0 && time.Since(n.clock()) > clockAge {
			// It adds no farm time: what it is for is when these are said to have been.
			if err := n.tick(build.Tick{WallMillis: time.Now().UnixMilli()}); err != nil {
				answer(batch, nil, 0, false, fmt.Errorf("%w: the time could not be told: %v", ErrNoLeader, err))
				return
			}
		}
		outcomes, index, err := n.lead(commands)
		answer(batch, outcomes, index, false, err)
		return
	}
	var direct, own []*call
	for _, c := range batch {
		if c.direct {
			direct = append(direct, c)
		} else {
			own = append(own, c)
		}
	}
	answer(direct, nil, 0, false, fmt.Errorf("%w: node %s does not lead", ErrNoLeader, n.config.Name))
	if len(own) > 0 {
		outcomes, index, err := n.forward(concat(own))
		answer(own, outcomes, index, true, err)
	}
}

func concat(batch []*call) []build.Command {
	var out []build.Command
	for _, c := range batch {
		out = append(out, c.commands...)
	}
	return out
}

// answer divides the outcomes of a batch among its calls.
func answer(batch []*call, outcomes []build.Outcome, index uint64, forwarded bool, err error) {
	for _, c := range batch {
		r := reply{index: index, forwarded: forwarded, err: err}
		if err == nil {
			r.outcomes = outcomes[:len(c.commands):len(c.commands)]
			outcomes = outcomes[len(c.commands):]
		}
		c.reply <- r
	}
}

// lead proposes commands as one Raft entry and waits until it is applied here.
// Raft ends the wait itself when leadership is lost.
func (n *Node) lead(commands []build.Command) ([]build.Outcome, uint64, error) {
	future := n.raft.Apply(wire.Encode(&build.Batch{Commands: commands}), enqueueTimeout)
	switch err := n.await(future); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return nil, 0, fmt.Errorf("%w: %w", ErrNoLeader, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return nil, 0, fmt.Errorf("%w: %w", ErrBusy, err)
	default:
		return nil, 0, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	outcomes, ok := future.Response().([]build.Outcome)
	if !ok || len(outcomes) != len(commands) {
		// Retrying would not help: the state machine breaks its contract.
		panic(fmt.Sprintf("consensus: state machine answered %d commands with %T of length %d", len(commands), future.Response(), len(outcomes)))
	}
	return outcomes, future.Index(), nil
}

// await is future.Error, except that it ends with the node: raft never answers an
// entry that was committed but not yet applied when it shut down.
func (n *Node) await(future raft.Future) error {
	answer := make(chan error, 1)
	go func() { answer <- future.Error() }()
	select {
	case err := <-answer:
		return err
	case <-n.stopped:
	}
	select {
	case err := <-answer:
		return err
	default:
		return raft.ErrRaftShutdown
	}
}

// forward sends commands to the leader. A change of leader ends the wait: the
// one that was asked may be dead and would hold up everything behind it.
func (n *Node) forward(commands []build.Command) ([]build.Outcome, uint64, error) {
	leader, ok := n.Leader()
	if !ok || leader.Name == n.config.Name {
		return nil, 0, ErrNoLeader
	}
	ctx, cancel := context.WithTimeout(n.ctx, forwardTimeout)
	defer cancel()
	go func() {
		defer cancel()
		n.whileLeading(ctx, leader)
	}()
	outcomes, index, err := n.config.Forwarder.Forward(ctx, leader, commands)
	switch {
	case errors.Is(err, ErrNoLeader), errors.Is(err, ErrBusy):
		return nil, 0, fmt.Errorf("forwarding to %s: %w", leader.Name, err)
	case errors.Is(err, ErrOutcomeUnknown):
		return nil, 0, fmt.Errorf("forwarding to %s: %w", leader.Name, err)
	case err != nil:
		return nil, 0, fmt.Errorf("forwarding to %s: %w: %w", leader.Name, ErrOutcomeUnknown, err)
	case len(outcomes) != len(commands):
		return nil, 0, fmt.Errorf("forwarding to %s: %w: %d outcomes for %d commands", leader.Name, ErrOutcomeUnknown, len(outcomes), len(commands))
	}
	return outcomes, index, nil
}

// whileLeading returns when this node no longer takes leader for the leader, or
// ctx ends.
func (n *Node) whileLeading(ctx context.Context, leader Peer) {
	for {
		changed := n.LeaderChanged()
		if now, ok := n.Leader(); !ok || now.Name != leader.Name {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// tick proposes a tick, past the queue: it must neither wait for others' commands
// nor be forwarded. Its request id, term and count, is unique without randomness.
func (n *Node) tick(t build.Tick) error {
	c := build.Command{Version: build.Version, Type: build.TypeTick, Payload: wire.Encode(&t)}
	binary.BigEndian.PutUint64(c.Request[:8], n.raft.CurrentTerm())
	binary.BigEndian.PutUint64(c.Request[8:], n.ticks.Add(1))
	_, _, err := n.lead([]build.Command{c})
	if err == nil {
		now := time.Now()
		n.ticked.Store(&now)
	}
	return err
}

// clock is when this node last told the state the time, zero for never.
func (n *Node) clock() time.Time {
	if at := n.ticked.Load(); at != nil {
		return *at
	}
	return time.Time{}
}
