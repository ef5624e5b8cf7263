package audit

import (
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// differ names what the record of an entry says otherwise than the replay: its
// outcomes, else its movements, else its balances, since each follows from those
// before it.
type differ struct {
	a     *auditor
	at    uint64 // the epoch's leaf
	index uint64 // of the entry
	left  int    // fields that are still listed
}

func (d *differ) say(part, want, got string) {
	if d.left > 0 && want != got {
		d.left--
		d.a.report.deviate(d.at, fmt.Sprintf("entry %d %s", d.index, part), want, got)
	}
}

func (d *differ) entry(want, got *raftfsm.Entry) {
	before := d.left
	d.outcomes(want, got)
	if d.left == before {
		d.movements(want, got)
	}
	if d.left == before {
		d.balances(want, got)
	}
}

func outcome(code uint32) string {
	if build.Code(code) == build.Done {
		return "done"
	}
	return fmt.Sprintf("refused with code %d", code)
}

func (d *differ) outcomes(want, got *raftfsm.Entry) {
	d.say("outcomes", fmt.Sprint(len(want.Codes)), fmt.Sprint(len(got.Codes)))
	var batch build.Batch
	_ = wire.Decode(got.Data, &batch) // what cannot be read has one outcome
	for i := range min(len(want.Codes), len(got.Codes)) {
		command := fmt.Sprintf("command %d", i)
		if i < len(batch.Commands) {
			command += fmt.Sprintf(" (%v)", batch.Commands[i].Type)
		}
		d.say(command, outcome(want.Codes[i]), outcome(got.Codes[i]))
	}
}

func (d *differ) movements(want, got *raftfsm.Entry) {
	d.say("movements", fmt.Sprint(len(want.Movements)), fmt.Sprint(len(got.Movements)))
	for i := range min(len(want.Movements), len(got.Movements)) {
		w, g := &want.Movements[i], &got.Movements[i]
		part := fmt.Sprintf("movement %d (%v)", i, w.Kind)
		d.say(part+" id", hexOf(w.ID), hexOf(g.ID))
		d.say(part+" kind", w.Kind.String(), g.Kind.String())
		d.say(part+" from", d.name(w.From), d.name(g.From))
		d.say(part+" to", d.name(w.To), d.name(g.To))
		d.say(part+" amount", w.Amount.String(), g.Amount.String())
	}
}

func (d *differ) balances(want, got *raftfsm.Entry) {
	d.say("balances", fmt.Sprint(len(want.Balances)), fmt.Sprint(len(got.Balances)))
	for i := range min(len(want.Balances), len(got.Balances)) {
		w, g := &want.Balances[i], &got.Balances[i]
		part := "balance of " + d.name(w.Account)
		d.say(part+" account", d.name(w.Account), d.name(g.Account))
		d.say(part+" closed", fmt.Sprint(w.Gone), fmt.Sprint(g.Gone))
		d.say(part+" available", w.Available.String(), g.Available.String())
		d.say(part+" held", w.Held.String(), g.Held.String())
		d.say(part+" stake", w.Stake.String(), g.Stake.String())
	}
}

// name is an account for a person, and for a machine.
func (d *differ) name(id raftfsm.ID) string {
	return fmt.Sprintf("%s %x", d.a.replay.State().Name(id), id[:8])
}
