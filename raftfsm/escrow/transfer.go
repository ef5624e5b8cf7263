package escrow

import (
	"fmt"

	"gavel/raftfsm/wire"
)

// TransferID names a transfer for good.
type TransferID = [32]byte

// TransferIDOf is H("transfer": cluster ‖ subject ‖ round ‖ purpose ‖ from ‖
// to). The subject is the build's id, or outside builds the request's; the
// first round, recheck and panel of a build are separate rounds.
func TransferIDOf(cluster, subject [32]byte, round uint64, purpose string, from, to [32]byte) TransferID {
	return wire.NewHasher("transfer").Fixed(cluster).Fixed(subject).U64(round).Text(purpose).Fixed(from).Fixed(to).Sum()
}

// bucket is one of an account's three balances.
type bucket uint8

const (
	available bucket = iota + 1
	stake
	held
)

// Mint creates amount in to's available balance, under an admin command.
func (l *Ledger) Mint(id TransferID, to [32]byte, amount Credits) error {
	e, err := l.begin(id, amount)
	if err == nil {
		e.minted, err = e.minted.Add(amount)
	}
	if err == nil {
		err = e.put(to, available, amount)
	}
	if err != nil {
		return fmt.Errorf("minting %v to %x: %w", amount, to[:4], err)
	}
	e.commitFinished(id)
	l.note(Movement{ID: id, Kind: Minted, To: to, Amount: amount})
	return nil
}

// Burn destroys amount of from's available balance.
func (l *Ledger) Burn(id TransferID, from [32]byte, amount Credits) error {
	e, err := l.begin(id, amount)
	if err == nil {
		e.burned, err = e.burned.Add(amount)
	}
	if err == nil {
		err = e.take(from, available, amount)
	}
	if err != nil {
		return fmt.Errorf("burning %v of %x: %w", amount, from[:4], err)
	}
	e.commitFinished(id)
	l.note(Movement{ID: id, Kind: BurnedUp, From: from, Amount: amount})
	return nil
}

// Transfer moves amount from available to available. It is immutable and
// applied once: an id that is pending or finished is ErrExists, until its
// subject is over and the state machine retires it; from then on the state
// machine itself guarantees that no build or request runs twice.
func (l *Ledger) Transfer(id TransferID, from, to [32]byte, amount Credits) error {
	err := l.moveOnce(id, from, available, to, available, amount)
	if err != nil {
		return fmt.Errorf("transferring %v from %x to %x: %w", amount, from[:4], to[:4], err)
	}
	return nil
}

// StakeDeposit moves amount from the account's available balance to its stake.
func (l *Ledger) StakeDeposit(id TransferID, account [32]byte, amount Credits) error {
	err := l.moveOnce(id, account, available, account, stake, amount)
	if err != nil {
		return fmt.Errorf("depositing %v as stake of %x: %w", amount, account[:4], err)
	}
	return nil
}

// StakeWithdraw moves amount from the account's free stake to its available
// balance. That unbonding has run its time is the caller's to know.
func (l *Ledger) StakeWithdraw(id TransferID, account [32]byte, amount Credits) error {
	err := l.moveOnce(id, account, stake, account, available, amount)
	if err != nil {
		return fmt.Errorf("withdrawing %v of the stake of %x: %w", amount, account[:4], err)
	}
	return nil
}

func (l *Ledger) moveOnce(id TransferID, from [32]byte, source bucket, to [32]byte, target bucket, amount Credits) error {
	e, err := l.begin(id, amount)
	if err == nil {
		err = e.move(from, source, to, target, amount)
	}
	if err != nil {
		return err
	}
	e.commitFinished(id)
	kind := Moved
	switch {
	case source == stake:
		kind = Withdrawn
	case target == stake:
		kind = Deposited
	}
	l.note(Movement{ID: id, Kind: kind, From: from, To: to, Amount: amount})
	return nil
}

// Finished tells whether id was applied, posted or voided and not yet retired.
func (l *Ledger) Finished(id TransferID) bool {
	_, ok := l.finished[id]
	return ok
}

