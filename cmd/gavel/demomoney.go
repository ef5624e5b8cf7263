package main

import (
	"fmt"

	gavelv1 "gavel/api/gavel/v1"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// verdict tells how a build was decided, and what it means for whom.
func (s *story) verdict(b *gavelv1.Build) {
	if s.told["verdict"] {
		return
	}
	s.told["verdict"] = true
	colour, meaning := yellow, b.Reason
	switch b.Verdict {
	case build.Agreed.String():
		colour, meaning = green, "all results are the same to the last byte"
	case build.Judged.String():
		colour, meaning = green, fmt.Sprintf("the panel confirms one result, which is delivered, and so who is wrong: %s", enumerate(b.Slashed))
	case build.NonDeterministic.String():
		meaning = "nobody gets the same twice, so nobody is punished; the output is delivered under this label"
	}
	s.screen.painted(bold, "verdict", s.screen.paint(colour, b.Verdict)+": "+meaning)
	for _, name := range b.Slashed {
		s.screen.painted(red, "slashed", fmt.Sprintf("%s loses its stake of %s: it cannot bid any more", name, escrow.Credits(b.Stake)))
		s.screen.because("That pays for everybody's work on this build; the rest goes to the treasury.")
	}
}

// purposes are what payments are for, in words.
var purposes = map[string]string{
	"auctioneer": "for the auction", "validator": "for building it again", "recheck": "for building it once more", "panel": "for the panel's build",
	"price": "for the build", "upload": "for uploading it", "slash": "what is left of the stake", "refund": "what nobody earned",
	"failure": "for having failed", "default": "for having given up", "silence": "for having been silent", "forfeit": "for a bid never opened",
	"escrow": "put aside",
}

// payments shows every transfer but the first, which began the story.
func (s *story) payments(b *gavelv1.Build) {
	label := "paid"
	for _, t := range b.Transfers {
		if t.Purpose == "escrow" || s.told["transfer "+string(t.Id)] {
			continue
		}
		s.told["transfer "+string(t.Id)] = true
		what, ok := purposes[t.Purpose]
		if !ok {
			what = t.Purpose
		}
		s.screen.step(label, "%10s  %s → %s  %s", escrow.Credits(t.Amount), t.From, t.To, s.screen.paint(dim, what))
		label = ""
	}
}

// end tells what the requester has in hand.
func (s *story) end(b *demoBuild) {
	if b.report.Verdict != build.Agreed.String() {
		s.screen.step("differ", "%s", b.report.Reason)
	}
	served := b.served[b.output]
	if served == "" {
		s.screen.warn("%s was not delivered", b.output)
		return
	}
	s.screen.step("delivered", "%s, %s…", b.output, served[:len("sha256:")+12])
	if b.reference != "" {
		same := "the same as when built on this machine without any farm"
		if served != b.reference {
			same = s.screen.paint(red, "NOT what this machine builds without any farm, "+b.reference.String())
		}
		s.screen.because("It is " + same + ".")
	}
	if len(b.proven) > 0 {
		s.once("proven", "attested", "Anyone can check these signatures offline: gavel verify.", "by %s", enumerate(b.proven))
	}
}
