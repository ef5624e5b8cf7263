package escrow

import "gavel/raftfsm/wire"

// Code codes an account and refuses a balance below zero.
func (a *Account) Code(c *wire.Coder) {
	c.Bytes32(&a.ID)
	c.U8((*uint8)(&a.Role))
	c.String(&a.Name, MaxNameBytes)
	a.Available.Code(c)
	a.Held.Code(c)
	a.Stake.Code(c)
	if !a.Role.valid() || a.Available < 0 || a.Held < 0 || a.Stake < 0 {
		c.Refuse("account %x has no known role or a balance below zero", a.ID[:4])
	}
}

// Code codes a pending transfer.
func (p *Pending) Code(c *wire.Coder) {
	c.Bytes32(&p.ID)
	c.Bytes32(&p.From)
	c.U8((*uint8)(&p.Source))
	p.Amount.Code(c)
	if !p.Source.valid() || p.Amount < 0 {
		c.Refuse("pending transfer %x has no known source or an amount below zero", p.ID[:4])
	}
}

// Code codes the whole ledger: cluster, counters, then accounts, pending and
// finished transfers, each sorted by id. Decoding refuses disorder and every
// ledger whose invariants do not hold, and a ledger made by New refuses one of
// another cluster. What was touched is no part of it; see Touched.
func (l *Ledger) Code(c *wire.Coder) {
	cluster, minted, burned := l.cluster, l.minted, l.burned
	var accounts []Account
	var pendings []Pending
	var finished []TransferID
	if !c.Decoding() {
		accounts = l.Accounts()
		for _, id := range wire.SortedKeys(l.pendings, wire.Compare32) {
			pendings = append(pendings, l.pendings[id])
		}
		finished = wire.SortedKeys(l.finished, wire.Compare32)
	}
	c.Bytes32(&cluster)
	minted.Code(c)
	burned.Code(c)
	wire.Records(c, &accounts, MaxAccounts)
	wire.Records(c, &pendings, MaxTransfers)
	wire.List(c, &finished, MaxTransfers, (*wire.Coder).Bytes32)
	if !c.Decoding() || c.Err() != nil {
		return
	}
	if l.cluster != ([32]byte{}) && l.cluster != cluster {
		c.Refuse("ledger of cluster %x, this is %x", cluster[:4], l.cluster[:4])
		return
	}
	decoded := New(cluster)
	decoded.minted, decoded.burned = minted, burned
	decoded.fill(c, accounts, pendings, finished)
	if c.Err() == nil {
		*l = *decoded
	}
}

// fill takes over decoded lists, everything touched, and refuses what no
// sequence of operations could have left.
func (l *Ledger) fill(c *wire.Coder, accounts []Account, pendings []Pending, finished []TransferID) {
	for i, a := range accounts {
		if i > 0 && wire.Compare32(accounts[i-1].ID, a.ID) >= 0 {
			c.Refuse("accounts out of order")
			return
		}
		l.accounts[a.ID] = row{Account: a}
		l.touchedAccounts[a.ID] = struct{}{}
	}
	for i, p := range pendings {
		r, ok := l.accounts[p.From]
		if !ok || (i > 0 && wire.Compare32(pendings[i-1].ID, p.ID) >= 0) {
			c.Refuse("pending transfers out of order or of an account that is not there")
			return
		}
		r.pendings++
		l.accounts[p.From] = r
		l.pendings[p.ID] = p
		l.touchedTransfers[p.ID] = struct{}{}
	}
	for i, id := range finished {
		_, isPending := l.pendings[id]
		if isPending || (i > 0 && wire.Compare32(finished[i-1], id) >= 0) {
			c.Refuse("finished transfers out of order or still pending")
			return
		}
		l.finished[id] = struct{}{}
		l.touchedTransfers[id] = struct{}{}
	}
	l.total, _ = l.minted.Sub(l.burned) // Check refuses it if it is out of range
	if err := l.Check(); err != nil {
		c.Refuse("%v", err)
	}
}
