package consensus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gavel/raftfsm/build"
)

// tickBench is a ticker whose surroundings the test plays, in a synctest bubble.
type tickBench struct {
	mu      sync.Mutex
	pend    bool
	ch      chan struct{}
	fail    error
	slow    time.Duration
	got     []int64
	at      []time.Duration
	begin   time.Time
	leading chan bool
}

func (b *tickBench) pending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pend
}

func (b *tickBench) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *tickBench) set(pending bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pend = pending
	close(b.ch)
	b.ch = make(chan struct{})
}

func (b *tickBench) propose(t build.Tick) error {
	time.Sleep(b.slow)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.got = append(b.got, t.ElapsedMillis)
	b.at = append(b.at, time.Since(b.begin))
	return nil
}

// take returns the ticks since the last take.
func (b *tickBench) take() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.got
	b.got = nil
	return out
}

func runTicker(t *testing.T, play func(b *tickBench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &tickBench{ch: make(chan struct{}), begin: time.Now(), leading: make(chan bool, 1)}
		tk := &ticker{interval: 100 * time.Millisecond, pending: b.pending, changed: b.changed, leading: b.leading, propose: b.propose}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { tk.run(ctx); close(done) }()
		synctest.Wait()
		play(b)
		cancel()
		<-done
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func want(t *testing.T, b *tickBench, what string, ticks ...int64) {
	t.Helper()
	if got := b.take(); !slices.Equal(got, ticks) {
		t.Errorf("%s: ticks of %v ms, want %v", what, got, ticks)
	}
}

func TestTicksComeFromTheLeaderWhileAwaited(t *testing.T) {
	runTicker(t, func(b *tickBench) {
		b.set(true)
		pass(time.Second)
		want(t, b, "a follower")
		b.leading <- true
		pass(350 * time.Millisecond)
		want(t, b, "a new leader", 0, 100, 100, 100)
		b.set(false)
		pass(time.Hour)
		want(t, b, "nothing awaited")
		b.set(true)
		pass(150 * time.Millisecond)
		want(t, b, "after a pause", 0, 100)
		b.leading <- false
		pass(time.Second)
		want(t, b, "deposed")
		b.leading <- true
		pass(50 * time.Millisecond)
		want(t, b, "elected again", 0)
	})
}

// A disk that stalls makes ticks rarer, not shorter; a leader that stood still
// adds at most a second.
func TestTicksMeasureWhatPassed(t *testing.T) {
	runTicker(t, func(b *tickBench) {
		b.slow = 250 * time.Millisecond
		b.leading <- true
		b.set(true)
		pass(1100 * time.Millisecond)
		want(t, b, "slow entries", 0, 250, 250, 250)
		b.set(false)
		pass(time.Second)
		b.take()
		b.slow = 30 * time.Second
		b.set(true)
		pass(61 * time.Second)
		want(t, b, "stopped for half a minute", 0, 1000)
	})
}

func TestTickerSurvivesFailure(t *testing.T) {
	runTicker(t, func(b *tickBench) {
		b.leading <- true
		b.fail = errors.New("lost leadership")
		b.set(true)
		pass(time.Second)
		want(t, b, "failing")
		b.mu.Lock()
		b.fail = nil
		b.mu.Unlock()
		pass(200 * time.Millisecond)
		want(t, b, "mended: a new row begins", 0, 100)
	})
}

// Whatever else changes in between, the sum of a row is the time that passed.
func TestTicksAddUp(t *testing.T) {
	runTicker(t, func(b *tickBench) {
		b.leading <- true
		b.set(true)
		for range 1000 {
			pass(7300 * time.Microsecond)
			b.set(true)
		}
		var sum int64
		for _, ms := range b.take() {
			sum += ms
		}
		if sum < 7200 || sum > 7300 {
			t.Errorf("%d ms ticked in 7300 ms", sum)
		}
	})
}
