package escrow

import (
	"bytes"
	"errors"
	"testing"

	"gavel/raftfsm/wire"
)

func TestLedgerRoundTrip(t *testing.T) {
	l := farm(t)
	encoded := wire.Encode(l)
	var decoded Ledger
	if err := wire.Decode(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wire.Encode(&decoded), encoded) {
		t.Error("a decoded ledger encodes differently")
	}
	accounts, transfers := decoded.Touched()
	if len(accounts) != 3 || len(transfers) != 4 {
		t.Errorf("after decoding %d accounts and %d transfers count as touched, want all: 3 and 4", len(accounts), len(transfers))
	}
	if err := decoded.Post(held1, []Part{{bob, 40, "all"}}); err != nil {
		t.Errorf("posting in a decoded ledger: %v", err)
	}
	if err := wire.Decode(encoded, New(key(78))); !errors.Is(err, wire.ErrNotCanonical) {
		t.Errorf("decoding another cluster's ledger: %v", err)
	}
	if err := wire.Decode(encoded, New(key(77))); err != nil {
		t.Errorf("decoding the own cluster's ledger: %v", err)
	}
}

// Each ledger here encodes, but no sequence of operations leads to it.
func TestDecodingRefusesBrokenLedgers(t *testing.T) {
	for name, breakIt := range map[string]func(*Ledger){
		"more minted than is there":          func(l *Ledger) { l.minted++ },
		"burned more than minted":            func(l *Ledger) { l.minted, l.burned = 1, 2 },
		"minted below zero":                  func(l *Ledger) { l.minted = -1 },
		"credits from nowhere":               func(l *Ledger) { r := l.accounts[bob]; r.Available++; l.accounts[bob] = r },
		"held without a pending transfer":    func(l *Ledger) { delete(l.pendings, held1) },
		"pending transfer of nobody":         func(l *Ledger) { p := l.pendings[held1]; p.From = nobody; l.pendings[held1] = p },
		"pending and finished":               func(l *Ledger) { l.finished[held1] = struct{}{} },
		"pending twice":                      func(l *Ledger) { l.pendings[key(210)] = l.pendings[held1] },
		"sum of balances beyond the range":   func(l *Ledger) { r := l.accounts[bob]; r.Available = MaxCredits; l.accounts[bob] = r },
		"pending transfers beyond the range": func(l *Ledger) { l.pendings[key(210)] = Pending{key(210), alice, FromStake, MaxCredits} },
	} {
		t.Run(name, func(t *testing.T) {
			l := farm(t)
			breakIt(l)
			var decoded Ledger
			if err := wire.Decode(wire.Encode(l), &decoded); !errors.Is(err, wire.ErrNotCanonical) {
				t.Errorf("decoded: %v", err)
			}
			if len(decoded.accounts) != 0 {
				t.Error("a refused decoding left something behind")
			}
		})
	}
}

func TestDecodingRefusesDisorder(t *testing.T) {
	l := farm(t)
	encoded := wire.Encode(l)
	a, b := bytes.Index(encoded, alice[:]), bytes.Index(encoded, bob[:])
	swapped := bytes.Clone(encoded)
	copy(swapped[a:], bob[:])
	copy(swapped[b:], alice[:])
	var decoded Ledger
	if err := wire.Decode(swapped, &decoded); !errors.Is(err, wire.ErrNotCanonical) {
		t.Errorf("accounts out of order: %v", err)
	}
}

// canonical holds a decoder to its promise: what it accepts is what encoding gives.
func canonical[T any, P interface {
	*T
	wire.Record
}](t *testing.T, input []byte) (P, bool) {
	t.Helper()
	record := P(new(T))
	if err := wire.Decode(input, record); err != nil {
		if !errors.Is(err, wire.ErrNotCanonical) {
			t.Fatalf("unexpected error %v", err)
		}
		return nil, false
	}
	if !bytes.Equal(wire.Encode(record), input) {
		t.Fatalf("%x decodes but is not canonical", input)
	}
	return record, true
}

func FuzzDecodeLedger(f *testing.F) {
	l := New(key(77))
	f.Add(wire.Encode(l))
	for _, err := range []error{
		l.Open(alice, Worker, "alice"),
		l.Open(bob, Treasury, ""),
		l.Mint(minted1, alice, 200),
		l.Hold(held1, alice, FromAvailable, 40),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(wire.Encode(l))
	f.Fuzz(func(t *testing.T, input []byte) {
		if l, ok := canonical[Ledger](t, input); ok {
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzDecodeAccount(f *testing.F) {
	f.Add(wire.Encode(&Account{ID: alice, Role: Worker, Name: "alice", Available: 1, Held: 2, Stake: 3}))
	f.Fuzz(func(t *testing.T, input []byte) { canonical[Account](t, input) })
}

func FuzzDecodePending(f *testing.F) {
	f.Add(wire.Encode(&Pending{ID: held1, From: alice, Source: FromStake, Amount: 40}))
	f.Fuzz(func(t *testing.T, input []byte) { canonical[Pending](t, input) })
}
