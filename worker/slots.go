package worker

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// slots bound how many commands run at once. Who waits is served in order of
// arrival, so that a seat is not starved by later wins.
type slots struct{ sem *semaphore.Weighted }

func newSlots(n int) *slots { return &slots{sem: semaphore.NewWeighted(int64(n))} }

// take waits for a slot; release gives it back.
func (s *slots) take(ctx context.Context) (release func(), err error) {
	if err := s.sem.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { s.sem.Release(1) }, nil
}
