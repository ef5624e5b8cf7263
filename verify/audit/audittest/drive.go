package audittest

import (
	"fmt"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/wire"
)

// Bounds of a run.
const (
	entryCommands = 48     // of one Raft entry
	stepMillis    = 150    // of farm time between rounds in which something happens
	maxRounds     = 200000 // a world that takes longer is stuck
)

// run submits builds and lets everybody do what is asked of it until all have settled.
func (w *World) run(builds, live int) error {
	w.register()
	submitted := 0
	for round := 0; round < maxRounds; round++ {
		for submitted < builds && len(w.state().Live()) < live {
			if !w.submit(submitted) {
				break // too many workers are absent or leased just now
			}
			submitted++
		}
		commands := append(append(w.coordinators(), w.withdrawals()...), w.working()...)
		if submitted < builds {
			commands = append(commands, w.nuisances(round)...)
		}
		for len(commands) > 0 {
			n := min(len(commands), entryCommands)
			w.send(commands[:n]...)
			commands = commands[n:]
		}
		w.count()
		if submitted == builds && len(w.state().Live()) == 0 && len(w.state().Demands()) == 0 {
			w.tick(w.Genesis.Params.EpochMillis)
			if n := len(w.Applied); w.Applied[n-1].Items != nil {
				return w.settled(builds)
			}
			continue
		}
		w.tick(stepMillis)
	}
	return fmt.Errorf("%d builds are still under way after %d rounds", len(w.state().Live()), maxRounds)
}

// settled says whether every build came to an end.
func (w *World) settled(builds int) error {
	total := 0
	for _, ends := range w.Ends {
		for _, n := range ends {
			total += n
		}
	}
	if total < builds {
		return fmt.Errorf("%d of %d builds have settled", total, builds)
	}
	return w.state().Ledger().Check()
}

// count notes how builds ended.
func (w *World) count() {
	for _, b := range w.state().Builds() {
		if p := w.plans[b.ID]; p != nil && b.State == build.Settled {
			if w.Ends[p.lane] == nil {
				w.Ends[p.lane] = map[build.State]int{}
			}
			w.Ends[p.lane][b.Verdict]++
			delete(w.plans, b.ID)
		}
	}
}

func (w *World) register() {
	for _, k := range w.workers {
		w.send(w.command(k.Party, build.TypeRegister, &build.Register{
			Key: k.PKIX, Name: k.Name, Pool: k.pool, Operator: k.operator, Machine: k.machine, Class: k.class,
			Platforms: []string{"host"}, Slots: 16, Stake: creditsOf(k.stake),
		}))
	}
}

// submit says whether the farm took a build.
func (w *World) submit(order int) bool {
	at := placeOf(order)
	p := &plan{kind: at.kind, order: order, pool: at.pool}
	t := w.terms(p)
	by := w.Requesters[order%len(w.Requesters)]
	if p.lane == build.LaneLottery {
		w.send(w.command(by, build.TypeTickets, &build.BuyTickets{Pool: p.pool, Count: 1}))
	}
	out := w.send(w.command(by, build.TypeSubmit, &build.Submit{Terms: t}))[0]
	if out.Code == build.CodeTooFew {
		return false
	}
	if out.Code != build.Done {
		panic(fmt.Sprintf("audittest: submitting a %s build to pool %s: %s", p.kind, p.pool, out.Detail))
	}
	w.plans[out.Subject] = p
	w.orders[out.Subject] = order
	return true
}

// withdrawals are requesters' second thoughts.
func (w *World) withdrawals() (out []build.Command) {
	for _, b := range w.state().Live() {
		k := w.plans[b.ID].kind
		early := k == cancelled && (b.State == build.Queued || b.State == build.Bidding)
		if late := k == cancelledLate && b.State == build.Bidding && len(b.Bids) > 0; early || late {
			out = append(out, w.command(w.byID[b.Requester], build.TypeCancel, &build.Cancel{Build: b.ID}))
		}
	}
	return out
}

// coordinators do what the state asks of them: draws, acts, openings, vouching.
func (w *World) coordinators() []build.Command {
	s := w.state()
	var out []build.Command
	for _, d := range s.Demands() {
		if p := w.plans[d.Build]; p == nil || p.kind != expiring {
			out = append(out, w.demanded(d))
		}
	}
	for _, c := range w.Coordinators {
		for _, a := range s.AuctioneerDuties(c.ID) {
			b, _ := s.Build(a.Build)
			if p := w.plans[a.Build]; p.kind == idleAuction && b.AuctioneerRound == 0 {
				continue
			}
			out = append(out, w.command(c, build.TypeAuctioneer, &a))
		}
	}
	for _, d := range s.Openings() {
		var o build.Opening
		if w.unseal(d, &o) != nil {
			out = append(out, w.vouch(build.TypeMismatch, d.Build, d.Lease, d.Commitment))
			continue
		}
		out = append(out, w.command(nil, build.TypeOpening, &build.OpeningOf{Build: d.Build, Lease: d.Lease, Opening: o}))
	}
	for _, b := range s.Live() {
		if p := w.plans[b.ID]; b.State.Delivering() && p.kind != undelivered {
			out = append(out, w.vouch(build.TypeStored, b.ID, b.Attempts[b.Uploader].Lease(b.ID), b.Delivered))
		}
	}
	return out
}

// unseal opens what was lodged; the seals of a world are no ciphertexts, whose
// content nobody but coordinators could check anyway.
func (w *World) unseal(d raftfsm.OpeningDuty, o *build.Opening) error {
	var l build.Lodgement
	if err := wire.Decode(d.Lodged, &l); err != nil {
		return err
	}
	return wire.Decode(l.Sealed[0], o)
}

// vouch is signed by the first two coordinators: a majority.
func (w *World) vouch(t build.Type, of, lease, digest raftfsm.ID) build.Command {
	v := build.Vouched{Build: of, Lease: lease, Digest: digest}
	msg := build.VouchBytes(t, w.Cluster, of, lease, digest)
	for _, c := range w.Coordinators[:2] {
		v.Vouches = append(v.Vouches, build.Vouch{Coordinator: c.ID, Signature: c.sign(msg)})
	}
	return w.command(nil, t, &v)
}
