package worker

import (
	"context"
	"log/slog"
	"time"

	"gavel/raftfsm/build"
)

// heartbeat renews leases.
type heartbeat struct {
	cluster cluster
	log     *slog.Logger
}

// start renews a lease thrice as often as it needs, until stop is called, which
// waits for the last one to end. The first comes at once where the lease may be
// about to lapse.
func (h heartbeat) start(ctx context.Context, buildID, lease build.ID, leaseMillis int64, atOnce bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	every := max(time.Duration(leaseMillis)*time.Millisecond/3, 10*time.Millisecond)
	first := every
	if atOnce {
		first = 0
	}
	go func() {
		defer close(ended)
		for wait := first; pause(ctx, wait); wait = every {
			if err := h.once(ctx, buildID, lease, every); err != nil && ctx.Err() == nil {
				h.log.Warn("lease not renewed", "build", full(buildID), "lease", short(lease), "why", err)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// once does not outlast the lease: a heartbeat that hangs is repeated, perhaps
// by way of another coordinator.
func (h heartbeat) once(ctx context.Context, buildID, lease build.ID, every time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(2*every, time.Second))
	defer cancel()
	_, err := h.cluster.Do(ctx, build.TypeHeartbeat, &build.LeaseRef{Build: buildID, Lease: lease})
	return err
}
