package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// checkAsks fails unless each sealed ask can be opened from the journal and no
// epoch got two different ones. It returns the openings.
func (b *bench) checkAsks(pool string, epochs ...uint64) []*build.OpenAsk {
	b.t.Helper()
	seen := make(map[uint64]build.ID)
	for _, r := range b.farm.of(build.TypeAsk) {
		m := r.(*build.PlaceAsk)
		if before, ok := seen[m.Epoch]; ok && before != m.Commitment {
			b.t.Fatalf("two different asks for epoch %d", m.Epoch)
		}
		seen[m.Epoch] = m.Commitment
	}
	var out []*build.OpenAsk
	for _, epoch := range epochs {
		if err := b.w.bidder.open(b.t.Context(), pool, epoch); err != nil {
			b.t.Fatal(err)
		}
		opened := b.farm.of(build.TypeOpenAsk)
		if len(opened) != len(out)+1 {
			b.t.Fatalf("the ask of epoch %d was not opened", epoch)
		}
		m := opened[len(opened)-1].(*build.OpenAsk)
		market := build.MarketID(b.cluster, pool)
		if build.AskCommitment(b.cluster, market, epoch, b.signer.ID, m.Price, m.Capacity, m.Nonce) != seen[epoch] {
			b.t.Fatalf("the opening for epoch %d does not match what was sealed", epoch)
		}
		out = append(out, m)
	}
	return out
}

// As with bids: whatever becomes of the write, and over a restart, a sealed ask
// can be opened and is never replaced by another.
func TestAskIsJournaledBeforeItIsSent(t *testing.T) {
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.stop()
			b.wrap = func(r records) records { return &faulty{records: r, next: func(shelf) fault { return f }} }
			b.open()
			duty := &gavelv1.AskDuty{Pool: "burst", Epoch: 7, Reserve: int64(10 * escrow.One)}
			err := b.w.bidder.seal(t.Context(), duty, 0)
			if (err != nil) != f.fails {
				t.Fatalf("sealing: %v", err)
			}
			if sent := len(b.farm.of(build.TypeAsk)); f.fails && sent != 0 {
				t.Fatal("an ask was sent although its record failed")
			}
			b.wrap = nil
			b.restart()
			if err := b.w.bidder.seal(t.Context(), duty, 0); err != nil {
				t.Fatal(err)
			}
			b.checkAsks("burst", 7)
		})
	}
}

// What is asked is the configured price of an action or a core-second, the flat
// price where none is set, and nothing at all above the reserve.
func TestAskIsTheConfiguredPrice(t *testing.T) {
	amount := func(c escrow.Credits) *Amount { a := Amount(c); return &a }
	for i, c := range []struct {
		config   func(*Config)
		metered  bool
		reserve  escrow.Credits
		price    escrow.Credits
		capacity uint64
		asks     bool
	}{
		{nil, false, 10 * escrow.One, 2 * escrow.One, 40, true},
		{nil, false, 2 * escrow.One, 2 * escrow.One, 40, true},
		{nil, false, 2*escrow.One - 1, 0, 0, false},
		{func(c *Config) { c.Ask, c.AskCapacity, c.Slots = amount(3), 9, 4 }, false, 10, 3, 9, true},
		{func(c *Config) { c.AskPerSecond = amount(5) }, true, 10, 5, 40, true},
		{func(c *Config) { c.AskPerSecond = amount(5) }, false, escrow.One, 0, 0, false},
		{func(c *Config) { c.Price, c.PricePerSecond = nil, amount(7) }, true, 10, 7, 40, true},
		{func(c *Config) { c.Price = nil }, false, 10, 0, 0, false},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			b := newBench(t, c.config)
			duty := &gavelv1.AskDuty{Pool: "burst", Epoch: 1, Reserve: int64(c.reserve), Metered: c.metered, EpochMillis: 10_000}
			if err := b.w.bidder.seal(t.Context(), duty, 0); err != nil {
				t.Fatal(err)
			}
			if n := len(b.farm.of(build.TypeAsk)); (n == 1) != c.asks {
				t.Fatalf("%d asks, want one: %v", n, c.asks)
			}
			if !c.asks {
				return
			}
			if m := b.checkAsks("burst", 1)[0]; m.Price != c.price || m.Capacity != c.capacity {
				t.Errorf("asks %v for %d, want %v for %d", m.Price, m.Capacity, c.price, c.capacity)
			}
		})
	}
}

