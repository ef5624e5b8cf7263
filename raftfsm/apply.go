package raftfsm

import (
	"fmt"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// must turns a broken invariant into a panic: going on would spread it.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("raftfsm: broken invariant: %v", err))
	}
}

// applyEntry carries out one Raft entry. It is total: what cannot be decoded or
// is not allowed leaves the state as it was and says so in its outcome.
func (s *State) applyEntry(index uint64, data []byte) Applied {
	s.index = index
	var batch build.Batch
	if err := wire.Decode(data, &batch); err != nil {
		return s.conclude(index, data, []build.Outcome{build.Refuse(build.CodeMalformed, "%v", err)})
	}
	proven := s.proveBeacons(batch.Commands)
	outcomes := make([]build.Outcome, len(batch.Commands))
	for i := range batch.Commands {
		outcomes[i] = s.apply(&batch.Commands[i], proven)
	}
	s.dispatch()
	s.forgetSettled()
	s.spendIncome()
	return s.conclude(index, data, outcomes)
}

// apply carries out one command.
func (s *State) apply(m *build.Command, proven map[[48]byte]bool) build.Outcome {
	if m.Version != build.Version {
		return build.Refuse(build.CodeMalformed, "command version %d, this binary knows %d", m.Version, build.Version)
	}
	if !m.Type.Signed() {
		return s.applyProven(m, proven)
	}
	if out := s.admissible(m); out.Code != build.Done {
		return out
	}
	if out := s.mayUse(m); out.Code != build.Done {
		return out
	}
	if !once(m.Type) {
		return s.applySigned(m)
	}
	key := requestKey(m)
	if r, ok := s.requests[key]; ok {
		return r.Outcome
	}
	if out := s.roomForRequest(m.Sender); out.Code != build.Done {
		return out
	}
	out := s.applySigned(m)
	if out.Code == build.Done {
		s.addRequest(key, &request{Sender: m.Sender, ValidUntil: m.ValidUntilMillis, Outcome: out})
	}
	return out
}

// once says of which commands the request id must be remembered, because
// carrying them out again would change something. All others find their work done.
func once(t build.Type) bool {
	switch t {
	case build.TypeAdmit, build.TypeMint, build.TypeBurn, build.TypeGrant, build.TypeRegister, build.TypeStake, build.TypeSubmit,
		build.TypeAsk, // one that was replaced must not come back
		build.TypeChallenge, build.TypeHandover,
		build.TypePool, build.TypeLeaseBid, build.TypeTickets, build.TypeCommunity:
		return true
	}
	return false
}

func requestKey(m *build.Command) ID {
	return wire.NewHasher("request").Fixed(m.Sender).Var(m.Request[:]).Sum()
}

// admissible checks a signed command's time and signature.
func (s *State) admissible(m *build.Command) build.Outcome {
	if m.ValidUntilMillis < s.now {
		return build.Refuse(build.CodeStale, "the command was valid until farm time %d, it is %d", m.ValidUntilMillis, s.now)
	}
	if m.ValidUntilMillis > s.now+maxValidAheadMillis {
		return build.Refuse(build.CodeMalformed, "the command is valid for more than an hour ahead")
	}
	key, out := s.SenderKey(m)
	if out.Code != build.Done {
		return out
	}
	if err := s.verify.signature(key, m.SigningBytes(s.cluster), m.Signature); err != nil {
		return build.Refuse(build.CodeBadSignature, "%v", err)
	}
	return build.Outcome{}
}

// SenderKey is the key a command must be signed with: the account's, or, for
// commands that make the account, the one they carry. A rotation that comes again
// carries the signature of the key that it has replaced.
func (s *State) SenderKey(m *build.Command) ([]byte, build.Outcome) {
	if a, ok := s.accounts[m.Sender]; ok {
		var p build.Rotate
		if m.Type == build.TypeRotate && wire.Decode(m.Payload, &p) == nil && p.Account == m.Sender && s.rotated(&p, a.Key) {
			events := s.keyrings[m.Sender].Events
			return events[len(events)-1].OldKey, build.Outcome{}
		}
		return a.Key, build.Outcome{}
	}
	var key []byte
	switch m.Type {
	case build.TypeOpen:
		var p build.Open
		if err := wire.Decode(m.Payload, &p); err != nil {
			return nil, build.Refuse(build.CodeMalformed, "%v", err)
		}
		key = p.Key
	case build.TypeRegister:
		var p build.Register
		if err := wire.Decode(m.Payload, &p); err != nil {
			return nil, build.Refuse(build.CodeMalformed, "%v", err)
		}
		key = p.Key
	default:
		return nil, build.Refuse(build.CodeUnknownAccount, "the sender has no account")
	}
	if build.AccountID(key) != m.Sender {
		return nil, build.Refuse(build.CodeNotAllowed, "the sender is not the key it presents")
	}
	return key, build.Outcome{}
}

