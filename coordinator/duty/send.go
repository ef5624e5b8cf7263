package duty

import (
	"context"
	"crypto/rand"
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// propose has one command decided. A refusal is an error too: nearly always
// another coordinator was quicker, and the state says so in a moment.
func (d *Duties) propose(ctx context.Context, t build.Type, payload wire.Record) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	c := build.Command{Version: build.Version, Type: t, Payload: wire.Encode(payload)}
	if _, err := rand.Read(c.Request[:]); err != nil {
		return fmt.Errorf("making a request id: %w", err)
	}
	if t.Signed() {
		c.Sender = d.config.Self
		c.ValidUntilMillis = d.farm.Load() + validForMillis
		sig, err := d.config.Sign.Sign(c.SigningBytes(d.cluster))
		if err != nil {
			return fmt.Errorf("signing a %v: %w", t, err)
		}
		c.Signature = sig
	}
	outcomes, _, err := d.config.Propose.Propose(ctx, []build.Command{c})
	if err != nil {
		return fmt.Errorf("proposing a %v: %w", t, err)
	}
	if o := outcomes[0]; o.Code != build.Done {
		return fmt.Errorf("a %v was refused (code %d): %s", t, o.Code, o.Detail)
	}
	return nil
}

// insist proposes until it is done or the duty ends.
func (d *Duties) insist(ctx context.Context, t build.Type, payload wire.Record) {
	var b backoff
	for {
		err := d.propose(ctx, t, payload)
		if err == nil || ctx.Err() != nil {
			return
		}
		d.log.Debug("will try again", "error", err)
		if !b.wait(ctx) {
			return
		}
	}
}

// act does what a drawn auctioneer owes. Nobody else can: there is no turn to wait for.
func (d *Duties) act(ctx context.Context, a build.Auctioneer) {
	d.log.Info("acting as auctioneer", "build", short(a.Build), "act", a.Act.String())
	d.insist(ctx, build.TypeAuctioneer, &a)
}

// short is how an id appears in the log.
func short(id ID) string { return fmt.Sprintf("%x", id[:6]) }
