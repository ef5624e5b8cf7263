package escrow

import "fmt"

// Source is the balance that a hold takes from and that gets back what is not posted.
type Source uint8

const (
	FromAvailable = Source(available)
	FromStake     = Source(stake)
)

func (s Source) valid() bool { return s == FromAvailable || s == FromStake }

// Pending is a two-phase transfer between its hold and its one post or void.
type Pending struct {
	ID     TransferID
	From   [32]byte
	Source Source
	Amount Credits // ≥ 0, part of From's held balance
}

// Part is one payment out of a pending transfer, to To's available balance.
type Part struct {
	To      [32]byte
	Amount  Credits // ≥ 0
	Purpose string  // what it is for, named when it is refused
}

// Hold moves amount from the account's stake or available balance to its held
// balance, as a pending transfer. An expiry is a Void that the caller makes at
// the deadline.
func (l *Ledger) Hold(id TransferID, from [32]byte, source Source, amount Credits) error {
	e, err := l.begin(id, amount)
	if err == nil && !source.valid() {
		err = ErrRefused
	}
	if err == nil {
		err = e.move(from, bucket(source), from, held, amount)
	}
	if err != nil {
		return fmt.Errorf("holding %v of %x: %w", amount, from[:4], err)
	}
	r, _ := e.row(from) // found a moment ago
	r.pendings++
	e.commit()
	l.pendings[id] = Pending{ID: id, From: from, Source: source, Amount: amount}
	l.touchedTransfers[id] = struct{}{}
	l.note(Movement{ID: id, Kind: HeldBack, From: from, To: from, Amount: amount})
	return nil
}

// Post ends a pending transfer: each part goes to its account's available
// balance, what is left returns to the source.
func (l *Ledger) Post(id TransferID, parts []Part) error {
	err := l.end(id, parts)
	if err != nil {
		return fmt.Errorf("posting transfer %x: %w", id[:4], err)
	}
	return nil
}

// Void ends a pending transfer: all of it returns to the source.
func (l *Ledger) Void(id TransferID) error {
	err := l.end(id, nil)
	if err != nil {
		return fmt.Errorf("voiding transfer %x: %w", id[:4], err)
	}
	return nil
}

func (l *Ledger) end(id TransferID, parts []Part) error {
	p, ok := l.pendings[id]
	if !ok {
		return ErrNotPending
	}
	if len(parts) > MaxParts {
		return fmt.Errorf("%w: %d parts, at most %d", ErrRefused, len(parts), MaxParts)
	}
	e := l.entry()
	rest := p.Amount
	for _, part := range parts {
		if part.Amount < 0 || !part.Amount.Valid() {
			return fmt.Errorf("part %q: %w", part.Purpose, ErrAmount)
		}
		if part.Amount > rest {
			return fmt.Errorf("part %q of %v: %w", part.Purpose, part.Amount, ErrExceeds)
		}
		rest -= part.Amount
		if err := e.move(p.From, held, part.To, available, part.Amount); err != nil {
			return fmt.Errorf("part %q: %w", part.Purpose, err)
		}
	}
	if err := e.move(p.From, held, p.From, bucket(p.Source), rest); err != nil {
		return err
	}
	r, err := e.row(p.From)
	if err != nil {
		return err
	}
	r.pendings--
	delete(l.pendings, id)
	e.commitFinished(id)
	for _, part := range parts {
		l.note(Movement{ID: id, Kind: Posted, From: p.From, To: part.To, Amount: part.Amount})
	}
	l.note(Movement{ID: id, Kind: Returned, From: p.From, To: p.From, Amount: rest})
	return nil
}

// Pending returns a transfer that is held and not yet posted or voided.
func (l *Ledger) Pending(id TransferID) (Pending, bool) {
	p, ok := l.pendings[id]
	return p, ok
}