// decoded runs a handler on a command's payload.
func decoded[T any, P interface {
	*T
	wire.Record
}](m *build.Command, handle func(P) build.Outcome) build.Outcome {
	p := P(new(T))
	if err := wire.Decode(m.Payload, p); err != nil {
		return build.Refuse(build.CodeMalformed, "%v", err)
	}
	return handle(p)
}

// applySigned carries out a command whose signature holds.
func (s *State) applySigned(m *build.Command) build.Outcome {
	sender := m.Sender
	switch m.Type {
	case build.TypeDeal, build.TypeComplain, build.TypeJustify, build.TypeAuctioneer:
		return s.applyMember(m)
	case build.TypeAdmit, build.TypeMint, build.TypeBurn, build.TypeGrant, build.TypePool, build.TypeCommunity, build.TypeHandover:
		return s.applyAdmin(m)
	case build.TypeRevoke:
		return decoded(m, func(p *build.Revoke) build.Outcome { return s.revoke(sender, p) })
	case build.TypeRotate:
		return decoded(m, func(p *build.Rotate) build.Outcome { return s.rotate(sender, p) })
	case build.TypeOpen:
		return decoded(m, func(p *build.Open) build.Outcome {
			return s.openAccount(sender, p.Key, p.Name, s.operatorOf(sender), escrow.Requester)
		})
	case build.TypeRegister:
		return decoded(m, func(p *build.Register) build.Outcome { return s.register(sender, p) })
	case build.TypeStake:
		return decoded(m, func(p *build.Stake) build.Outcome { return s.stake(requestKey(m), sender, p.Amount) })
	case build.TypeSubmit:
		return decoded(m, func(p *build.Submit) build.Outcome { return s.submit(sender, m.Request, &p.Terms) })
	case build.TypeChallenge:
		return decoded(m, func(p *build.Challenge) build.Outcome { return s.challenge(sender, m.Request, p) })
	case build.TypeCancel:
		return decoded(m, func(p *build.Cancel) build.Outcome {
			return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome { return b.Cancel(e, sender) })
		})
	}
	if m.Type == build.TypeLeaseBid || m.Type == build.TypeTickets {
		return s.applyBuyer(m)
	}
	return s.applyWorker(m)
}

// applyMember carries out a coordinator's command.
func (s *State) applyMember(m *build.Command) build.Outcome {
	if s.ShareIndex(m.Sender) == 0 {
		return build.Refuse(build.CodeNotAllowed, "only a coordinator may do this")
	}
	switch m.Type {
	case build.TypeDeal:
		return decoded(m, func(p *build.Deal) build.Outcome { return s.deal(m.Sender, p) })
	case build.TypeComplain:
		return decoded(m, func(p *build.Complain) build.Outcome { return s.complain(m.Sender, p) })
	case build.TypeJustify:
		return decoded(m, func(p *build.Justify) build.Outcome { return s.justify(m.Sender, p) })
	}
	return decoded(m, func(p *build.Auctioneer) build.Outcome {
		return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome { return b.Perform(e, m.Sender, p) })
	})
}

