package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// story tells the life of one build after another from its views, each event
// once, with a sentence on why it matters the first time. Views may be missing
// between two, so it compares and does not count.
type story struct {
	screen    *screen
	explained map[string]bool // for good
	told      map[string]bool // of this build
}

func newStory(s *screen) *story { return &story{screen: s, explained: make(map[string]bool)} }

// begin starts the next build's.
func (s *story) begin() { s.told = make(map[string]bool) }

// once tells an event, and why it matters if that was never said.
func (s *story) once(key, label, because, format string, args ...any) {
	if s.told[key] {
		return
	}
	s.told[key] = true
	s.screen.step(label, format, args...)
	if because != "" && !s.explained[because] {
		s.explained[because] = true
		s.screen.because(because)
	}
}

// tell shows what is new in b, in the order of a build's life.
func (s *story) tell(b *gavelv1.Build) {
	s.auction(b)
	s.firstBuild(b)
	s.rebuilds(b)
	s.passing(b)
	if b.Verdict != "" {
		s.openings(b)
		s.verdict(b)
	}
	if b.State == build.Settled.String() {
		s.payments(b)
	}
}

func (s *story) auction(b *gavelv1.Build) {
	for _, t := range b.Transfers {
		if t.Purpose == "escrow" {
			s.once("escrow", "escrow", "It is the farm's word that everybody will be paid; what is left over comes back.",
				"%s puts %s credits aside: at most %s for the winner, the rest for fees", t.From, escrow.Credits(t.Amount), escrow.Credits(b.MaximumPrice))
		}
	}
	if b.Auctioneer != "" {
		s.once("auctioneer "+b.Auctioneer, "auction", "Drawn by a signature that only a majority of them can make: nobody can predict or choose it.",
			"%s was drawn to hold it", b.Auctioneer)
	}
	if b.Bids > 0 && (b.State == build.Revealing.String() || b.Winner != "") {
		s.once("bids", "bids", "A bid is a hash until all are in: nobody can undercut what nobody can see.",
			"%d sealed bids arrived, each with a bond of %s", b.Bids, escrow.Credits(b.Stake))
	}
	if b.Winner == "" {
		return
	}
	s.once("winner "+b.Winner, "opened", "", "%d of %d; %s asked the least, %s, and the next best comes to %s",
		b.Reveals, b.Bids, b.Winner, escrow.Credits(b.Price), escrow.Credits(b.MaximumPrice-b.Reference))
	s.once("award "+b.Winner, "award", "What a winner earns does not depend on what it asked: asking the true cost is best.",
		"%s wins, and is to be paid the second price, %s", b.Winner, escrow.Credits(b.MaximumPrice-b.Reference))
}

func (s *story) firstBuild(b *gavelv1.Build) {
	for _, name := range b.Defaulted {
		s.once("defaulted "+name, "default", "", "%s did not keep its promise: the next bid takes over", name)
	}
	if b.StartedMillis > 0 {
		s.once("started "+b.Winner, "build", "No network, no host, nothing but its inputs.", "%s builds it in a sandbox", b.Winner)
	}
	if b.CommittedMillis > 0 {
		s.once("committed "+b.Winner, "sealed", "It is bound to its result before anybody knows who will check it.", "%s is done and has sealed its result", b.Winner)
	}
}

func (s *story) rebuilds(b *gavelv1.Build) {
	seats, panel := members(b, build.RoundFirst, anyState), members(b, build.RoundPanel, anyState)
	if len(seats) > 0 {
		s.once("draw "+enumerate(seats), "draw", "Uniformly at random, after the result was sealed; no two of one operator.",
			"%s, out of %d others, build it again", enumerate(seats), int(b.Eligible)-1)
	}
	if done := members(b, build.RoundFirst, committed); len(done) > 0 && len(done) == int(b.Validators) {
		s.once("rebuilt", "sealed", "Only now may anything be opened: nobody can copy, nobody can back out.", "%s have sealed theirs", enumerate(done))
	}
	if again := members(b, build.RoundRecheck, anyState); len(again) > 0 {
		s.once("recheck", "recheck", "If nobody gets the same again, the build is to blame and not the builder.", "the results differ: all three build it once more")
	}
	if len(panel) > 0 {
		s.once("panel "+enumerate(panel), "panel", "To them it looks like any other rebuild, so they cannot take sides.",
			"they still differ, so %d more are asked: %s", len(panel), enumerate(panel))
	}
}

// passing says what is being waited for.
func (s *story) passing(b *gavelv1.Build) {
	switch b.State {
	case build.Queued.String():
		s.screen.passing("it waits for its auction …")
	case build.Bidding.String():
		s.screen.passing(fmt.Sprintf("%s %d sealed", strings.Repeat("▪", int(b.Bids)), b.Bids))
	case build.Revealing.String():
		s.screen.passing(fmt.Sprintf("%d of %d bids are open …", b.Reveals, b.Bids))
	case build.Settled.String():
	default:
		var busy []string
		for _, a := range b.Attempts {
			if a.State == build.AttemptStarted.String() {
				busy = append(busy, a.Worker)
			}
		}
		if len(busy) > 0 {
			s.screen.passing(enumerate(busy) + " at work …")
		}
	}
}

// openings shows who got which result, those of one digest in one line.
func (s *story) openings(b *gavelv1.Build) {
	if s.told["openings"] {
		return
	}
	own := make(map[string]string)     // a worker's first result
	holders := make(map[string]string) // by digest
	var order []string
	for _, a := range b.Attempts {
		digest := hex.EncodeToString(a.Result)
		if digest == "" {
			continue
		}
		name := a.Worker
		if a.Round == build.RoundRecheck.String() {
			if own[a.Worker] == digest {
				continue // the same again is no news
			}
			name += " again"
		} else {
			own[a.Worker] = digest
		}
		if holders[digest] == "" {
			order = append(order, digest)
			holders[digest] = name
		} else {
			holders[digest] += ", " + name
		}
	}
	s.told["openings"] = true
	for i, digest := range order {
		label := ""
		if i == 0 {
			label = "results"
		}
		s.screen.step(label, "%s…  %s", digest[:12], holders[digest])
	}
}

func anyState(*gavelv1.Attempt) bool { return true }

func committed(a *gavelv1.Attempt) bool { return a.CommittedMillis > 0 }

// members names who builds in a round, the builder left out, if they pass a test.
// A seat that was given up is somebody else's by now.
func members(b *gavelv1.Build, round build.Round, test func(*gavelv1.Attempt) bool) (names []string) {
	for _, a := range b.Attempts {
		builder := round == build.RoundFirst && a.Seat == 0
		if a.Round == round.String() && !builder && a.State != build.AttemptSilent.String() && test(a) {
			names = append(names, a.Worker)
		}
	}
	return names
}

// enumerate is a list for people.
func enumerate(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
