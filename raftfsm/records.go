package raftfsm

import (
	"cmp"
	"fmt"
	"io"

	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// head is the state's one singleton record.
type head struct{ s *State }

func (h head) Code(c *wire.Coder) {
	s := h.s
	c.I64(&s.now)
	c.I64(&s.wall)
	c.U64(&s.sequence)
	c.U64(&s.settlements)
	minted, burned := s.ledger.Minted(), s.ledger.Burned()
	minted.Code(c) // the ledger's own, read back with it
	burned.Code(c)
}

// recordBytes is the canonical encoding of one record; ok is false where there is none.
func (s *State) recordBytes(k recordKey) (raw []byte, ok bool) {
	var r wire.Record
	switch k.kind {
	case kindHead:
		r, ok = head{s}, true
	case kindAccount:
		r, ok = s.accounts[k.id], s.accounts[k.id] != nil
	case kindWorker:
		r, ok = s.workers[k.id], s.workers[k.id] != nil
	case kindBuild:
		r, ok = s.builds[k.id], s.builds[k.id] != nil
	case kindBalance:
		a, found := s.ledger.Account(k.id)
		r, ok = &a, found
	case kindTransfer:
		if p, found := s.ledger.Pending(escrow.TransferID(k.id)); found {
			r, ok = &p, true
		} else if s.ledger.Finished(escrow.TransferID(k.id)) {
			return []byte{1}, true
		}
	case kindOperator:
		a := s.operatorByID(k.id)
		r, ok = a, a != nil
	case kindRequest:
		r, ok = s.requests[k.id], s.requests[k.id] != nil
	case kindKeys:
		r, ok = &s.keys, true
	case kindUnbonding:
		r, ok = unbondings{s}, true
	case kindEvidence:
		r, ok = &s.evidence, true
	case kindKeyring:
		r, ok = s.keyrings[k.id], s.keyrings[k.id] != nil
	case kindSuccession:
		r, ok = &s.succession, true
	case kindWithdrawals:
		r, ok = &s.withdrawals, true
	case kindPool:
		p := s.pools[s.poolByID[k.id]]
		r, ok = p, p != nil
	case kindMarket:
		if m := s.markets[s.poolByID[k.id]]; m != nil {
			r = m.Part(k.part, k.name)
			ok = r != nil
		}
	}
	if !ok {
		return nil, false
	}
	return wire.Encode(r), true
}

type unbondings struct{ s *State }

func (u unbondings) Code(c *wire.Coder) { wire.Records(c, &u.s.unbonds, MaxAccounts) }

func operatorID(name string) ID { return wire.NewHasher("operator").Text(name).Sum() }

func (s *State) operatorByID(id ID) *build.Admit {
	for _, name := range wire.SortedKeys(s.operators, cmp.Compare[string]) {
		if operatorID(name) == id {
			return s.operators[name]
		}
	}
	return nil
}

// touchAll marks every record, for a restored state.
func (s *State) touchAll() {
	for id := range s.accounts { // a set, whatever the order
		s.touch(kindAccount, id)
	}
	for id := range s.workers {
		s.touch(kindWorker, id)
	}
	for id := range s.builds {
		s.touch(kindBuild, id)
	}
	for id := range s.keyrings {
		s.touch(kindKeyring, id)
	}
	for name := range s.operators {
		s.touch(kindOperator, operatorID(name))
	}
	for id := range s.requests {
		s.touch(kindRequest, id)
	}
	for name, m := range s.markets {
		m.EachPart(func(part build.Part, name ID) { s.touched[recordKey{kindMarket, m.ID, part, name}] = struct{}{} })
		if s.pools[name] != nil {
			s.touch(kindPool, m.ID)
		}
	}
	s.touch(kindKeys, ID{})
	s.touch(kindUnbonding, ID{})
	s.touch(kindEvidence, ID{})
	s.touch(kindWithdrawals, ID{})
	s.touch(kindSuccession, ID{})
}

// snapshotVersion is the version of the snapshot's encoding.
const snapshotVersion = 7

// snapshot is the whole state as one record.
type snapshot struct{ s *State }

func (n snapshot) Code(c *wire.Coder) {
	s := n.s
	version := uint8(snapshotVersion)
	c.U8(&version)
	if c.Decoding() && c.Err() == nil && version != snapshotVersion {
		c.Refuse("snapshot version %d, this binary reads %d", version, snapshotVersion)
		return
	}
	cluster := s.cluster
	c.Bytes32(&cluster)
	if c.Decoding() && c.Err() == nil && cluster != s.cluster {
		c.Refuse("a snapshot of cluster %x, this is %x", cluster[:8], s.cluster[:8])
		return
	}
	c.U64(&s.index)
	s.ledger.Code(c)
	head{s}.Code(c)
	codeByID(c, &s.accounts, MaxAccounts, func(a *Account) ID { return a.ID })
	codeByID(c, &s.workers, MaxAccounts, func(w *build.Worker) ID { return w.ID })
	codeByID(c, &s.builds, MaxLive+MaxSettled, func(b *build.Build) ID { return b.ID })
	wire.SortedMap(c, &s.operators, MaxAccounts, cmp.Compare[string],
		func(c *wire.Coder, k *string) { c.String(k, build.MaxNameBytes) }, codePointer[build.Admit])
	wire.SortedMap(c, &s.requests, MaxRequests, wire.Compare32, (*wire.Coder).Bytes32, codePointer[request])
	s.keys.Code(c)
	unbondings{s}.Code(c)
	text := func(c *wire.Coder, k *string) { c.String(k, build.MaxNameBytes) }
	wire.SortedMap(c, &s.pools, MaxPools, cmp.Compare[string], text, codePointer[build.Pool])
	wire.SortedMap(c, &s.markets, MaxPools, cmp.Compare[string], text, codePointer[build.Market])
	s.evidence.Code(c)
	codeByID(c, &s.keyrings, MaxAccounts+1, func(k *Keyring) ID { return k.Account })
	s.withdrawals.Code(c)
	s.succession.Code(c)
}

func codePointer[T any, P interface {
	*T
	wire.Record
}](c *wire.Coder, v *P) {
	if c.Decoding() {
		*v = P(new(T))
	}
	(*v).Code(c)
}

// codeByID codes a map of records under their own ids as a sorted list.
func codeByID[T any, P interface {
	*T
	wire.Record
}](c *wire.Coder, m *map[ID]P, limit int, id func(P) ID) {
	wire.SortedMap(c, m, limit, wire.Compare32, (*wire.Coder).Bytes32, codePointer[T, P])
	if !c.Decoding() || c.Err() != nil {
		return
	}
	for k, v := range *m {
		if id(v) != k {
			c.Refuse("a record filed under another's id")
			return
		}
	}
}

// maxSnapshotBytes bounds what Restore reads: the limits above leave far less.
const maxSnapshotBytes = 4 << 30

// restore reads a snapshot into a fresh state.
func restore(g *Genesis, v verifier, r io.Reader) (*State, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSnapshotBytes))
	if err != nil {
		return nil, fmt.Errorf("reading snapshot: %w", err)
	}
	s := emptyState(g, v)
	if err := wire.Decode(raw, snapshot{s}); err != nil {
		return nil, fmt.Errorf("restoring snapshot: %w", err)
	}
	if err := s.ledger.Check(); err != nil {
		return nil, fmt.Errorf("restoring snapshot: %w", err)
	}
	s.rebuild()
	return s, nil
}