// applyWorker carries out a worker's command; any of them ends its absence.
func (s *State) applyWorker(m *build.Command) build.Outcome {
	w, ok := s.workers[m.Sender]
	if !ok {
		return build.Refuse(build.CodeNotAllowed, "only a registered worker may do this")
	}
	if w.Absent {
		w.Absent = false
		s.touch(kindWorker, w.ID)
	}
	switch m.Type {
	case build.TypeUpdate:
		return decoded(m, func(p *build.Update) build.Outcome { return s.update(w, p) })
	case build.TypeBid:
		return decoded(m, func(p *build.PlaceBid) build.Outcome {
			return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome { return b.Bid(e, w, p) })
		})
	case build.TypeReveal:
		return decoded(m, func(p *build.Reveal) build.Outcome {
			return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome { return b.Reveal(e, w.ID, p) })
		})
	case build.TypeAsk:
		return decoded(m, func(p *build.PlaceAsk) build.Outcome {
			return s.onMarket(p.Pool, func(e *build.Env, k *build.Market) build.Outcome { return k.Ask(e, w, p) })
		})
	case build.TypeOpenAsk:
		return decoded(m, func(p *build.OpenAsk) build.Outcome {
			return s.onMarket(p.Pool, func(e *build.Env, k *build.Market) build.Outcome { return k.OpenAsk(e, w, p) })
		})
	case build.TypeCommit:
		return decoded(m, func(p *build.Commit) build.Outcome {
			return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome { return b.Commit(e, w.ID, p) })
		})
	case build.TypeStart, build.TypeHeartbeat, build.TypeAbandon:
		return decoded(m, func(p *build.LeaseRef) build.Outcome {
			return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome {
				switch m.Type {
				case build.TypeStart:
					return b.Start(e, w.ID, p.Lease)
				case build.TypeHeartbeat:
					return b.Heartbeat(e, w.ID, p.Lease)
				}
				return b.Abandon(e, w.ID, p.Lease)
			})
		})
	}
	return build.Refuse(build.CodeMalformed, "unknown %v", m.Type)
}

// applyProven carries out a command that carries its own proof.
func (s *State) applyProven(m *build.Command, proven map[[48]byte]bool) build.Outcome {
	switch m.Type {
	case build.TypeTick:
		return decoded(m, s.tick)
	case build.TypeBeacon:
		return decoded(m, func(p *build.Beacon) build.Outcome { return s.beacon(p, proven) })
	case build.TypeOpening:
		return decoded(m, func(p *build.OpeningOf) build.Outcome {
			return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome { return b.Open(e, p) })
		})
	case build.TypeMismatch, build.TypeStored:
		return decoded(m, func(p *build.Vouched) build.Outcome {
			if out := s.vouched(m.Type, p); out.Code != build.Done {
				return out
			}
			return s.onBuild(p.Build, func(e *build.Env, b *build.Build) build.Outcome {
				if m.Type == build.TypeMismatch {
					return b.Mismatch(e, p)
				}
				return b.Stored(e, p)
			})
		})
	}
	return build.Refuse(build.CodeMalformed, "unknown %v", m.Type)
}

// onBuild runs a transition on a build and keeps the indexes true.
func (s *State) onBuild(id ID, transition func(*build.Env, *build.Build) build.Outcome) build.Outcome {
	b, ok := s.builds[id]
	if !ok {
		return build.Refuse(build.CodeUnknownBuild, "no such build here, or it settled long ago")
	}
	pool, _ := s.Pool(b.Terms.Pool)
	e, done := s.env(pool)
	out := transition(e, b)
	if out.Code == build.Done {
		s.changed(b)
	}
	done()
	return out
}

// changed keeps the indexes true after a transition of b.
func (s *State) changed(b *build.Build) {
	b.Version++
	s.touch(kindBuild, b.ID)
	s.deadlines.set(b)
	s.queueOf(b.Terms.Pool).set(b)
	if _, live := s.live[b.ID]; live && b.State == build.Settled {
		delete(s.live, b.ID)
		s.settlements++
		b.SettledOrder = s.settlements
		s.settled = append(s.settled, b.ID)
		s.remember(b)
		s.settledNow(b)
	}
}

// forgetSettled drops the oldest settled builds beyond what is retained; by then every
// node has archived them.
func (s *State) forgetSettled() {
	for len(s.settled) > s.retained {
		old := s.builds[s.settled[0]]
		if key := build.CacheKey(old.Requester, &old.Terms); s.verified[key] == old.ID {
			delete(s.verified, key)
		}
		delete(s.builds, s.settled[0])
		s.touch(kindBuild, s.settled[0])
		s.settled = s.settled[1:]
	}
}

