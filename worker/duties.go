package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"gavel/raftfsm/build"
)

// errNotAsked ends a task that is no longer asked for.
var errNotAsked = errors.New("the farm no longer asks for this")

// errWaits ends a try that was in vain for a reason which is no fault and passes
// by itself. It is tried again as after a fault, but said only once.
var errWaits = errors.New("waits")

// dutyKind is a kind of thing that can be asked of a worker.
type dutyKind string

const (
	dutyRegister dutyKind = "register"
	dutyHello    dutyKind = "hello"
	dutyBid      dutyKind = "bid"
	dutyReveal   dutyKind = "reveal"
	dutySeal     dutyKind = "seal"
	dutyOpen     dutyKind = "open ask"
	dutyLease    dutyKind = "lease"
	dutyDeliver  dutyKind = "deliver"
	dutyEvidence dutyKind = "evidence"
)

// dutyKey names a duty: its kind and the auction or lease it is about.
type dutyKey struct {
	kind dutyKind
	id   build.ID
}

// duty is something asked of the worker now.
type duty struct {
	key dutyKey
	// once says that a success stands however long the duty is asked for;
	// otherwise it is done again after repeatAfter.
	once bool
	run  func(context.Context) error
}

// task is a duty under way, waiting for its next try, or done and still asked for.
type task struct {
	running   bool
	done      bool
	cancel    context.CancelCauseFunc // while running
	unwanted  bool                    // cancelled; it vanishes when it has ended
	waits     bool                    // the last try ended in errWaits
	failures  int
	notBefore time.Time // of the next try
}

// duties keeps a task for each duty that is asked for, and none for others.
type duties struct {
	log  *slog.Logger
	wake func() // asks for another call of follow

	mu    sync.Mutex
	tasks map[dutyKey]*task
	group sync.WaitGroup
}

func newDuties(log *slog.Logger, wake func()) *duties {
	return &duties{log: log, wake: wake, tasks: make(map[dutyKey]*task)}
}

// follow brings the tasks in line with what is asked: it begins what is new or
// due again, and cancels what is not in asked. It returns how long until a task
// is due, 0 if none waits.
func (d *duties) follow(ctx context.Context, asked []duty) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	wanted := make(map[dutyKey]bool, len(asked))
	var next time.Duration
	for _, a := range asked {
		t := d.tasks[a.key]
		if t == nil {
			if len(d.tasks) >= maxTasks {
				continue
			}
			t = &task{}
			d.tasks[a.key] = t
		}
		wanted[a.key] = true
		if t.running || t.done && a.once {
			continue
		}
		if wait := t.notBefore.Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		d.begin(ctx, a, t)
	}
	for key, t := range d.tasks {
		switch {
		case wanted[key]:
		case t.running:
			t.unwanted = true
			t.cancel(errNotAsked)
		default:
			delete(d.tasks, key)
		}
	}
	return next
}

// begin runs a; d.mu is held.
func (d *duties) begin(ctx context.Context, a duty, t *task) {
	ctx, cancel := context.WithCancelCause(ctx)
	t.running, t.done, t.cancel = true, false, cancel
	d.group.Go(func() {
		err := a.run(ctx)
		cancelled := ctx.Err() != nil
		cancel(nil)
		d.end(a.key, t, err, cancelled)
	})
}

func (d *duties) end(key dutyKey, t *task, err error, cancelled bool) {
	d.mu.Lock()
	defer d.wake()
	defer d.mu.Unlock()
	t.running = false
	switch {
	case t.unwanted:
		delete(d.tasks, key)
	case err == nil:
		t.done, t.waits, t.failures, t.notBefore = true, false, 0, time.Now().Add(repeatAfter)
	default:
		t.notBefore = time.Now().Add(min(retryMost, retryFirst<<min(t.failures, 16)))
		t.failures++
		again := t.waits
		if t.waits = errors.Is(err, errWaits); !cancelled && !(again && t.waits) {
			d.log.Warn("will try again", "duty", key.kind, "id", short(key.id), "failures", t.failures, "error", err)
		}
	}
}

// busy counts the tasks of one kind that are under way or wait for their next try.
func (d *duties) busy(kind dutyKind) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for key, t := range d.tasks {
		if key.kind == kind && !t.done {
			n++
		}
	}
	return n
}

// wait returns when everything under way has ended.
func (d *duties) wait() { d.group.Wait() }

// did says that a duty has been done since it was first asked for.
func (d *duties) did(key dutyKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tasks[key]
	return t != nil && t.done
}
