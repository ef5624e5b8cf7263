package transcript

import (
	"fmt"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
)

// fines holds what was moved while the build lived: bonds of bids that were not
// opened, what defaulters pay for their successors, and fines of silent seats. Of
// earlier auctions the record keeps the transfers alone.
func (j *judge) fines(first int, got []build.Transfer) {
	want := j.demanded()
	earlier := len(got) - len(want)
	if earlier < 0 {
		j.compare("Build.Transfers", first, want, got)
		return
	}
	for i := range got[:earlier] {
		j.earlierFine(fmt.Sprintf("Build.Transfers[%d]", first+i), &got[i])
	}
	j.takeSilences(first+earlier, got[earlier:])
	var rest []movement
	for _, m := range want {
		if m.purpose != "silence" {
			rest = append(rest, m)
		}
	}
	j.compare("Build.Transfers", first+earlier, rest, got[earlier:earlier+len(rest)])
}

// demanded are the movements of the auction or draw that the build ended in.
func (j *judge) demanded() []movement {
	b := j.b
	var out []movement
	add := func(m movement) {
		if m.amount > 0 {
			out = append(out, m)
		}
	}
	if b.RevealsDone {
		for i := range b.Bids {
			if !b.Bids[i].Revealed {
				add(movement{"forfeit", b.Bids[i].Worker, j.treasury, b.Stake, 0})
			}
		}
	}
	for i := range b.Penalties {
		more := b.Penalties[i].Reference
		if i+1 < len(j.awards) {
			more -= j.awards[i+1].reference
		}
		add(movement{"default", b.Penalties[i].Worker, b.Requester, min(b.Stake, max(0, more)), 0})
	}
	return append(out, j.silences()...)
}

// silences are the fines of those who let a seat's lease lapse, min(S, f) each, and
// in draw lanes of builders. In a house pool there are none.
func (j *judge) silences() []movement {
	fine := min(j.b.Stake, j.t.Params.ValidatorFee)
	if j.house || fine == 0 {
		return nil
	}
	var out []movement
	list := append(append([]at(nil), j.attempts.seats...), j.attempts.panel...)
	if j.drawLane() && j.b.AuctionNumber == 0 {
		list = append(append([]at(nil), j.attempts.builders...), list...)
	}
	for _, a := range list {
		if a.State == build.AttemptSilent {
			out = append(out, movement{"silence", a.Worker, j.treasury, fine, a.Round})
		}
	}
	return out
}

// takeSilences matches fines with the silent, in whatever order they fell silent.
func (j *judge) takeSilences(first int, got []build.Transfer) {
	want := j.silences()
	from := len(got) - len(want)
	used := make([]bool, len(want))
	for i := from; i < len(got); i++ {
		field := fmt.Sprintf("Build.Transfers[%d]", first+i)
		at := -1
		for k := range want {
			if !used[k] && want[k].from == got[i].From && j.transferID(want[k]) == got[i].ID {
				at = k
			}
		}
		if at < 0 { // the next that is missing
			for k := range want {
				if !used[k] {
					at = k
					break
				}
			}
		}
		used[at] = true
		j.transfer(field, want[at], &got[i])
	}
}

// earlierFine holds a transfer of an earlier auction to its form.
func (j *judge) earlierFine(field string, t *build.Transfer) {
	if j.b.AuctionNumber == 0 {
		j.deviate(field, "no such transfer: nothing went before this auction", fmt.Sprintf("%s of %v from %s to %s", t.Purpose, t.Amount, show(t.From)[:16], show(t.To)[:16]))
		return
	}
	m := movement{purpose: t.Purpose, from: t.From, to: j.treasury, amount: t.Amount}
	switch t.Purpose {
	case "forfeit":
	case "default":
		m.to = j.b.Requester
	case "silence":
		m.amount = min(t.Amount, j.t.Params.ValidatorFee)
	default:
		j.deviate(field+".Purpose", "forfeit, default or silence", show(t.Purpose))
		return
	}
	if t.Amount > escrow.MaxCredits {
		m.amount = escrow.MaxCredits
	}
	j.transfer(field, m, t)
}