// tick advances farm time and does all that has become due, in the order of
// deadlines, ties by build id.
func (s *State) tick(m *build.Tick) build.Outcome {
	if m.ElapsedMillis < 0 || m.ElapsedMillis > maxElapsedMillis {
		return build.Refuse(build.CodeMalformed, "a tick of %d ms, want 0 to %d", m.ElapsedMillis, maxElapsedMillis)
	}
	s.now += m.ElapsedMillis
	s.wall = m.WallMillis
	for {
		id, ok := s.deadlines.due(s.now)
		if !ok {
			break
		}
		b := s.builds[id]
		pool, _ := s.Pool(b.Terms.Pool)
		e, done := s.env(pool)
		b.Expire(e)
		s.changed(b)
		done()
	}
	s.expireMarkets()
	if d := s.keys.Deadline; d > 0 && d <= s.now {
		s.concludeKeys(&s.keys)
		s.touch(kindKeys, ID{})
	}
	if h := s.succession.open(); h != nil && h.Next.Deadline > 0 && h.Next.Deadline <= s.now {
		s.advanceHandover()
	}
	for len(s.unbonds) > 0 && s.unbonds[0].At <= s.now {
		u := s.unbonds[0]
		must(s.ledger.Post(u.Hold, []escrow.Part{{To: u.Account, Amount: u.Amount, Purpose: "unbond"}}))
		must(s.ledger.Retire(u.Hold))
		s.unbonds = s.unbonds[1:]
		if s.unbondingOf[u.Account] -= u.Amount; s.unbondingOf[u.Account] == 0 {
			delete(s.unbondingOf, u.Account)
		}
		s.touch(kindUnbonding, ID{})
	}
	return build.Outcome{}
}

// proveBeacons verifies all beacon signatures of an entry together (two
// pairings for many); where that fails each is verified when its turn comes.
func (s *State) proveBeacons(commands []build.Command) map[[48]byte]bool {
	if !s.keys.Done {
		return nil
	}
	var msgs [][]byte
	var sigs []beacon.Signature
	for i := range commands {
		var p build.Beacon
		if commands[i].Type != build.TypeBeacon || wire.Decode(commands[i].Payload, &p) != nil {
			continue
		}
		msgs = append(msgs, beacon.Message(s.cluster, p.Purpose, p.Build, p.Round))
		sigs = append(sigs, beacon.Signature(p.Signature))
	}
	if len(sigs) < 2 || s.verify.beacons(s.keys.Group.Key, msgs, sigs) != nil {
		return nil
	}
	proven := map[[48]byte]bool{}
	for i := range sigs {
		proven[provenKey(s.keys.Group.Key, msgs[i], sigs[i])] = true
	}
	return proven
}

// provenKey names what was verified: it holds under one key, and a handover may be
// among an entry's commands.
func provenKey(key beacon.GroupKey, msg []byte, sig beacon.Signature) [48]byte {
	h := wire.NewHasher("proven").Var(key[:]).Var(msg).Var(sig[:]).Sum()
	var k [48]byte
	copy(k[:], h[:])
	return k
}

// beacon applies a signature that a build or a market demands.
func (s *State) beacon(m *build.Beacon, proven map[[48]byte]bool) build.Outcome {
	if !s.keys.Done {
		return build.Refuse(build.CodeNotReady, "there is no group key yet")
	}
	// check says whether the signature is what a demand, if there is one, waits for.
	check := func(d build.Demand, demanded bool) build.Outcome {
		if !demanded || d.Purpose != m.Purpose || d.Round != m.Round {
			return build.Refuse(build.CodeStale, "nothing waits for this draw")
		}
		return s.checkBeacon(m, proven)
	}
	if m.Purpose == build.PurposeCertificate {
		return s.certify(m, proven)
	}
	if m.Purpose == build.PurposeHandover {
		return s.completeHandover(m, proven)
	}
	seed := beacon.Randomness(beacon.Signature(m.Signature))
	if pool, ok := s.marketPool(m.Build); ok {
		return s.onMarket(pool, func(e *build.Env, k *build.Market) build.Outcome {
			d, ok := k.Demand()
			out := check(d, ok)
			if out.Code == build.Done {
				k.Drawn(e, d, m.Signature, seed)
			}
			return out
		})
	}
	return s.onBuild(m.Build, func(e *build.Env, b *build.Build) build.Outcome {
		d, ok := b.Demand(e.Pool.Lane)
		out := check(d, ok)
		if out.Code == build.Done {
			b.Drawn(e, d, m.Signature, seed)
		}
		return out
	})
}

// vouched checks that at least t coordinators signed.
func (s *State) vouched(t build.Type, m *build.Vouched) build.Outcome {
	return s.quorum(build.VouchBytes(t, s.cluster, m.Build, m.Lease, m.Digest), m.Vouches)
}
