package main

import (
	"fmt"
	"strings"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// narrator turns the views of one build into lines, each event once. Views may
// be missing between two, so it compares and does not count.
type narrator struct {
	told map[string]bool
	news []string
}

func newNarrator() *narrator { return &narrator{told: make(map[string]bool)} }

// once tells of the event named key, if it was not told of before.
func (n *narrator) once(key, format string, args ...any) {
	if !n.told[key] {
		n.told[key] = true
		n.news = append(n.news, fmt.Sprintf(format, args...))
	}
}

// tell returns what is new in b, in the order of a build's life.
func (n *narrator) tell(b *gavelv1.Build) []string {
	n.news = nil
	if b.State == build.Queued.String() {
		n.once("queued", "waits for its turn")
		if b.Epoch > 0 {
			n.once(fmt.Sprintf("allotted %d", b.Epoch), "allotted in epoch %d, waits for its worker", b.Epoch)
		}
	}
	n.auction(b)
	for _, name := range b.Defaulted {
		n.once("defaulted "+name, "%s did not keep its promise: the next one takes over", name)
	}
	if b.Winner != "" {
		if b.StartedMillis > 0 {
			n.once("started "+b.Winner, "%s builds", b.Winner)
		}
		if b.CommittedMillis > 0 {
			n.once("committed", "%s has committed to a result, sealed until others have too", b.Winner)
		}
	}
	n.rounds(b)
	if b.Verdict != "" {
		n.once("verdict", "verdict: %s", b.Verdict)
		for _, name := range b.Slashed {
			n.once("slashed "+name, "%s is slashed", name)
		}
		if b.Delivered {
			n.once("delivered", "the outputs are stored")
		}
	}
	if b.State == build.Pricing.String() {
		n.once("pricing", "the price is fixed when epoch %d of pool %s ends", b.Epoch, b.Pool)
	}
	if b.State == build.Settled.String() {
		n.payments(b)
		n.once("settled", "settled")
	}
	return n.news
}

// auction tells who bid and won, or how else the lane found who builds.
func (n *narrator) auction(b *gavelv1.Build) {
	if b.House || b.Winner != "" && b.Bids == 0 {
		if b.Winner != "" {
			n.once("winner "+b.Winner, "%s", appointment(b))
		}
		return
	}
	if b.State == build.Bidding.String() && b.Auctioneer != "" {
		n.once("bidding", "sealed bids are taken by %s", b.Auctioneer)
	}
	if b.State == build.Revealing.String() {
		n.once("revealing", "%s, now opened", count(b.Bids, "sealed bid"))
	}
	if b.Winner != "" {
		n.once("winner "+b.Winner, "%s won among %s: it asked for %s and is to get the next best price, %s", b.Winner, count(b.Bids, "sealed bid"),
			escrow.Credits(b.Price), escrow.Credits(b.MaximumPrice-b.Reference))
	}
}

// appointment says why somebody builds without having bid.
func appointment(b *gavelv1.Build) string {
	switch b.Lane {
	case build.LaneBatch.String():
		return fmt.Sprintf("allotted to %s in epoch %d, the cheapest standing ask with capacity left", b.Winner, b.Epoch)
	case build.LaneLease.String():
		return fmt.Sprintf("goes to %s, which is leased: no auction", b.Winner)
	case build.LaneLottery.String():
		return fmt.Sprintf("its owner's ticket has slot %d; %s was drawn to build", b.Slot, b.Winner)
	}
	return b.Winner + " was drawn to build"
}

// rounds tells who was drawn, and how far they are.
func (n *narrator) rounds(b *gavelv1.Build) {
	var seats, panel []string
	rechecked := false
	for _, a := range b.Attempts {
		switch {
		case a.Round == build.RoundPanel.String():
			panel = n.unnamed(panel, a.Worker)
		case a.Round == build.RoundRecheck.String():
			rechecked = true
		case a.Seat > 0:
			seats = n.unnamed(seats, a.Worker)
		}
	}
	if len(seats) > 0 {
		n.once("seats "+strings.Join(seats, " "), "drawn to build it again: %s", strings.Join(seats, ", "))
	}
	for _, a := range b.Attempts {
		if a.Round != build.RoundFirst.String() || a.Seat == 0 {
			continue
		}
		if a.State == build.AttemptSilent.String() {
			n.once("seat silent "+a.Worker, "%s fell silent: the next name of the draw takes its seat", a.Worker)
		}
		if a.CommittedMillis > 0 {
			n.once("seat committed "+a.Worker, "%s has committed", a.Worker)
		}
	}
	if rechecked {
		n.once("recheck", "the results differ: everyone builds once more")
	}
	if len(panel) > 0 {
		n.once("panel "+strings.Join(panel, " "), "they still differ: a panel decides: %s", strings.Join(panel, ", "))
	}
}

// unnamed adds a worker that was not yet told of as drawn.
func (n *narrator) unnamed(list []string, name string) []string {
	if key := "drawn " + name; !n.told[key] {
		n.told[key] = true
		return append(list, name)
	}
	return list
}

// payments tells where the money went.
func (n *narrator) payments(b *gavelv1.Build) {
	if b.House {
		return
	}
	for _, t := range b.Transfers {
		n.once("transfer "+string(t.Id), "  %-14s %s → %s (%s)", escrow.Credits(t.Amount), orUnnamed(t.From), orUnnamed(t.To), t.Purpose)
	}
}

func orUnnamed(name string) string {
	if name == "" {
		return "?"
	}
	return name
}
