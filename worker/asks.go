package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// defaultUnitMillis is what an action of a batch pool is taken to need while the
// worker has built nothing: many are small.
const defaultUnitMillis = 250

// askRecord is a sealed ask as it must be opened later.
type askRecord struct {
	Price      escrow.Credits
	Capacity   uint64
	Nonce      build.ID
	WallMillis int64 // when it was written, to forget it some day
}

func (r *askRecord) Code(c *wire.Coder) {
	r.Price.Code(c)
	c.U64(&r.Capacity)
	c.Bytes32(&r.Nonce)
	c.I64(&r.WallMillis)
}

// standing is what a worker asks in batch pools.
type standing struct {
	action   *escrow.Credits // for an action; nil: its flat price
	second   *escrow.Credits // for a core-second; nil: its price for a second, else its flat price
	capacity uint64          // of an epoch; 0: what it can finish in one
	slots    int
}

// capacityOf is how many units the worker takes in an epoch: as many as it is told,
// or as it can finish, by what builds took it so far. More would wait for it while
// others are idle, because work goes to the cheapest ask as long as that has room.
func (b *bidder) capacityOf(epochMillis int64) (uint64, error) {
	if b.standing.capacity > 0 {
		return b.standing.capacity, nil
	}
	unit, err := b.estimates.usual(b.offered())
	if err != nil {
		return 0, err
	}
	fits := int64(b.standing.slots) * (max(0, epochMillis) / max(1, unit))
	return uint64(min(max(1, fits), build.MaxCapacity)), nil
}

// askKey names an ask in the journal: one for each pool and epoch.
func (b *bidder) askKey(pool string, epoch uint64) build.ID {
	return wire.NewHasher("ask-key").Fixed(b.farm).Text(pool).U64(epoch).Sum()
}

// asking is what the worker would be paid at least for a unit of a pool.
func (b *bidder) asking(metered bool) (escrow.Credits, bool, error) {
	own := b.standing.action
	if metered {
		own = b.standing.second
	}
	if own != nil {
		return *own, true, nil
	}
	if b.price == nil {
		return 0, false, nil
	}
	price, err := b.price.Price(1000)
	return price, err == nil, err
}

// seal puts a standing ask for the next epoch of a batch pool into the journal
// and sends its commitment. An ask that could not be opened would cost its bond:
// after a crash the same one is sent again. Where the free stake does not cover
// the bond for now, the error wraps errWaits; other refusals end the matter for
// this epoch.
func (b *bidder) seal(ctx context.Context, d *gavelv1.AskDuty, stake escrow.Credits) error {
	log := b.log.With("pool", d.Pool, "epoch", d.Epoch)
	price, known, err := b.asking(d.Metered)
	if err != nil {
		return err
	}
	if !known || price > escrow.Credits(d.Reserve) {
		log.Info("no standing ask", "price", price, "reserve", escrow.Credits(d.Reserve))
		return nil
	}
	if bond := escrow.Credits(d.Bond); bond > stake {
		return fmt.Errorf("sealing an ask in pool %q: %w for stake: the bond is %s credits, the free stake %s", d.Pool, errWaits, bond, stake)
	}
	key := b.askKey(d.Pool, d.Epoch)
	var r askRecord
	found, err := b.journal.Get(shelfAsks, key, &r)
	if err != nil {
		return err
	}
	if !found {
		capacity, err := b.capacityOf(d.EpochMillis)
		if err != nil {
			return err
		}
		r = askRecord{Price: price, Capacity: capacity, WallMillis: time.Now().UnixMilli()}
		if _, err := rand.Read(r.Nonce[:]); err != nil {
			return fmt.Errorf("making a nonce: %w", err)
		}
		if err := b.journal.Put(shelfAsks, key, &r); err != nil {
			return err
		}
	}
	market := build.MarketID(b.farm, d.Pool)
	m := &build.PlaceAsk{Pool: d.Pool, Epoch: d.Epoch, Commitment: build.AskCommitment(b.farm, market, d.Epoch, b.id, r.Price, r.Capacity, r.Nonce)}
	if _, err := b.cluster.Do(ctx, build.TypeAsk, m); err != nil {
		if stakeShort(err) {
			return fmt.Errorf("sealing an ask in pool %q: %w for stake: %w", d.Pool, errWaits, err)
		}
		if refused(err) {
			log.Warn("standing ask refused", "why", err)
			return nil
		}
		return err
	}
	log.Info("standing ask sealed", "capacity", r.Capacity)
	return nil
}

// open opens the ask of an epoch, from the journal.
func (b *bidder) open(ctx context.Context, pool string, epoch uint64) error {
	log := b.log.With("pool", pool, "epoch", epoch)
	var r askRecord
	found, err := b.journal.Get(shelfAsks, b.askKey(pool, epoch), &r)
	if err != nil {
		return err
	}
	if !found {
		log.Error("cannot open an ask that is not in the journal; its bond will be forfeit")
		return nil
	}
	m := &build.OpenAsk{Pool: pool, Epoch: epoch, Price: r.Price, Capacity: r.Capacity, Nonce: r.Nonce}
	if _, err := b.cluster.Do(ctx, build.TypeOpenAsk, m); err != nil {
		if refused(err) {
			log.Warn("opening of the ask refused", "why", err)
			return nil
		}
		return err
	}
	log.Info("ask opened", "price", r.Price, "capacity", r.Capacity)
	return nil
}

// askedAsks turns what batch pools ask into duties.
func (w *worker) askedAsks(ds []duty, a *gavelv1.Assignments) []duty {
	for _, d := range a.Asks {
		if !d.Sealed {
			key := dutyKey{dutySeal, w.bidder.askKey(d.Pool, d.Epoch)}
			stake := escrow.Credits(a.Stake)
			ds = append(ds, duty{key: key, once: true, run: func(ctx context.Context) error { return w.bidder.seal(ctx, d, stake) }})
		}
		if d.Opens > 0 {
			key := dutyKey{dutyOpen, w.bidder.askKey(d.Pool, d.Opens)}
			ds = append(ds, duty{key: key, run: func(ctx context.Context) error { return w.bidder.open(ctx, d.Pool, d.Opens) }})
		}
	}
	return ds
}
