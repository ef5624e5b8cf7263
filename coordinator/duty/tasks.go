package duty

import (
	"context"
	"sync"
	"time"
)

// tasks keeps one goroutine for each duty that the state names, from the change
// that named it to the change that no longer does. Only Run's loop touches it.
type tasks[K comparable, V any] struct {
	ctx     context.Context
	group   *sync.WaitGroup
	do      func(ctx context.Context, duty V)
	running map[K]context.CancelFunc
}

func newTasks[K comparable, V any](ctx context.Context, group *sync.WaitGroup, do func(context.Context, V)) *tasks[K, V] {
	return &tasks[K, V]{ctx: ctx, group: group, do: do, running: make(map[K]context.CancelFunc)}
}

// reconcile starts what is new and cancels what is no longer wanted. A duty that
// ended by itself is not begun again while it is wanted without a break: that the
// state will drop it is then only a matter of time.
func (t *tasks[K, V]) reconcile(wanted map[K]V) {
	for k, cancel := range t.running {
		if _, ok := wanted[k]; !ok {
			cancel()
			delete(t.running, k)
		}
	}
	for k, v := range wanted {
		if _, ok := t.running[k]; ok {
			continue
		}
		ctx, cancel := context.WithCancel(t.ctx)
		t.running[k] = cancel
		t.group.Go(func() { t.do(ctx, v) })
	}
}

// wanted indexes duties by what tells them apart.
func wanted[K comparable, V any](duties []V, key func(V) K) map[K]V {
	out := make(map[K]V, len(duties))
	for _, v := range duties {
		out[key(v)] = v
	}
	return out
}

// backoff grows from retryMin to retryMax.
type backoff struct{ next time.Duration }

// wait sleeps and says whether ctx still runs.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, retryMin), retryMax)
	return pause(ctx, b.next)
}

// pause sleeps and says whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// turn waits until it is this node's turn to propose what any coordinator may: at
// once if it leads, else after a delay by rank, so that a silent leader costs a
// moment and a crowd of equal proposals is rare. It says whether the duty stands.
func (d *Duties) turn(ctx context.Context) bool {
	for range d.index + 1 {
		if d.config.Propose.Leads() {
			break
		}
		if !pause(ctx, rankDelay) {
			return false
		}
	}
	return ctx.Err() == nil
}