// Retire forgets finished transfers of a subject that is over, so that the
// ledger stays bounded. All of ids must be finished, or none is forgotten.
func (l *Ledger) Retire(ids ...TransferID) error {
	for _, id := range ids {
		if !l.Finished(id) {
			return fmt.Errorf("retiring transfer %x: %w: it is pending or was never made", id[:4], ErrRefused)
		}
	}
	for _, id := range ids {
		delete(l.finished, id)
		l.touchedTransfers[id] = struct{}{}
	}
	return nil
}

// entry is one operation being prepared: copies of the rows it changes, which
// replace the ledger's all together or not at all.
type entry struct {
	ledger         *Ledger
	rows           []*row
	minted, burned Credits
}

// begin prepares an operation under a new id.
func (l *Ledger) begin(id TransferID, amount Credits) (*entry, error) {
	_, isPending := l.pendings[id]
	if isPending || l.Finished(id) {
		return nil, fmt.Errorf("transfer %x: %w", id[:4], ErrExists)
	}
	if amount < 0 || !amount.Valid() {
		return nil, ErrAmount
	}
	if len(l.pendings)+len(l.finished) >= MaxTransfers {
		return nil, fmt.Errorf("%w: %d transfers of unfinished subjects", ErrFull, MaxTransfers)
	}
	return l.entry(), nil
}

func (l *Ledger) entry() *entry {
	return &entry{ledger: l, minted: l.minted, burned: l.burned}
}

// row returns the operation's copy of an account.
func (e *entry) row(id [32]byte) (*row, error) {
	for _, r := range e.rows {
		if r.ID == id {
			return r, nil
		}
	}
	r, ok := e.ledger.accounts[id]
	if !ok {
		return nil, fmt.Errorf("account %x: %w", id[:4], ErrUnknown)
	}
	e.rows = append(e.rows, &r)
	return &r, nil
}

func (e *entry) take(id [32]byte, b bucket, amount Credits) error {
	r, err := e.row(id)
	if err != nil {
		return err
	}
	balance := r.balance(b)
	if *balance < amount {
		return fmt.Errorf("account %x has %v: %w", id[:4], *balance, ErrInsufficient)
	}
	*balance -= amount
	return nil
}

func (e *entry) put(id [32]byte, b bucket, amount Credits) error {
	r, err := e.row(id)
	if err != nil {
		return err
	}
	balance := r.balance(b)
	*balance, err = balance.Add(amount)
	return err
}

func (e *entry) move(from [32]byte, source bucket, to [32]byte, target bucket, amount Credits) error {
	if err := e.take(from, source, amount); err != nil {
		return err
	}
	return e.put(to, target, amount)
}

func (e *entry) commitFinished(id TransferID) {
	e.commit()
	e.ledger.finished[id] = struct{}{}
	e.ledger.touchedTransfers[id] = struct{}{}
}

// commit writes the rows back. It cannot fail: what it finds wrong is a broken
// invariant of this package, and going on would spread it to every replica.
func (e *entry) commit() {
	l := e.ledger
	total := l.total
	for _, r := range e.rows {
		old := l.accounts[r.ID]
		total = mustSum(total, -old.Available, -old.Held, -old.Stake, r.Available, r.Held, r.Stake)
		if r.Available < 0 || r.Held < 0 || r.Stake < 0 || r.pendings < 0 {
			panic(fmt.Sprintf("escrow: account %x below zero: %+v", r.ID[:4], *r))
		}
	}
	if total != mustSum(e.minted, -e.burned) {
		panic(fmt.Sprintf("escrow: balances sum to %v, minted %v less burned %v", total, e.minted, e.burned))
	}
	for _, r := range e.rows {
		l.accounts[r.ID] = *r
		l.touchedAccounts[r.ID] = struct{}{}
	}
	l.total, l.minted, l.burned = total, e.minted, e.burned
}

// mustSum adds amounts whose sum, by the invariants, stays in range.
func mustSum(amounts ...Credits) Credits {
	var sum Credits
	for _, amount := range amounts {
		next, err := sum.Add(amount)
		if err != nil {
			panic(fmt.Sprintf("escrow: summing %v: %v", amounts, err))
		}
		sum = next
	}
	return sum
}
