package escrow

import (
	"errors"
	"fmt"
	"strings"

	"gavel/raftfsm/wire"
)

// What the caller can tell apart. Each is wrapped with what was being done.
var (
	ErrExists       = errors.New("exists already")
	ErrUnknown      = errors.New("no such account")
	ErrNotPending   = errors.New("no such pending transfer")
	ErrInsufficient = errors.New("not enough credits")
	ErrExceeds      = errors.New("parts are more than what is held")
	ErrAmount       = errors.New("amount is negative or beyond 2^62 micro-credits")
	ErrNotEmpty     = errors.New("account still holds credits or pending transfers")
	ErrRefused      = errors.New("not a valid account or transfer")
	ErrFull         = errors.New("the ledger is full")
)

// Role says what an account is for. Values are append-only: they are encoded.
type Role uint8

const (
	Requester Role = iota + 1
	Worker
	Coordinator
	Treasury
	Escrow // one per live build
	Admin
)

var roleNames = [...]string{Requester: "requester", Worker: "worker", Coordinator: "coordinator", Treasury: "treasury", Escrow: "escrow", Admin: "admin"}

// String is the role's lower-case name.
func (r Role) String() string {
	if !r.valid() {
		return fmt.Sprintf("role %d", uint8(r))
	}
	return roleNames[r]
}

func (r Role) valid() bool { return Requester <= r && r <= Admin }

// Account is a participant's, a build's or the treasury's balances.
type Account struct {
	ID        [32]byte
	Role      Role
	Name      string  // for people; at most MaxNameBytes
	Available Credits // free to spend
	Held      Credits // Σ of this account's pending transfers
	Stake     Credits // deposited as stake and not held
}

// row is an account with what the ledger alone keeps of it.
type row struct {
	Account
	// pendings counts the account's pending transfers: one of amount zero does
	// not show in Held, yet it must keep the account open.
	pendings int
}

// balance is the balance of b.
func (r *row) balance(b bucket) *Credits {
	switch b {
	case available:
		return &r.Available
	case stake:
		return &r.Stake
	default:
		return &r.Held
	}
}

// Ledger is the whole of the farm's money. It belongs to one goroutine, the
// state machine's.
type Ledger struct {
	cluster        [32]byte
	minted, burned Credits
	total          Credits // running Σ of all balances, held to minted − burned
	accounts       map[[32]byte]row
	pendings       map[TransferID]Pending
	finished       map[TransferID]struct{} // applied, posted or voided, not yet retired

	touchedAccounts  map[[32]byte]struct{}
	touchedTransfers map[TransferID]struct{}
	movements        []Movement
}

// New is the empty ledger of a cluster, named by the hash of its genesis.
func New(cluster [32]byte) *Ledger {
	l := &Ledger{
		cluster:  cluster,
		accounts: make(map[[32]byte]row),
		pendings: make(map[TransferID]Pending),
		finished: make(map[TransferID]struct{}),
	}
	l.ResetTouched()
	return l
}

// Open adds an empty account. An id that is there already is ErrExists.
func (l *Ledger) Open(id [32]byte, role Role, name string) error {
	if _, ok := l.accounts[id]; ok {
		return fmt.Errorf("opening account %x: %w", id[:4], ErrExists)
	}
	if !role.valid() || len(name) > MaxNameBytes || strings.ContainsRune(name, 0) {
		return fmt.Errorf("opening account %x: %w: it needs a known role and a name of at most %d bytes without NUL", id[:4], ErrRefused, MaxNameBytes)
	}
	if len(l.accounts) >= MaxAccounts {
		return fmt.Errorf("opening account %x: %w: %d accounts", id[:4], ErrFull, MaxAccounts)
	}
	l.accounts[id] = row{Account: Account{ID: id, Role: role, Name: name}}
	l.touchedAccounts[id] = struct{}{}
	return nil
}

// Close removes an account whose balances are all zero and that has no pending
// transfer: a terminal build's escrow.
func (l *Ledger) Close(id [32]byte) error {
	r, ok := l.accounts[id]
	if !ok {
		return fmt.Errorf("closing account %x: %w", id[:4], ErrUnknown)
	}
	if r.Available != 0 || r.Held != 0 || r.Stake != 0 || r.pendings != 0 {
		return fmt.Errorf("closing account %x: %w", id[:4], ErrNotEmpty)
	}
	delete(l.accounts, id)
	l.touchedAccounts[id] = struct{}{}
	return nil
}

// Account returns a copy of an account.
func (l *Ledger) Account(id [32]byte) (Account, bool) {
	r, ok := l.accounts[id]
	return r.Account, ok
}

// Accounts returns copies of all accounts, sorted by id.
func (l *Ledger) Accounts() []Account {
	list := make([]Account, 0, len(l.accounts))
	for _, id := range wire.SortedKeys(l.accounts, wire.Compare32) {
		list = append(list, l.accounts[id].Account)
	}
	return list
}

// Minted is all that was ever minted.
func (l *Ledger) Minted() Credits { return l.minted }

// Burned is all that was ever burned.
func (l *Ledger) Burned() Credits { return l.burned }

// Touched returns the sorted ids of the accounts and of the transfers whose
// record changed, appeared or went since ResetTouched. A transfer's record is
// its Pending, its being Finished, or nothing. After decoding everything counts
// as touched, so that a state hash is rebuilt by the code that maintains it.
func (l *Ledger) Touched() (accounts [][32]byte, transfers []TransferID) {
	return wire.SortedKeys(l.touchedAccounts, wire.Compare32), wire.SortedKeys(l.touchedTransfers, wire.Compare32)
}

// ResetTouched starts collecting afresh.
func (l *Ledger) ResetTouched() {
	l.touchedAccounts = make(map[[32]byte]struct{})
	l.touchedTransfers = make(map[TransferID]struct{})
	l.movements = nil
}

// Movements are the operations since ResetTouched, in order.
func (l *Ledger) Movements() []Movement { return l.movements }
