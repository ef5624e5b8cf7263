package audit

import (
	"slices"

	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// tamperedCommands change what somebody asked for, proved or signed.
var tamperedCommands = []tampering{
	{"a reveal's price", func(x *attack) { payload(x, build.TypeReveal, func(p *build.Reveal) { p.Price-- }) }, "(reveal)", 0},
	{"a sealed bid", func(x *attack) { payload(x, build.TypeBid, func(p *build.PlaceBid) { p.Commitment[0] ^= 1 }) }, "(bid)", 0},
	{"a maximum price", func(x *attack) { payload(x, build.TypeSubmit, func(p *build.Submit) { p.Terms.Budget++ }) }, "(submit)", 0},
	{"a sealed ask", func(x *attack) { payload(x, build.TypeOpenAsk, func(p *build.OpenAsk) { p.Price++ }) }, "(open ask)", 0},
	{"a lease bid", func(x *attack) { payload(x, build.TypeLeaseBid, func(p *build.LeaseBid) { p.PerPeriod++ }) }, "(lease bid)", 0},
	{"a ticket more", func(x *attack) { payload(x, build.TypeTickets, func(p *build.BuyTickets) { p.Count++ }) }, "(tickets)", 0},
	{"an auctioneer's act", func(x *attack) {
		payload(x, build.TypeAuctioneer, func(p *build.Auctioneer) { p.Act = build.ActClose })
	}, "(auctioneer)", 0},
	{"an opened result", func(x *attack) {
		payload(x, build.TypeOpening, func(p *build.OpeningOf) { p.Opening.Summary.Content[3] ^= 1 })
	}, "(opening)", 0},
	{"a commitment", func(x *attack) { payload(x, build.TypeCommit, func(p *build.Commit) { p.Commitment[1] ^= 1 }) }, "(commit)", 0},
	{"a vouch by one coordinator", func(x *attack) {
		payload(x, build.TypeStored, func(p *build.Vouched) { p.Vouches = p.Vouches[:1] })
	}, "(stored)", 0},
	{"a grant", func(x *attack) { payload(x, build.TypeGrant, func(p *build.Money) { p.Amount *= 2 }) }, "(grant)", 0},
	{"a draw signature of another draw", func(x *attack) {
		other := new(build.Beacon)
		i, j := x.command(build.TypeBeacon, other, func() bool { return other.Purpose == build.PurposeSeats })
		sig := x.World.GroupSign([]byte("of another draw"))
		_ = i
		swap(x, i, j, other, sig)
	}, "(beacon) signature", 50},
	{"a draw signature that is no point", func(x *attack) {
		p := new(build.Beacon)
		i, j := x.command(build.TypeBeacon, p, func() bool { return p.Purpose == build.PurposeAward })
		swap(x, i, j, p, [48]byte{0x80, 1})
	}, "(beacon) signature", 50},
	{"a tick", func(x *attack) {
		p := new(build.Tick)
		i, j := x.command(build.TypeTick, p, func() bool { return p.ElapsedMillis == 150 })
		p.ElapsedMillis = 3_150
		x.rewrite(i, j, func(m *build.Command) { m.Payload = wire.Encode(p) })
	}, "", 8},
	{"two ticks swapped with what lay between", func(x *attack) {
		p := new(build.Tick)
		i, _ := x.command(build.TypeTick, p, func() bool { return p.ElapsedMillis == 150 })
		x.Entries[i].Data, x.Entries[i+1].Data = x.Entries[i+1].Data, x.Entries[i].Data
		x.Entries[i].Codes, x.Entries[i+1].Codes = x.Entries[i+1].Codes, x.Entries[i].Codes
		x.redo()
	}, "", 8},
	{"a command dropped from an entry", func(x *attack) {
		i, j := x.command(build.TypeReveal, new(build.Reveal), nil)
		var batch build.Batch
		check(x.t, wire.Decode(x.Entries[i].Data, &batch))
		batch.Commands = slices.Delete(batch.Commands, j, j+1)
		x.Entries[i].Codes = slices.Delete(slices.Clone(x.Entries[i].Codes), j, j+1)
		x.Entries[i].Data = wire.Encode(&batch)
		x.redo()
	}, "", 8},
	{"an entry dropped", func(x *attack) {
		i, _ := x.command(build.TypeBid, new(build.PlaceBid), nil)
		x.Entries = slices.Delete(x.Entries, i, i+1)
		x.redo()
	}, "", 8},
	{"a bid censored, and the market after it made anew", censor, "(beacon) signature", 50},
}

// swap puts another signature into a beacon's command.
func swap(x *attack, i, j int, p *build.Beacon, sig [48]byte) {
	p.Signature = sig
	x.rewrite(i, j, func(m *build.Command) { m.Payload = wire.Encode(p) })
}

// censor leaves a bid out, runs the state machine over the rest as if it had never
// been made, and signs certificates itself, since the group does not.
func censor(x *attack) {
	i, j := x.command(build.TypeBid, new(build.PlaceBid), nil)
	replay := must(raftfsm.NewReplay(x.Genesis))
	w := *x.World
	w.Entries, w.Applied = nil, nil
	x.leaf = beside
	for n := range x.Entries {
		data := x.Entries[n].Data
		var batch build.Batch
		if wire.Decode(data, &batch) == nil {
			if n == i {
				batch.Commands = slices.Delete(batch.Commands, j, j+1)
			}
			forge(replay.State(), batch.Commands)
			data = wire.Encode(&batch)
		}
		apply := replay.Apply
		if slices.Contains(x.Entries[n].Codes, uint32(build.CodeBadBeacon)) {
			apply = replay.ApplyChecked
		}
		w.Applied = append(w.Applied, apply(x.Entries[n].Index, data))
	}
	s := must(w.Serve())
	x.Served = s
	// The first certificate that the group had not signed is where it shows.
	var last *raftfsm.Entry
	for n := range s.Entries {
		if s.Entries[n].Index >= small().Entries[i].Index {
			last = &s.Entries[n]
			p := new(build.Beacon)
			var batch build.Batch
			if wire.Decode(last.Data, &batch) != nil {
				continue
			}
			for c := range batch.Commands {
				if batch.Commands[c].Type == build.TypeBeacon && wire.Decode(batch.Commands[c].Payload, p) == nil && p.Signature == forgedSignature && last.Codes[c] == 0 {
					x.leaf = x.epochOf(n)
					return
				}
			}
		}
	}
	x.t.Fatal("nothing was forged")
}

var forgedSignature = small().World.GroupSign([]byte("anything"))

// forge makes certificate commands say what the state asks for.
func forge(s *raftfsm.State, commands []build.Command) {
	for i := range commands {
		var p build.Beacon
		if commands[i].Type != build.TypeBeacon || wire.Decode(commands[i].Payload, &p) != nil || p.Purpose != build.PurposeCertificate {
			continue
		}
		for _, d := range s.Demands() {
			if d.Purpose == build.PurposeCertificate && d.Build != p.Build {
				p.Build, p.Signature = d.Build, forgedSignature
				commands[i].Payload = wire.Encode(&p)
			}
		}
	}
}

// tamperedRecords change what the log says came of a command.
var tamperedRecords = []tampering{
	{"a fee", func(x *attack) {
		x.movement(escrow.Moved, func(e *raftfsm.Entry, m *escrow.Movement) {
			m.Amount++
			x.shift(e, m.From, -1)
			x.shift(e, m.To, 1)
		})
	}, "amount", 0},
	{"a slash that the slashed gets back", func(x *attack) {
		x.movement(escrow.Posted, func(e *raftfsm.Entry, m *escrow.Movement) {
			x.shift(e, m.To, -m.Amount)
			x.shift(e, m.From, m.Amount)
			m.To = m.From
		})
	}, "to", 4},
	{"a movement left out", func(x *attack) {
		x.movement(escrow.Moved, func(e *raftfsm.Entry, m *escrow.Movement) {
			e.Movements = slices.DeleteFunc(e.Movements, func(o escrow.Movement) bool { return o.ID == m.ID })
		})
	}, "movements", 8},
	{"a balance", func(x *attack) {
		x.movement(escrow.Moved, func(e *raftfsm.Entry, m *escrow.Movement) { x.shift(e, m.To, 1) })
	}, "balance", 3},
	{"minted credits", func(x *attack) {
		x.movement(escrow.Moved, func(e *raftfsm.Entry, m *escrow.Movement) {
			e.Movements = append(e.Movements, escrow.Movement{ID: escrow.TransferID{1}, Kind: escrow.Minted, To: m.To, Amount: 1000})
			x.shift(e, m.To, 1000)
		})
	}, "movements", 0},
	{"a stake", func(x *attack) {
		x.movement(escrow.Deposited, func(e *raftfsm.Entry, m *escrow.Movement) {
			for i := range e.Balances {
				if e.Balances[i].Account == m.To {
					e.Balances[i].Stake++
					e.Balances[i].Available--
				}
			}
		})
	}, "balance", 0},
	{"a refused command that was accepted", func(x *attack) {
		for i := range x.Entries {
			if j := slices.Index(x.Entries[i].Codes, uint32(build.CodeNotAllowed)); j >= 0 {
				x.Entries[i].Codes = slices.Clone(x.Entries[i].Codes)
				x.Entries[i].Codes[j] = uint32(build.Done)
				x.leaf = x.epochOf(i)
				break
			}
		}
		x.redo()
	}, "command", 0},
	{"an accepted command that was refused", func(x *attack) {
		i, j := x.command(build.TypeBid, new(build.PlaceBid), nil)
		x.Entries[i].Codes = slices.Clone(x.Entries[i].Codes)
		x.Entries[i].Codes[j] = uint32(build.CodeFunds)
		x.redo()
	}, "(bid)", 0},
}
