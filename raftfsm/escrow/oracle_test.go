package escrow

import (
	"bytes"
	"flag"
	"math/big"
	"math/rand"
	"testing"

	"gavel/raftfsm/wire"
)

var seedFlag = flag.Int64("escrow.seed", 1, "seed of the random operations")

// oracle is the ledger written the slow and obvious way: unbounded integers in
// maps, held balances summed up from scratch whenever they are asked for.
type oracle struct {
	available, stake map[[32]byte]*big.Int
	pending          map[TransferID]oracleHold
	finished         map[TransferID]bool
	minted, burned   *big.Int
}

type oracleHold struct {
	from   [32]byte
	source Source
	amount *big.Int
}

func newOracle() *oracle {
	return &oracle{
		available: map[[32]byte]*big.Int{}, stake: map[[32]byte]*big.Int{},
		pending: map[TransferID]oracleHold{}, finished: map[TransferID]bool{},
		minted: new(big.Int), burned: new(big.Int),
	}
}

func (o *oracle) held(id [32]byte) *big.Int {
	sum := new(big.Int)
	for _, p := range o.pending {
		if p.from == id {
			sum.Add(sum, p.amount)
		}
	}
	return sum
}

func (o *oracle) balances(s Source) map[[32]byte]*big.Int {
	if s == FromStake {
		return o.stake
	}
	return o.available
}

func (o *oracle) used(id TransferID) bool {
	_, pending := o.pending[id]
	return pending || o.finished[id]
}

// once is the precondition of everything under a new id.
func (o *oracle) once(id TransferID, amount Credits, accounts ...[32]byte) bool {
	ok := !o.used(id) && amount >= 0 && amount <= MaxCredits
	for _, a := range accounts {
		ok = ok && o.available[a] != nil
	}
	return ok
}

func (o *oracle) open(id [32]byte, role Role) bool {
	if o.available[id] != nil || role < Requester || role > Admin {
		return false
	}
	o.available[id], o.stake[id] = new(big.Int), new(big.Int)
	return true
}

func (o *oracle) close(id [32]byte) bool {
	if o.available[id] == nil || o.available[id].Sign() != 0 || o.stake[id].Sign() != 0 {
		return false
	}
	for _, p := range o.pending {
		if p.from == id {
			return false
		}
	}
	delete(o.available, id)
	delete(o.stake, id)
	return true
}

func (o *oracle) mint(id TransferID, to [32]byte, amount Credits) bool {
	minted := new(big.Int).Add(o.minted, big.NewInt(int64(amount)))
	if !o.once(id, amount, to) || minted.Cmp(big.NewInt(int64(MaxCredits))) > 0 {
		return false
	}
	o.minted = minted
	o.available[to].Add(o.available[to], big.NewInt(int64(amount)))
	o.finished[id] = true
	return true
}

func (o *oracle) burn(id TransferID, from [32]byte, amount Credits) bool {
	if !o.once(id, amount, from) || !o.shift(o.available[from], new(big.Int), amount) {
		return false
	}
	o.burned.Add(o.burned, big.NewInt(int64(amount)))
	o.finished[id] = true
	return true
}

// shift moves amount from a to b if a has it.
func (o *oracle) shift(a, b *big.Int, amount Credits) bool {
	x := big.NewInt(int64(amount))
	if a.Cmp(x) < 0 {
		return false
	}
	a.Sub(a, x)
	b.Add(b, x)
	return true
}

func (o *oracle) move(id TransferID, from [32]byte, source Source, to [32]byte, target Source, amount Credits) bool {
	if !o.once(id, amount, from, to) || !o.shift(o.balances(source)[from], o.balances(target)[to], amount) {
		return false
	}
	o.finished[id] = true
	return true
}

func (o *oracle) hold(id TransferID, from [32]byte, source Source, amount Credits) bool {
	if !o.once(id, amount, from) || (source != FromAvailable && source != FromStake) ||
		!o.shift(o.balances(source)[from], new(big.Int), amount) {
		return false
	}
	o.pending[id] = oracleHold{from, source, big.NewInt(int64(amount))}
	return true
}

func (o *oracle) post(id TransferID, parts []Part) bool {
	p, ok := o.pending[id]
	sum := new(big.Int)
	for _, part := range parts {
		ok = ok && part.Amount >= 0 && o.available[part.To] != nil
		sum.Add(sum, big.NewInt(int64(part.Amount)))
	}
	if !ok || sum.Cmp(p.amount) > 0 {
		return false
	}
	for _, part := range parts {
		o.available[part.To].Add(o.available[part.To], big.NewInt(int64(part.Amount)))
	}
	source := o.balances(p.source)[p.from]
	source.Add(source, p.amount).Sub(source, sum)
	delete(o.pending, id)
	o.finished[id] = true
	return true
}

func (o *oracle) retire(ids []TransferID) bool {
	for _, id := range ids {
		if !o.finished[id] {
			return false
		}
	}
	for _, id := range ids {
		delete(o.finished, id)
	}
	return true
}