// A worker with one slot asked for a hundred builds of two seconds in an epoch of
// ten: they waited for it while others were idle. It takes what it can finish.
func TestAskTakesWhatAnEpochHolds(t *testing.T) {
	for _, c := range []struct {
		learned []int64
		slots   int
		epoch   int64
		want    uint64
	}{
		{nil, 1, 10_000, 40}, {[]int64{2_000, 1_900, 60_000}, 1, 10_000, 5}, {[]int64{50}, 4, 10_000, 800},
		{[]int64{60_000}, 2, 10_000, 1}, {[]int64{1}, 1, 0, 1},
	} {
		b := newBench(t, func(k *Config) { k.Slots = c.slots })
		for _, millis := range c.learned {
			if err := b.w.bidder.estimates.learn(id("action"), "host", millis); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.w.bidder.seal(t.Context(), &gavelv1.AskDuty{Pool: "burst", Epoch: 1, Reserve: int64(10 * escrow.One), EpochMillis: c.epoch}, 100*escrow.One); err != nil {
			t.Fatal(err)
		}
		if got := b.checkAsks("burst", 1)[0].Capacity; got != c.want {
			t.Errorf("after builds of %v ms, %d slots ask for %d in %d ms, want %d", c.learned, c.slots, got, c.epoch, c.want)
		}
	}
}

// The loop seals and opens what the farm asks for, each once.
func TestLoopAnswersAskDuties(t *testing.T) {
	b := newBench(t, nil)
	b.loop()
	duty := &gavelv1.AskDuty{Pool: "burst", Epoch: 3, Reserve: int64(10 * escrow.One)}
	b.farm.feed <- &gavelv1.Assignments{FarmMillis: 1, Registered: true, Asks: []*gavelv1.AskDuty{duty}}
	b.farm.await(t, "a sealed ask", func() bool { return len(b.farm.of(build.TypeAsk)) == 1 })
	b.farm.feed <- &gavelv1.Assignments{FarmMillis: 2, Registered: true, Asks: []*gavelv1.AskDuty{{Pool: "burst", Epoch: 4, Opens: 3, Sealed: true, Reserve: duty.Reserve}}}
	b.farm.await(t, "its opening", func() bool { return len(b.farm.of(build.TypeOpenAsk)) == 1 })
	if m := b.farm.of(build.TypeOpenAsk)[0].(*build.OpenAsk); m.Epoch != 3 || m.Price != 2*escrow.One {
		t.Errorf("opened %+v", m)
	}
}

// An ask that was refused once was never sent again. Stake that is short is locked
// in the bonds of bids, and free soon: where that met every worker of a pool, its
// epoch never came, and with it no other that would have been asked for. The ask
// waits for stake, said once, and is sent as it was.
func TestAskWaitsForStake(t *testing.T) {
	b := newBench(t, nil)
	var tries []build.ID
	tried := make(chan struct{}, 16)
	b.farm.answer = func(_ build.Type, payload wire.Record) error {
		if m, ok := payload.(*build.PlaceAsk); ok {
			tries = append(tries, m.Commitment)
			tried <- struct{}{}
			if len(tries) == 1 { // the worker has not heard of its other bonds
				return refusal(build.CodeStakeShort)
			}
		}
		return nil
	}
	b.loop()
	feed := func(at int64, free escrow.Credits) {
		b.farm.feed <- &gavelv1.Assignments{FarmMillis: at, Registered: true, Stake: int64(free), Asks: []*gavelv1.AskDuty{
			{Pool: "burst", Epoch: 3, Reserve: int64(10 * escrow.One), Bond: int64(10 * escrow.One)}}}
	}
	feed(1, 10*escrow.One-1)
	feed(2, 10*escrow.One-1)
	select {
	case <-tried:
		t.Fatal("sent an ask whose bond the free stake does not cover")
	case <-time.After(2 * retryFirst): // two tries
	}
	feed(3, 10*escrow.One)
	b.farm.await(t, "the ask", func() bool { return len(b.farm.of(build.TypeAsk)) == 1 })
	b.stop()
	if len(tries) != 2 || tries[0] != tries[1] {
		t.Errorf("sent %d asks, want the same twice", len(tries))
	}
	if n := strings.Count(b.log.String(), errWaits.Error()+" for stake"); n != 1 {
		t.Errorf("the log says %d times that the ask waits, want once", n)
	}
}

// Any other refusal is the end of it for its epoch, and of no other.
func TestRefusedAskIsMadeAnewForTheNextEpoch(t *testing.T) {
	b := newBench(t, nil)
	tries := make(chan uint64, 16)
	b.farm.answer = func(_ build.Type, payload wire.Record) error {
		if m, ok := payload.(*build.PlaceAsk); ok {
			tries <- m.Epoch
			if m.Epoch == 3 {
				return refusal(build.CodeNotAllowed)
			}
		}
		return nil
	}
	b.loop()
	feed := func(at int64, epoch uint64) {
		b.farm.feed <- &gavelv1.Assignments{FarmMillis: at, Registered: true, Asks: []*gavelv1.AskDuty{{Pool: "burst", Epoch: epoch, Reserve: int64(10 * escrow.One)}}}
	}
	feed(1, 3)
	if epoch := <-tries; epoch != 3 {
		t.Fatalf("asked for epoch %d", epoch)
	}
	time.Sleep(2 * retryFirst)
	feed(2, 3)
	feed(3, 4)
	b.farm.await(t, "the next ask", func() bool { return len(b.farm.of(build.TypeAsk)) == 1 })
	if epoch := <-tries; epoch != 4 || len(tries) != 0 {
		t.Errorf("asked again for epoch %d", epoch)
	}
}
