package audittest

import (
	"gavel/raftfsm"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// nuisances are what happens beside builds: money of the admin's, stakes, what
// is bought ahead, requests that are refused, entries that nothing can read.
func (w *World) nuisances(round int) []build.Command {
	k, r := w.workers[round%10], w.Requesters[round%len(w.Requesters)]
	switch {
	case round%40 == 3:
		return []build.Command{w.command(w.Admin, build.TypeMint, &build.Money{Account: r.ID, Amount: 50 * credit})}
	case round%40 == 7:
		return []build.Command{w.command(w.Admin, build.TypeBurn, &build.Money{Account: k.ID, Amount: credit})}
	case round%40 == 9:
		return []build.Command{w.command(w.Admin, build.TypeGrant, &build.Money{Account: k.ID, Amount: credit / 100})}
	case round%40 == 11:
		return []build.Command{w.command(k.Party, build.TypeStake, &build.Stake{Amount: 5 * credit}), w.command(k.Party, build.TypeStake, &build.Stake{Amount: -3 * credit})}
	case round%40 == 13:
		return []build.Command{w.command(r, build.TypeLeaseBid, &build.LeaseBid{Pool: poolLease, First: 1, Last: uint8(1 + round%3), PerPeriod: credit + escrow.Credits(round%5)*credit/10})}
	case round%80 == 15:
		return []build.Command{w.command(w.Admin, build.TypeCommunity, &build.Lend{Pool: poolLease, Holder: w.Requesters[0].ID, Periods: 1})}
	case round%40 == 17:
		return []build.Command{w.command(r, build.TypeTickets, &build.BuyTickets{Pool: poolLottery, Count: 2})}
	case round%40 == 19:
		return w.refusals(k, r)
	case round%80 == 21:
		w.sendRaw([]byte("no batch at all"))
	case round%40 == 22:
		w.forge()
	case round == 23:
		newcomer := newParty("newcomer")
		w.byID[newcomer.ID] = newcomer
		return []build.Command{w.command(newcomer, build.TypeOpen, &build.Open{Key: newcomer.PKIX, Name: newcomer.Name})}
	case w.changesKeys && round > 26 && round < 34:
		return w.changeKeys(round)
	case round == 25:
		return []build.Command{w.command(w.Admin, build.TypePool, &build.MakePool{Pool: build.Pool{Name: "later", Lane: build.LaneSpot, Domain: build.DomainOperator, Shares: poolSpot}})}
	}
	return nil
}

// forge proposes a forged signature for the first draw that is demanded, beside
// one for a draw that is not: both are refused, for different reasons.
func (w *World) forge() {
	for _, d := range w.state().Demands() {
		forged := &build.Beacon{Purpose: d.Purpose, Build: d.Build, Round: d.Round, Signature: w.GroupSign([]byte("something else"))}
		w.sendChecked(w.command(nil, build.TypeBeacon, forged), w.command(nil, build.TypeBeacon, &build.Beacon{Purpose: "nothing"}))
		return
	}
}

// changeKeys replaces a requester's key, then the cluster's, and revokes a
// newcomer's, which the admin replaces.
func (w *World) changeKeys(round int) []build.Command {
	replace := func(account raftfsm.ID, old, next *Party) *build.Rotate {
		msg := build.RotationBytes(w.Cluster, account, build.AccountID(old.PKIX), build.AccountID(next.PKIX))
		return &build.Rotate{Account: account, OldKey: build.AccountID(old.PKIX), NewKey: next.PKIX, Possession: next.sign(msg), Old: old.sign(msg), Reason: "its time has come"}
	}
	switch round {
	case 27:
		old, next := w.Requesters[1], newParty("requester-2 again")
		p := replace(old.ID, old, next)
		p.Old = nil // the command is signed by it
		out := w.send(w.command(old, build.TypeRotate, p))
		if out[0].Code != build.Done {
			panic("audittest: " + out[0].Detail)
		}
		old.PKIX, old.private = next.PKIX, next.private
	case 29:
		next := newParty("cluster again")
		out := w.send(w.command(w.Admin, build.TypeRotate, replace(build.ClusterKeyID(w.Cluster), w.ClusterKey, next)))
		if out[0].Code != build.Done {
			panic("audittest: " + out[0].Detail)
		}
		w.ClusterKey = next
		w.clusterKeys[string(next.PKIX)] = next
	case 31:
		id := newParty("newcomer").ID
		return []build.Command{w.command(w.Admin, build.TypeRevoke, &build.Revoke{Account: id, Key: id, Reason: "lost"})}
	case 33: // refused: it is revoked
		return []build.Command{w.command(w.byID[newParty("newcomer").ID], build.TypeRevoke, &build.Revoke{Account: w.Requesters[0].ID, Key: w.Requesters[0].ID})}
	}
	return nil
}

// refusals are requests that the farm does not carry out.
func (w *World) refusals(k *worker, r *Party) []build.Command {
	foreign := w.command(r, build.TypeMint, &build.Money{Account: r.ID, Amount: 1000 * credit})
	unsigned := w.command(k.Party, build.TypeStake, &build.Stake{Amount: credit})
	unsigned.Signature[3] ^= 1
	poor := w.command(k.Party, build.TypeStake, &build.Stake{Amount: 9_000_000 * credit})
	late := w.command(k.Party, build.TypeUpdate, &build.Update{Platforms: []string{"host"}})
	late.ValidUntilMillis = w.state().Now() - 1
	late.Signature = k.sign(late.SigningBytes(w.Cluster))
	stale := w.command(nil, build.TypeBeacon, &build.Beacon{Purpose: build.PurposeSeats, Build: raftfsm.ID{9}, Signature: [48]byte{1}})
	return []build.Command{foreign, unsigned, poor, late, stale, {Version: 9, Type: build.TypeTick, Payload: wire.Encode(&build.Tick{})}}
}
