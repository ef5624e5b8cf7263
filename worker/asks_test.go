package worker

import (
	"fmt"
	"testing"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
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
			err := b.w.bidder.seal(t.Context(), duty)
			if (err != nil) != f.fails {
				t.Fatalf("sealing: %v", err)
			}
			if sent := len(b.farm.of(build.TypeAsk)); f.fails && sent != 0 {
				t.Fatal("an ask was sent although its record failed")
			}
			b.wrap = nil
			b.restart()
			if err := b.w.bidder.seal(t.Context(), duty); err != nil {
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
		{nil, false, 10 * escrow.One, 2 * escrow.One, defaultAskCapacity, true},
		{nil, false, 2 * escrow.One, 2 * escrow.One, defaultAskCapacity, true},
		{nil, false, 2*escrow.One - 1, 0, 0, false},
		{func(c *Config) { c.Ask, c.AskCapacity, c.Slots = amount(3), 9, 4 }, false, 10, 3, 9, true},
		{func(c *Config) { c.AskPerSecond = amount(5) }, true, 10, 5, defaultAskCapacity, true},
		{func(c *Config) { c.AskPerSecond = amount(5) }, false, escrow.One, 0, 0, false},
		{func(c *Config) { c.Price, c.PricePerSecond = nil, amount(7) }, true, 10, 7, defaultAskCapacity, true},
		{func(c *Config) { c.Price = nil }, false, 10, 0, 0, false},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			b := newBench(t, c.config)
			duty := &gavelv1.AskDuty{Pool: "burst", Epoch: 1, Reserve: int64(c.reserve), Metered: c.metered}
			if err := b.w.bidder.seal(t.Context(), duty); err != nil {
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
