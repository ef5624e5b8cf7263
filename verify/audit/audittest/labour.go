package audittest

import (
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
	"gavel/verify/attest"
)

func creditsOf(n int64) escrow.Credits { return escrow.Credits(n) }

// working is what workers do of what is asked of them.
func (w *World) working() []build.Command {
	var out []build.Command
	for n, k := range w.workers {
		a := w.state().Assignments(k.ID)
		if a.Absent {
			out = append(out, w.command(k.Party, build.TypeUpdate, &build.Update{Platforms: []string{"host"}}))
		}
		for i := range a.Auctions {
			if o := &a.Auctions[i]; !o.Committed && w.bids(n, o) {
				out = append(out, w.bid(n, k, o))
			}
		}
		for _, d := range a.Reveals {
			if m, ok := w.reveal(k, d); ok {
				out = append(out, m)
			}
		}
		for _, d := range a.Asks {
			if m, ok := w.ask(n, k, d); ok {
				out = append(out, m)
			}
		}
		for i := range a.Leases {
			out = append(out, w.labour(n, k, &a.Leases[i])...)
		}
	}
	return out
}

// bids says whether a worker bids: four or five do for each build.
func (w *World) bids(n int, o *raftfsm.AuctionOffer) bool {
	p := w.plans[o.Build]
	return p.kind != unwanted && (p.kind == defaulting || n%2 == p.order%2)
}

func slotOf(auction, worker raftfsm.ID) raftfsm.ID {
	return wire.NewHasher("audittest-slot").Fixed(auction).Fixed(worker).Sum()
}

func (w *World) bid(n int, k *worker, o *raftfsm.AuctionOffer) build.Command {
	p := w.plans[o.Build]
	r := build.Reveal{Build: o.Build, Auction: o.Auction, Price: credit + escrow.Credits((n*7+p.order)%10)*credit/4, FinishMillis: int64(500 + n)}
	r.Nonce = slotOf(o.Auction, k.ID)
	w.nonces[r.Nonce] = r
	return w.command(k.Party, build.TypeBid, &build.PlaceBid{Build: o.Build, Auction: o.Auction,
		Commitment: build.BidCommitment(w.Cluster, o.Auction, k.ID, r.Price, r.FinishMillis, r.Result, r.Nonce)})
}

func (w *World) reveal(k *worker, d raftfsm.RevealDuty) (build.Command, bool) {
	r := w.nonces[slotOf(d.Auction, k.ID)]
	b, _ := w.state().Build(d.Build)
	if p := w.plans[d.Build]; len(b.Bids) > 1 && b.Bids[0].Worker == k.ID {
		switch p.kind {
		case withheld:
			return build.Command{}, false
		case misrevealed:
			r.Price++
		}
	}
	return w.command(k.Party, build.TypeReveal, &r), true
}

// ask seals an ask for every epoch, and opens it; now and then one stays shut.
func (w *World) ask(n int, k *worker, d raftfsm.AskDuty) (build.Command, bool) {
	epoch := d.Epoch
	if d.Opens > 0 {
		epoch = d.Opens
	}
	market, _ := w.state().Market(d.Pool)
	nonce := wire.NewHasher("audittest-ask").Fixed(market.ID).Fixed(k.ID).U64(epoch).Sum()
	price := d.Reserve / 20 * escrow.Credits(1+(uint64(n)+epoch)%9)
	capacity := 1 + (uint64(n)*3+epoch)%4
	switch {
	case d.Opens > 0 && n == 9 && epoch%4 == 3:
		return build.Command{}, false
	case d.Opens > 0:
		return w.command(k.Party, build.TypeOpenAsk, &build.OpenAsk{Pool: d.Pool, Epoch: epoch, Price: price, Capacity: capacity, Nonce: nonce}), true
	case d.Sealed || n%2 == 0:
		return build.Command{}, false
	}
	return w.command(k.Party, build.TypeAsk, &build.PlaceAsk{Pool: d.Pool, Epoch: epoch,
		Commitment: build.AskCommitment(w.Cluster, market.ID, epoch, k.ID, price, capacity, nonce)}), true
}

