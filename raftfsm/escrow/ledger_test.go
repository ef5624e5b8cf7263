package escrow

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/wire"
)

// key is a readable 32-byte id.
func key(n byte) [32]byte { return [32]byte{0: n, 31: n} }

var (
	alice, bob, treasury, nobody = key(1), key(2), key(3), key(9)
	held1, posted1, minted1      = key(101), key(102), key(103)
)

// farm has alice with 100 available, 60 free stake and 40 of it held; bob and the treasury are empty.
func farm(t *testing.T) *Ledger {
	t.Helper()
	l := New(key(77))
	for _, err := range []error{
		l.Open(alice, Worker, "alice"),
		l.Open(bob, Requester, "bob"),
		l.Open(treasury, Treasury, "treasury"),
		l.Mint(minted1, alice, 200),
		l.StakeDeposit(key(104), alice, 100),
		l.Hold(held1, alice, FromStake, 40),
		l.Hold(posted1, alice, FromAvailable, 10),
		l.Void(posted1),
		l.Check(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestRefusalsChangeNothing(t *testing.T) {
	fresh := key(200)
	for _, test := range []struct {
		name string
		do   func(*Ledger) error
		want error
	}{
		{"open twice", func(l *Ledger) error { return l.Open(alice, Worker, "again") }, ErrExists},
		{"open without role", func(l *Ledger) error { return l.Open(nobody, 0, "x") }, ErrRefused},
		{"open with an unknown role", func(l *Ledger) error { return l.Open(nobody, Admin+1, "x") }, ErrRefused},
		{"open with a long name", func(l *Ledger) error { return l.Open(nobody, Admin, strings.Repeat("x", MaxNameBytes+1)) }, ErrRefused},
		{"open with NUL", func(l *Ledger) error { return l.Open(nobody, Admin, "a\x00b") }, ErrRefused},
		{"close nobody", func(l *Ledger) error { return l.Close(nobody) }, ErrUnknown},
		{"close with credits", func(l *Ledger) error { return l.Close(alice) }, ErrNotEmpty},
		{"mint to nobody", func(l *Ledger) error { return l.Mint(fresh, nobody, 1) }, ErrUnknown},
		{"mint negative", func(l *Ledger) error { return l.Mint(fresh, bob, -1) }, ErrAmount},
		{"mint beyond range", func(l *Ledger) error { return l.Mint(fresh, bob, MaxCredits+1) }, ErrAmount},
		{"mint over the top", func(l *Ledger) error { return l.Mint(fresh, bob, MaxCredits-199) }, ErrOverflow},
		{"mint twice", func(l *Ledger) error { return l.Mint(minted1, alice, 200) }, ErrExists},
		{"burn more than available", func(l *Ledger) error { return l.Burn(fresh, alice, 101) }, ErrInsufficient},
		{"burn of nobody", func(l *Ledger) error { return l.Burn(fresh, nobody, 0) }, ErrUnknown},
		{"transfer too much", func(l *Ledger) error { return l.Transfer(fresh, alice, bob, 101) }, ErrInsufficient},
		{"transfer negative", func(l *Ledger) error { return l.Transfer(fresh, alice, bob, -1) }, ErrAmount},
		{"transfer to nobody", func(l *Ledger) error { return l.Transfer(fresh, alice, nobody, 1) }, ErrUnknown},
		{"transfer from nobody", func(l *Ledger) error { return l.Transfer(fresh, nobody, bob, 0) }, ErrUnknown},
		{"transfer under a pending id", func(l *Ledger) error { return l.Transfer(held1, alice, bob, 1) }, ErrExists},
		{"transfer under a finished id", func(l *Ledger) error { return l.Transfer(posted1, alice, bob, 1) }, ErrExists},
		{"deposit too much", func(l *Ledger) error { return l.StakeDeposit(fresh, alice, 101) }, ErrInsufficient},
		{"withdraw what is held", func(l *Ledger) error { return l.StakeWithdraw(fresh, alice, 61) }, ErrInsufficient},
		{"hold more than the stake", func(l *Ledger) error { return l.Hold(fresh, alice, FromStake, 61) }, ErrInsufficient},
		{"hold from held", func(l *Ledger) error { return l.Hold(fresh, alice, Source(held), 1) }, ErrRefused},
		{"hold under a pending id", func(l *Ledger) error { return l.Hold(held1, alice, FromStake, 1) }, ErrExists},
		{"hold under a finished id", func(l *Ledger) error { return l.Hold(posted1, alice, FromStake, 1) }, ErrExists},
		{"post what is finished", func(l *Ledger) error { return l.Post(posted1, nil) }, ErrNotPending},
		{"post what never was", func(l *Ledger) error { return l.Post(fresh, nil) }, ErrNotPending},
		{"post to nobody", func(l *Ledger) error { return l.Post(held1, []Part{{bob, 1, "fee"}, {nobody, 1, "fee"}}) }, ErrUnknown},
		{"post too much", func(l *Ledger) error { return l.Post(held1, []Part{{bob, 40, "fee"}, {bob, 1, "fee"}}) }, ErrExceeds},
		{"post what would wrap", func(l *Ledger) error {
			return l.Post(held1, []Part{{bob, MaxCredits, "fee"}, {bob, MaxCredits, "fee"}})
		}, ErrExceeds},
		{"post negative", func(l *Ledger) error { return l.Post(held1, []Part{{bob, -1, "fee"}}) }, ErrAmount},
		{"post a thousand parts", func(l *Ledger) error { return l.Post(held1, make([]Part, MaxParts+1)) }, ErrRefused},
		{"void twice", func(l *Ledger) error { return l.Void(posted1) }, ErrNotPending},
		{"retire what is pending", func(l *Ledger) error { return l.Retire(posted1, held1) }, ErrRefused},
		{"retire what never was", func(l *Ledger) error { return l.Retire(posted1, fresh) }, ErrRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := farm(t)
			l.ResetTouched()
			before := wire.Encode(l)
			if err := test.do(l); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			accounts, transfers := l.Touched()
			if !bytes.Equal(before, wire.Encode(l)) || len(accounts)+len(transfers) != 0 {
				t.Error("a refused operation changed the ledger")
			}
		})
	}
}

func TestPostSplitsAndReturnsTheRest(t *testing.T) {
	l := farm(t)
	if p, ok := l.Pending(held1); !ok || p != (Pending{ID: held1, From: alice, Source: FromStake, Amount: 40}) {
		t.Fatalf("pending %+v, %v", p, ok)
	}
	l.ResetTouched()
	parts := []Part{{bob, 7, "validator fee"}, {bob, 3, "validator fee"}, {treasury, 5, "residue"}, {alice, 0, "nothing"}}
	if err := l.Post(held1, parts); err != nil {
		t.Fatal(err)
	}
	want := []Account{
		{ID: alice, Role: Worker, Name: "alice", Available: 100, Stake: 85},
		{ID: bob, Role: Requester, Name: "bob", Available: 10},
		{ID: treasury, Role: Treasury, Name: "treasury", Available: 5},
	}
	if got := l.Accounts(); !slices.Equal(got, want) {
		t.Errorf("accounts %+v, want %+v", got, want)
	}
	if _, ok := l.Pending(held1); ok || !l.Finished(held1) {
		t.Error("a posted transfer is still pending or not finished")
	}
	accounts, transfers := l.Touched()
	if !slices.Equal(accounts, [][32]byte{alice, bob, treasury}) || !slices.Equal(transfers, []TransferID{held1}) {
		t.Errorf("touched %x and %x", accounts, transfers)
	}
	if err := l.Check(); err != nil {
		t.Error(err)
	}
}

func TestZeroAmountsExistOnce(t *testing.T) {
	l := farm(t)
	hold, transfer := key(120), key(121)
	for range 2 { // the second time around both are finished
		err1, err2 := l.Hold(hold, bob, FromStake, 0), l.Transfer(transfer, bob, bob, 0)
		if l.Finished(hold) {
			if !errors.Is(err1, ErrExists) || !errors.Is(err2, ErrExists) {
				t.Fatalf("again: %v, %v", err1, err2)
			}
			break
		}
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := l.Close(bob); !errors.Is(err, ErrNotEmpty) {
			t.Fatalf("closing an account with a pending transfer of zero: %v", err)
		}
		if err := l.Post(hold, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(bob); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Account(bob); ok {
		t.Error("a closed account is still there")
	}
	if err := l.Open(bob, Escrow, "a build"); err != nil {
		t.Errorf("opening what was closed: %v", err)
	}
}

func TestRetiredIDsAreForgotten(t *testing.T) {
	l := farm(t)
	l.ResetTouched()
	if err := l.Retire(posted1, minted1); err != nil {
		t.Fatal(err)
	}
	if _, transfers := l.Touched(); !slices.Equal(transfers, []TransferID{posted1, minted1}) {
		t.Errorf("touched %x", transfers)
	}
	if l.Finished(posted1) || l.Finished(minted1) || !l.Finished(key(104)) {
		t.Error("the wrong transfers are remembered")
	}
	if err := l.Transfer(posted1, alice, bob, 1); err != nil {
		t.Errorf("using a retired id: %v", err)
	}
}

func TestBurnedAndMintedAreCounted(t *testing.T) {
	l := farm(t)
	if err := l.Burn(key(130), alice, 30); err != nil {
		t.Fatal(err)
	}
	if l.Minted() != 200 || l.Burned() != 30 {
		t.Errorf("minted %v, burned %v", l.Minted(), l.Burned())
	}
	if a, _ := l.Account(alice); a.Available != 70 {
		t.Errorf("available %v", a.Available)
	}
}

// A replica whose invariants broke must stop rather than go on.
func TestBrokenInvariantPanics(t *testing.T) {
	for name, breakIt := range map[string]func(*Ledger){
		"running total":   func(l *Ledger) { l.total++ },
		"minted":          func(l *Ledger) { l.minted-- },
		"held below zero": func(l *Ledger) { r := l.accounts[alice]; r.pendings = -2; l.accounts[alice] = r },
	} {
		t.Run(name, func(t *testing.T) {
			l := farm(t)
			breakIt(l)
			if l.Check() == nil {
				t.Error("Check finds nothing")
			}
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = l.Transfer(key(140), alice, bob, 1)
		})
	}
}

func TestTransferIDVector(t *testing.T) {
	cluster, subject, from, to := key(1), key(2), key(3), key(4)
	input := []byte("gavel/v1/transfer\x00")
	input = append(input, cluster[:]...)
	input = append(input, subject[:]...)
	input = binary.BigEndian.AppendUint64(input, 5)
	input = append(input, "\x00\x00\x00\x05price"...)
	input = append(input, from[:]...)
	input = append(input, to[:]...)
	got := TransferIDOf(cluster, subject, 5, "price", from, to)
	if got != sha256.Sum256(input) {
		t.Errorf("transfer id %x", got)
	}
	const vector = "c047242259d9c1ffe5826811d9105aa0d7108d5b163c54276b4c1ea67d1d08b2"
	if hex.EncodeToString(got[:]) != vector {
		t.Errorf("transfer id %x, want %s", got, vector)
	}
}

func TestRoleNames(t *testing.T) {
	for role, want := range map[Role]string{Requester: "requester", Worker: "worker", Coordinator: "coordinator", Treasury: "treasury", Escrow: "escrow", Admin: "admin", 0: "role 0", 7: "role 7"} {
		if role.String() != want {
			t.Errorf("role %d is %q, want %q", uint8(role), role, want)
		}
	}
}
