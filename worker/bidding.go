package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// bidder places sealed bids and opens them. A bid is in the journal before its
// commitment leaves the machine, and once there it is never changed: two
// commitments to one auction, or one that cannot be opened, would cost the bond.
type bidder struct {
	id        build.ID
	farm      build.ID // the cluster
	cluster   cluster
	journal   records
	kept      *kept
	estimates estimator
	price     pricer // nil in a house pool
	standing  standing
	finished  *escrow.Credits // for a result that it has already; nil: it bids for slots alone
	offers    func(platform string) bool
	offered   func() []string // platforms
	log       *slog.Logger
}

// call is one open auction, checked.
type call struct {
	auction, build, action   build.ID
	platform                 string
	timeoutMillis            int64
	inputBytes               uint64
	reserve, bond, stake     escrow.Credits
	farmMillis, openedMillis int64
	unstarted                int // leases held that wait or run
	slots                    int
}

func callOf(a *gavelv1.Auction, farmMillis int64, stake escrow.Credits, unstarted, slots int) (call, error) {
	c := call{
		platform: a.Platform, timeoutMillis: a.TimeoutMillis, inputBytes: a.InputBytes, reserve: escrow.Credits(a.Reserve), bond: escrow.Credits(a.Bond),
		stake: stake, farmMillis: farmMillis, openedMillis: a.OpenedMillis, unstarted: unstarted, slots: slots,
	}
	err := errors.Join(idOf(a.Auction, &c.auction), idOf(a.Build, &c.build), idOf(a.ActionDigest, &c.action))
	return c, err
}

// bid places the worker's bid, or says in the log why it does not bid.
func (b *bidder) bid(ctx context.Context, c call) error {
	var r bidRecord
	found, err := b.journal.Get(shelfBids, c.auction, &r)
	if err != nil {
		return err
	}
	if !found {
		why, err := b.decide(c, &r)
		if err != nil {
			return err
		}
		if why != "" {
			b.log.Info("no bid", "build", full(c.build), "auction", short(c.auction), "why", why)
			return nil
		}
		if err := b.journal.Put(shelfBids, c.auction, &r); err != nil {
			return err
		}
	}
	result, err := b.promised(c.auction)
	if err != nil {
		return err
	}
	m := &build.PlaceBid{Build: c.build, Auction: c.auction, Commitment: b.commitment(c.auction, &r, result)}
	if _, err := b.cluster.Do(ctx, build.TypeBid, m); err != nil {
		if refused(err) {
			b.log.Warn("bid refused", "build", full(c.build), "auction", short(c.auction), "why", err)
			return nil
		}
		return err
	}
	b.log.Info("bid placed", "build", full(c.build), "auction", short(c.auction), "finish_ms", r.FinishMillis, "finished", result != build.ID{})
	return nil
}

func (b *bidder) commitment(auction build.ID, r *bidRecord, result build.ID) build.ID {
	return build.BidCommitment(b.farm, auction, b.id, r.Price, r.FinishMillis, result, r.Nonce)
}

// decide fills r, or says why there is no bid.
func (b *bidder) decide(c call, r *bidRecord) (why string, err error) {
	switch {
	case !b.offers(c.platform):
		return fmt.Sprintf("platform %s is not offered here", c.platform), nil
	case c.unstarted >= c.slots:
		return fmt.Sprintf("all %d slots are taken", c.slots), nil
	case b.price == nil:
		return "no price is configured", nil
	case c.bond > c.stake:
		return fmt.Sprintf("the bond of %s credits exceeds the free stake of %s", c.bond, c.stake), nil
	}
	sells, err := b.offer(c)
	if err != nil {
		return "", err
	}
	price, estimate, err := b.terms(c, sells)
	if err != nil {
		return "", err
	}
	if price > c.reserve {
		return fmt.Sprintf("the price of %s credits exceeds the reserve of %s", price, c.reserve), nil
	}
	*r = bidRecord{
		Build: c.build, Price: price, WallMillis: time.Now().UnixMilli(),
		FinishMillis: max(0, c.farmMillis-c.openedMillis) + auctionMillis + estimate,
	}
	if _, err := rand.Read(r.Nonce[:]); err != nil {
		return "", fmt.Errorf("making a nonce: %w", err)
	}
	return "", nil
}

// terms are the price of a bid and how long the worker needs from its award to
// its commitment.
func (b *bidder) terms(c call, sells bool) (price escrow.Credits, millis int64, err error) {
	if sells {
		return *b.finished, finishMillis, nil
	}
	if millis, err = b.estimates.estimate(c.action, c.platform, c.timeoutMillis); err != nil {
		return 0, 0, err
	}
	price, err = b.price.Price(millis)
	return price, millis, err
}

// reveal opens the bid of an auction, from the journal.
func (b *bidder) reveal(ctx context.Context, auction build.ID) error {
	var r bidRecord
	found, err := b.journal.Get(shelfBids, auction, &r)
	if err != nil {
		return err
	}
	if !found {
		b.log.Error("cannot open a bid that is not in the journal; its bond will be forfeit", "auction", short(auction))
		return nil
	}
	result, err := b.promised(auction)
	if err != nil {
		return err
	}
	m := &build.Reveal{Build: r.Build, Auction: auction, Price: r.Price, FinishMillis: r.FinishMillis, Result: result, Nonce: r.Nonce}
	if _, err := b.cluster.Do(ctx, build.TypeReveal, m); err != nil {
		if refused(err) {
			b.log.Warn("reveal refused", "build", full(r.Build), "auction", short(auction), "why", err)
			return nil
		}
		return err
	}
	b.log.Info("bid opened", "build", full(r.Build), "auction", short(auction), "price", r.Price)
	return nil
}
