package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
)

// handoverReport is what cluster handover prints as JSON.
type handoverReport struct {
	Old   string `json:"old"` // the group key before, in hex
	New   string `json:"new"` // the one in use now
	Stage string `json:"stage"`
	Note  string `json:"note"`
}

func clusterHandoverCommand() *cobra.Command {
	var dir, reason string
	var giveUp, detach, asJSON bool
	c := &cobra.Command{
		Use:   "handover",
		Short: "have the coordinators make a new group key",
		Long: `Signed by the admin (D/keys/admin): the coordinators make a new group key, by which
draws are made and results certified, while the old one is in use. When it is made
nothing new is begun until what is under way has ended and is certified; then the old
group signs for the new key, the log says so, and work goes on. Old shares are worth
nothing from then on, whoever has kept them.

A coordinator that is away for half a minute is left out of the making, and has its share
when it is back. If fewer than a majority take part, or with --give-up, the old key stays.
Long builds make it wait long: begin when few are under way.`,
		Args: wants(),
		RunE: action(func(ctx context.Context, c *cobra.Command, _ []string) error {
			if !build.ValidReason(reason) {
				return usage("--reason has at most %d bytes and no line breaks", build.MaxReasonBytes)
			}
			f, err := connectAs(ctx, dir, keyAdmin)
			if err != nil {
				return err
			}
			defer f.Close()
			before, err := f.Info(ctx)
			if err != nil {
				return plain(err)
			}
			if _, err := f.Do(ctx, build.TypeHandover, &build.Handover{GiveUp: giveUp, Reason: reason}); err != nil {
				return fmt.Errorf("no handover: %w", plain(err))
			}
			term := newTerminal(c)
			now := before
			if giveUp {
				term.say("the handover is given up: the old key stays")
			} else if !detach {
				if now, err = f.awaitHandover(ctx, term, before); err != nil {
					return err
				}
			}
			if asJSON {
				return json.NewEncoder(term.out).Encode(&handoverReport{
					Old: hex.EncodeToString(before.GroupKey), New: hex.EncodeToString(now.GroupKey), Stage: now.Handover, Note: now.LastHandover,
				})
			}
			return nil
		}),
	}
	farmFlag(c, &dir)
	c.Flags().StringVar(&reason, "reason", "", "a sentence for the log")
	c.Flags().BoolVar(&giveUp, "give-up", false, "end the handover that is under way: the old key stays")
	c.Flags().BoolVar(&detach, "detach", false, "do not wait until the new key is in use")
	c.Flags().BoolVar(&asJSON, "json", false, "print both keys as JSON")
	return c
}

// handoverPause is how often it is asked how far a handover is.
const handoverPause = 200 * time.Millisecond

// awaitHandover follows a handover to its end.
func (f *farm) awaitHandover(ctx context.Context, term *terminal, before *gavelv1.InfoResponse) (*gavelv1.InfoResponse, error) {
	begun, last := false, ""
	for {
		now, err := f.Info(ctx)
		switch {
		case err != nil:
			return nil, plain(err)
		case !bytes.Equal(now.GroupKey, before.GroupKey):
			term.say("another group key is in use: %x…", now.GroupKey[:8])
			return now, nil
		case now.Handover != "" && now.Handover != last:
			begun, last = true, now.Handover
			term.say("%s", last)
		case now.Handover == "" && (begun || now.LastHandover != before.LastHandover):
			return nil, fmt.Errorf("the old key stays: %s", now.LastHandover)
		}
		select {
		case <-time.After(handoverPause):
		case <-ctx.Done():
			return nil, errors.New("stopped waiting: the handover goes on, gavel cluster handover --give-up ends it")
		}
	}
}
