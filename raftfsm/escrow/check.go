package escrow

import (
	"fmt"

	"gavel/raftfsm/wire"
)

// Check recomputes every invariant from the records alone: balances and
// counters in range and not below zero, each held balance the sum of its
// pending transfers, and all balances together minted less burned. Its cost is
// that of the whole ledger; operations keep a running total instead.
func (l *Ledger) Check() error {
	if l.minted < 0 || l.burned < 0 || !l.minted.Valid() || l.burned > l.minted {
		return fmt.Errorf("checking ledger: minted %v, burned %v", l.minted, l.burned)
	}
	if len(l.accounts) > MaxAccounts || len(l.pendings)+len(l.finished) > MaxTransfers {
		return fmt.Errorf("checking ledger: %w", ErrFull)
	}
	heldOf := make(map[[32]byte]Credits)
	countOf := make(map[[32]byte]int)
	for _, id := range wire.SortedKeys(l.pendings, wire.Compare32) {
		p := l.pendings[id]
		sum, err := heldOf[p.From].Add(p.Amount)
		if err != nil || p.Amount < 0 || p.ID != id || !p.Source.valid() || l.Finished(id) {
			return fmt.Errorf("checking ledger: pending transfer %x is not valid: %+v", id[:4], p)
		}
		heldOf[p.From] = sum
		countOf[p.From]++
		if _, ok := l.accounts[p.From]; !ok {
			return fmt.Errorf("checking ledger: pending transfer %x: account %x: %w", id[:4], p.From[:4], ErrUnknown)
		}
	}
	var total Credits
	for _, id := range wire.SortedKeys(l.accounts, wire.Compare32) {
		r := l.accounts[id]
		if r.Held != heldOf[id] || r.pendings != countOf[id] {
			return fmt.Errorf("checking ledger: account %x holds %v in %d, its pending transfers are %v in %d", id[:4], r.Held, r.pendings, heldOf[id], countOf[id])
		}
		for _, balance := range []Credits{r.Available, r.Held, r.Stake} {
			sum, err := total.Add(balance)
			if err != nil || balance < 0 {
				return fmt.Errorf("checking ledger: account %x is out of range: %+v", id[:4], r.Account)
			}
			total = sum
		}
	}
	if total != l.total || total != l.minted-l.burned {
		return fmt.Errorf("checking ledger: balances sum to %v, running total %v, minted %v less burned %v", total, l.total, l.minted, l.burned)
	}
	return nil
}