// labour starts a lease, and when it has started commits to a result.
func (w *World) labour(n int, k *worker, l *raftfsm.Lease) []build.Command {
	b, _ := w.state().Build(l.Build)
	p := w.plans[l.Build]
	attempt := b.Attempt(l.Lease)
	switch {
	case p.kind == defaulting && l.Builder && len(b.Penalties) == 0,
		p.kind == silentSeat && attempt.Seat == 1 && attempt.Ordinal == 0 && len(b.Attempts) == 3,
		p.kind == tooFew && attempt.Seat == 1,
		p.kind == silentPanel && attempt.Round == build.RoundPanel:
		return nil
	}
	if !l.Started {
		out := []build.Command{w.command(k.Party, build.TypeStart, &build.LeaseRef{Build: l.Build, Lease: l.Lease})}
		if p.order%8 == 3 {
			out = append(out, w.command(k.Party, build.TypeHeartbeat, &build.LeaseRef{Build: l.Build, Lease: l.Lease}))
		}
		return out
	}
	content, status := w.content(p, k, b, l)
	return []build.Command{w.commit(p, k, b, attempt, content, status)}
}

// commit commits to a result and lodges its opening, the statement signed.
func (w *World) commit(p *plan, k *worker, b *build.Build, a *build.Attempt, content string, status build.Status) build.Command {
	m := w.result(p, content, status)
	o := build.Opening{Summary: m.Summarise(), StartedWallMillis: w.clock, FinishedWallMillis: w.clock + 900 + int64(p.order%7)*100}
	o.Nonce = wire.NewHasher("audittest-nonce").Fixed(a.Lease(b.ID)).Sum()
	if v := b.VariedBy(a); v != 0 {
		o.Findings = build.Findings{Finding: build.FindSame, Tried: v}
	}
	copied := *a
	copied.Opening, copied.Class = o, k.class
	statement, err := w.Provenance(b, &copied).Statement()
	if err != nil {
		panic("audittest: " + err.Error()) // what is built here can be stated
	}
	o.Signature = k.sign(attest.Payload(statement))
	if p.kind == badlySigned && a.Seat == 2 {
		o.Signature[5] ^= 1
	}
	sealed := wire.Encode(&o)
	lodged := wire.Encode(&build.Lodgement{Sealed: [][]byte{sealed, sealed, sealed}})
	if p.kind == mismatched && a.Seat == 2 && a.Round == build.RoundFirst {
		lodged = wire.Encode(&build.Lodgement{Sealed: [][]byte{{1}, {2}, {3}}})
	}
	return w.command(k.Party, build.TypeCommit, &build.Commit{
		Build: b.ID, Lease: a.Lease(b.ID), Lodged: lodged, Commitment: o.Commitment(w.Cluster, k.ID, b.ID),
	})
}

// Provenance is what the author of an attempt states.
func (w *World) Provenance(b *build.Build, a *build.Attempt) *attest.Provenance {
	k, _ := w.state().Worker(a.Worker)
	role := attest.RoleValidator
	if a.Round == build.RoundFirst && a.Seat == 0 {
		role = attest.RoleBuilder
	}
	order := w.orders[b.ID]
	blob := func(what string) attest.Digest {
		return attest.Digest{SHA256: wire.NewHasher("audittest-" + what).U64(uint64(order)).Sum(), SizeBytes: 140}
	}
	return &attest.Provenance{
		Cluster: w.Cluster, Build: b.ID, Role: role, Simulated: w.Genesis.Simulated,
		Builder: attest.Builder{Name: k.Name, Operator: k.Operator, Key: k.ID, Class: a.Class},
		Action:  blob("action"), Command: blob("command"), InputRoot: blob("input"), Argv: []string{"make", "-j2"},
		Env: []attest.EnvVar{{Name: "MODE", Value: "release"}}, Platform: "host", Outputs: []string{"bin"},
		TimeoutMillis: b.Terms.TimeoutMillis, SourceDateEpoch: 315532800,
		Result: w.Manifests[a.Opening.Summary.Content], StartedMillis: a.Opening.StartedWallMillis, FinishedMillis: a.Opening.FinishedWallMillis,
	}
}