// step draws one operation and does it on both; it reports whether each accepted.
func step(r *rand.Rand, l *Ledger, o *oracle) (what string, err error, want bool) {
	account := func() [32]byte {
		if r.Intn(12) == 0 {
			return key(byte(10 + r.Intn(6))) // seldom used, hence often empty and closed
		}
		return key(byte(r.Intn(10)))
	}
	id := func() TransferID { return key(byte(r.Intn(250))) }
	amount := func() Credits {
		switch r.Intn(40) {
		case 0:
			return -Credits(r.Intn(3)) - 1
		case 1:
			return MaxCredits - Credits(r.Intn(5)) + 2
		case 2, 3, 4:
			return 0
		}
		return Credits(r.Int63n(1 << r.Intn(24)))
	}
	x, from, to, a := id(), account(), account(), amount()
	source := Source(r.Intn(60)/20 + 1) // now and then the balance nobody may name
	switch r.Intn(18) {
	case 0:
		role := Role(r.Intn(8))
		return "open", l.Open(from, role, "n"), o.open(from, role)
	case 1:
		from = key(byte(8 + r.Intn(8)))
		return "close", l.Close(from), o.close(from)
	case 2:
		return "mint", l.Mint(x, to, a), o.mint(x, to, a)
	case 3:
		a /= 8 // so that not all of it burns at once
		return "burn", l.Burn(x, from, a), o.burn(x, from, a)
	case 4, 5, 6:
		return "transfer", l.Transfer(x, from, to, a), o.move(x, from, FromAvailable, to, FromAvailable, a)
	case 7, 8:
		return "deposit", l.StakeDeposit(x, from, a), o.move(x, from, FromAvailable, from, FromStake, a)
	case 9:
		return "withdraw", l.StakeWithdraw(x, from, a), o.move(x, from, FromStake, from, FromAvailable, a)
	case 10, 11:
		return "hold", l.Hold(x, from, source, a), o.hold(x, from, source, a)
	case 12:
		return "void", l.Void(x), o.post(x, nil)
	case 13, 14, 15:
		ids := []TransferID{x, id(), id()}[:1+r.Intn(3)]
		if len(ids) == 3 {
			ids[2] = ids[0] // naming an id twice is naming it
		}
		return "retire", l.Retire(ids...), o.retire(ids)
	default:
		parts := make([]Part, r.Intn(4))
		for i := range parts {
			parts[i] = Part{To: account(), Amount: amount() / 2, Purpose: "part"}
		}
		return "post", l.Post(x, parts), o.post(x, parts)
	}
}

// same compares everything that can be seen of both.
func same(t *testing.T, l *Ledger, o *oracle) {
	t.Helper()
	equal := func(what string, got Credits, want *big.Int) {
		if want.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("%s is %v, oracle %v", what, got, want)
		}
	}
	accounts := l.Accounts()
	if len(accounts) != len(o.available) || len(l.pendings) != len(o.pending) || len(l.finished) != len(o.finished) {
		t.Fatalf("%d accounts, %d pending, %d finished; oracle %d, %d, %d", len(accounts), len(l.pendings), len(l.finished), len(o.available), len(o.pending), len(o.finished))
	}
	sum := new(big.Int)
	for _, a := range accounts {
		if o.available[a.ID] == nil {
			t.Fatalf("account %x is not in the oracle", a.ID)
		}
		equal("available", a.Available, o.available[a.ID])
		equal("stake", a.Stake, o.stake[a.ID])
		equal("held", a.Held, o.held(a.ID))
		sum.Add(sum, big.NewInt(int64(a.Available+a.Stake+a.Held)))
	}
	equal("minted", l.Minted(), o.minted)
	equal("burned", l.Burned(), o.burned)
	if sum.Cmp(new(big.Int).Sub(o.minted, o.burned)) != 0 {
		t.Fatalf("balances sum to %v, minted %v less burned %v", sum, o.minted, o.burned)
	}
	for id, p := range o.pending {
		got, ok := l.Pending(id)
		if !ok || got.From != p.from || got.Source != p.source {
			t.Fatalf("pending %x is %+v, oracle %+v", id, got, p)
		}
		equal("pending amount", got.Amount, p.amount)
	}
	for id := range o.finished {
		if !l.Finished(id) {
			t.Fatalf("transfer %x is not finished", id)
		}
	}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
}

// reload encodes the ledger and carries on with what decoding gives.
func reload(t *testing.T, l *Ledger) *Ledger {
	t.Helper()
	encoded := wire.Encode(l)
	decoded := new(Ledger)
	if err := wire.Decode(encoded, decoded); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wire.Encode(decoded), encoded) {
		t.Fatal("a decoded ledger encodes differently")
	}
	return decoded
}

func TestAgainstOracle(t *testing.T) {
	const operations = 1_500_000
	t.Logf("seed %d (set another with -escrow.seed)", *seedFlag)
	r := rand.New(rand.NewSource(*seedFlag))
	l, o := New(key(77)), newOracle()
	accepted, refused := map[string]int{}, map[string]int{}
	for n := range operations {
		var before []byte
		if n%32 == 0 {
			before = wire.Encode(l)
		}
		what, err, want := step(r, l, o)
		if (err == nil) != want {
			t.Fatalf("operation %d: %s: %v; the oracle says %v", n, what, err, want)
		}
		if err != nil {
			refused[what]++
			if before != nil && !bytes.Equal(before, wire.Encode(l)) {
				t.Fatalf("operation %d: %s was refused (%v) yet changed the ledger", n, what, err)
			}
		} else {
			accepted[what]++
		}
		if n%32 == 0 {
			same(t, l, o)
		}
		if n%4096 == 0 {
			l = reload(t, l)
		}
		if n%3000 == 2999 {
			// Start over: the first mints of a ledger are those that may come near the limit.
			same(t, l, o)
			l, o = New(key(77)), newOracle()
		}
	}
	same(t, l, o)
	for what := range refused {
		if accepted[what] < operations/1000 || refused[what] < operations/1000 {
			t.Errorf("%s was accepted %d and refused %d times: too few to mean anything", what, accepted[what], refused[what])
		}
	}
	t.Logf("accepted %v, refused %v", accepted, refused)
}
