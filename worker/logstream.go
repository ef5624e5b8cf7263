package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// logStream carries a build's log to the farm: gathered into chunks, each sealed
// to the requester, sent in order. Writing to it never waits and never fails, so
// that a slow or absent cluster cannot hold up a build; what finds no room, or
// waits longer than logAway, is dropped, and the log says how much.
type logStream struct {
	seal   func(sequence uint64, plain []byte) ([]byte, error)
	append func(ctx context.Context, first uint64, chunks [][]byte) (held uint64, err error)
	ready  chan struct{} // holds a token when there is something to do
	ended  chan struct{} // closed when run has returned
	stop   context.CancelFunc

	mu      sync.Mutex
	pending []byte
	dropped int64 // bytes since the last note of it
	noted   int64 // bytes of which the batch under way begins with a note; 0: it has none
	closed  bool
	refused bool // the farm takes no more: all is dropped
}

// startLog begins to carry a log. With resume the farm is asked first how many
// chunks of it there are, from before this process began.
func startLog(ctx context.Context, resume bool, seal func(uint64, []byte) ([]byte, error),
	send func(context.Context, uint64, [][]byte) (uint64, error)) *logStream {
	ctx, stop := context.WithCancel(ctx)
	l := &logStream{seal: seal, append: send, ready: make(chan struct{}, 1), ended: make(chan struct{}), stop: stop}
	go l.run(ctx, resume)
	return l
}

// Write takes all of p.
func (l *logStream) Write(p []byte) (int, error) {
	l.mu.Lock()
	room := max(0, logBufferBytes-len(l.pending))
	kept := min(len(p), room)
	if !l.refused {
		l.pending = append(l.pending, p[:kept]...)
		l.dropped += int64(len(p) - kept)
	}
	l.mu.Unlock()
	l.signal()
	return len(p), nil
}

func (l *logStream) signal() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// finish sends what is left, for at most logFlush, and ends the stream.
func (l *logStream) finish(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	t := time.NewTimer(logFlush)
	defer t.Stop()
	select {
	case <-l.ended:
	case <-t.C:
	case <-ctx.Done():
	}
	l.stop()
	<-l.ended
}

func (l *logStream) run(ctx context.Context, resume bool) {
	defer close(l.ended)
	var next uint64
	known := !resume // whether the farm holds exactly the chunks below next
	for {
		select {
		case <-l.ready:
		case <-ctx.Done():
			return
		}
		for {
			l.gather(ctx)
			batch, last := l.take()
			if ctx.Err() != nil || len(batch) == 0 && last {
				return
			}
			if len(batch) == 0 {
				break
			}
			sent := false
			if next, sent = l.send(ctx, next, known, batch); sent {
				l.arrived()
			} else {
				l.lose(batch)
			}
			known = sent
		}
	}
}

// gather lets lines that follow each other closely travel together, but lets the
// end of the log, for which the build waits, wait for nothing.
func (l *logStream) gather(ctx context.Context) {
	t := time.NewTimer(logGather)
	defer t.Stop()
	for !l.enough() {
		select {
		case <-l.ready: // more is there, or the end
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// enough says whether there is no reason to wait for more.
func (l *logStream) enough() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed || len(l.pending) >= logChunkBytes
}

// take returns the next chunks, in plain, and whether nothing can follow them.
func (l *logStream) take() (batch [][]byte, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 {
		batch = append(batch, fmt.Appendf(nil, "\ngavel: %d bytes of the log are missing here, the farm took none\n", l.dropped))
		l.noted, l.dropped = l.dropped, 0
	}
	for len(l.pending) > 0 && len(batch) < logChunksAtOnce {
		n := min(len(l.pending), logChunkBytes)
		batch = append(batch, l.pending[:n:n])
		l.pending = l.pending[n:]
	}
	if len(l.pending) == 0 {
		l.pending = nil // what was taken is no longer ours to append to
	}
	return batch, l.closed && len(l.pending) == 0
}

// lose counts what could not be sent. What has gathered since stays.
func (l *logStream) lose(batch [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noted > 0 {
		batch = batch[1:] // the note itself, which is no one's log
	}
	l.dropped, l.noted = l.dropped+l.noted, 0
	for _, b := range batch {
		l.dropped += int64(len(b))
	}
	if l.refused {
		l.dropped, l.pending = 0, nil
	}
}

// arrived says that the last batch is at the farm, its note included.
func (l *logStream) arrived() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted = 0
}

// send brings a batch to the farm, however often it takes within logAway. It
// returns the number of the next chunk.
func (l *logStream) send(ctx context.Context, next uint64, known bool, batch [][]byte) (uint64, bool) {
	ctx, cancel := context.WithTimeout(ctx, logAway)
	defer cancel()
	wait := retryFirst
	for ; ctx.Err() == nil; wait = min(2*wait, retryMost) {
		held, err := l.offer(ctx, next, known, batch)
		switch {
		case err == nil && !known:
			next, known = held, true
			wait = 0
		case err == nil && held >= next+uint64(len(batch)):
			return held, true
		case closedForGood(err):
			l.end()
			return next, false
		case status.Code(err) == codes.OutOfRange:
			known = false
		}
		// What arrived of it stays; the same chunks are sent under the same numbers.
		pause(ctx, wait)
		wait = max(wait, retryFirst)
	}
	return next, false
}

// offer sends a batch; or, while it is not known how many chunks the farm holds,
// an empty first one: it is passed over where there is one, and the answer says
// how many there are.
func (l *logStream) offer(ctx context.Context, next uint64, known bool, batch [][]byte) (held uint64, err error) {
	if !known {
		next, batch = 0, [][]byte{nil}
	}
	sealed, err := l.sealAll(next, batch)
	if err != nil {
		return 0, err
	}
	return l.append(ctx, next, sealed)
}

// closedForGood says that the farm takes no more of this log, ever.
func closedForGood(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.FailedPrecondition, codes.InvalidArgument:
		return true
	}
	return false
}

// end drops what there is and what may yet come.
func (l *logStream) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = true
}

func (l *logStream) sealAll(first uint64, batch [][]byte) ([][]byte, error) {
	sealed := make([][]byte, len(batch))
	for i, b := range batch {
		var err error
		if sealed[i], err = l.seal(first+uint64(i), b); err != nil {
			return nil, err
		}
	}
	return sealed, nil
}

// pause waits for d or the end of ctx, and says whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
