package beacon_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/beacon"
	"gavel/raftfsm/wire"
)

func TestHonestDealsVerify(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		f := deal(t, n)
		for _, d := range f.deals {
			if err := d.Verify(f.ceremony); err != nil {
				t.Errorf("%s: %v", name(n), err)
			}
		}
	}
}

// cloneDeal goes through the codec, so every tampering test also shows that the
// deal as it arrives from the log is the deal that was posted.
func cloneDeal(t *testing.T, d *beacon.Deal) *beacon.Deal {
	t.Helper()
	out := new(beacon.Deal)
	if err := wire.Decode(wire.Encode(d), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBadDealsAreFoundInPublic(t *testing.T) {
	f := deal(t, 5)
	otherRound := f.ceremony
	otherRound.Round++
	cases := map[string]func(d *beacon.Deal){
		"dealer 0":                func(d *beacon.Deal) { d.Dealer = 0 },
		"dealer beyond the group": func(d *beacon.Deal) { d.Dealer = 6 },
		"another's deal":          func(d *beacon.Deal) { d.Dealer = 2 },
		"a commitment missing":    func(d *beacon.Deal) { d.Commitments = d.Commitments[:2] },
		"a commitment too many":   func(d *beacon.Deal) { d.Commitments = append(d.Commitments, d.Commitments[0]) },
		"no commitments":          func(d *beacon.Deal) { d.Commitments = nil },
		"a share missing":         func(d *beacon.Deal) { d.Shares = d.Shares[:4] },
		"a share too many":        func(d *beacon.Deal) { d.Shares = append(d.Shares, d.Shares[0]) },
		"a short share":           func(d *beacon.Deal) { d.Shares[3] = d.Shares[3][:79] },
		"another's proof":         func(d *beacon.Deal) { d.Possession = f.deals[1].Possession },
		"another's constant term": func(d *beacon.Deal) { d.Commitments[0] = f.deals[1].Commitments[0] },
		"another's term and its proof": func(d *beacon.Deal) {
			d.Commitments[0], d.Possession = f.deals[1].Commitments[0], f.deals[1].Possession
		},
	}
	for what, p := range badG2() {
		for k := range 3 {
			cases[fmt.Sprintf("commitment %d is %s", k, what)] = func(d *beacon.Deal) { d.Commitments[k] = p }
		}
	}
	for what, p := range badG1() {
		cases["proof is "+what] = func(d *beacon.Deal) { d.Possession = p }
	}
	for what, tamper := range cases {
		d := cloneDeal(t, f.deals[0])
		if err := d.Verify(f.ceremony); err != nil {
			t.Fatalf("before tampering: %v", err)
		}
		tamper(d)
		if err := d.Verify(f.ceremony); !errors.Is(err, beacon.ErrBadDeal) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := f.deals[0].Verify(otherRound); !errors.Is(err, beacon.ErrBadDeal) {
		t.Errorf("replayed in another round: %v", err)
	}
}

// A dealer that sends one member a wrong share is accused; it can only justify
// itself with the right value, and then the accuser has its share.
func TestComplaintAndJustification(t *testing.T) {
	f := deal(t, 5)
	second, err := beacon.NewDealing(rand.Reader, f.ceremony, 2)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := second.Deal(f.public)
	if err != nil {
		t.Fatal(err)
	}
	// Dealer 2 sends member 4 a share of another polynomial.
	bad := f.deals[1]
	bad.Shares[3] = forged.Shares[3]
	if err := bad.Verify(f.ceremony); err != nil {
		t.Fatalf("what is sealed cannot be seen in public: %v", err)
	}
	if _, err := beacon.OpenShare(f.ceremony, bad, 4, f.private[3]); !errors.Is(err, beacon.ErrBadShare) {
		t.Fatalf("wrong share: %v", err)
	}
	if _, err := beacon.OpenShare(f.ceremony, bad, 3, f.private[2]); err != nil {
		t.Fatalf("another member's share: %v", err)
	}
	lie, _ := second.Justify(4)
	if _, err := lie.Open(f.ceremony, bad); !errors.Is(err, beacon.ErrBadShare) {
		t.Errorf("false justification: %v", err)
	}
	truth, err := f.dealings[1].Justify(4)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := truth.Open(f.ceremony, bad)
	if err != nil {
		t.Fatalf("true justification: %v", err)
	}
	group, err := beacon.Assemble(f.ceremony, f.deals)
	if err != nil {
		t.Fatal(err)
	}
	parts := []beacon.Secret{mine}
	for _, d := range []int{0, 2, 3, 4} {
		s, err := beacon.OpenShare(f.ceremony, f.deals[d], 4, f.private[3])
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, s)
	}
	share, err := beacon.CombineShares(4, parts, group.Shares[3])
	if err != nil {
		t.Fatal(err)
	}
	if err := group.VerifyPartial(message(1), share.Sign(message(1))); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]beacon.Secret{nil, parts[:4], append(parts[:4:4], beacon.Secret{}), append(parts[:4:4], parts[0])} {
		if _, err := beacon.CombineShares(4, wrong, group.Shares[3]); err == nil {
			t.Errorf("combined %d wrong parts", len(wrong))
		}
	}
}

func TestJustificationRefusals(t *testing.T) {
	f := deal(t, 3)
	good, _ := f.dealings[0].Justify(2)
	if _, err := good.Open(f.ceremony, f.deals[0]); err != nil {
		t.Fatal(err)
	}
	for what, tamper := range map[string]func(*beacon.Justification){
		"another accuser":     func(j *beacon.Justification) { j.Accuser = 3 },
		"accuser 0":           func(j *beacon.Justification) { j.Accuser = 0 },
		"accuser beyond":      func(j *beacon.Justification) { j.Accuser = 4 },
		"another dealer":      func(j *beacon.Justification) { j.Dealer = 2 },
		"wrong value":         func(j *beacon.Justification) { j.Value[31] ^= 1 },
		"value not canonical": func(j *beacon.Justification) { j.Value = [32]byte(bytes.Repeat([]byte{0xff}, 32)) },
	} {
		j := good
		tamper(&j)
		if _, err := j.Open(f.ceremony, f.deals[0]); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := f.dealings[0].Justify(4); err == nil {
		t.Error("justified towards a stranger")
	}
}

// Bad dealers are left out; the rest still make a key, and its holders sign.
func TestQualifiedDealersSuffice(t *testing.T) {
	f := deal(t, 5).finish(t, 1, 3, 4)
	msg := message(2)
	if err := beacon.Verify(f.group.Key, msg, f.sign(t, msg)); err != nil {
		t.Error(err)
	}
}

func TestOpenShareIsBoundToItsPlace(t *testing.T) {
	f := deal(t, 3)
	open := func(c beacon.Ceremony, d *beacon.Deal, index uint32, key hpke.PrivateKey) error {
		_, err := beacon.OpenShare(c, d, index, key)
		return err
	}
	if err := open(f.ceremony, f.deals[0], 2, f.private[1]); err != nil {
		t.Fatal(err)
	}
	round := f.ceremony
	round.Round++
	renamed := cloneDeal(t, f.deals[0])
	renamed.Dealer = 2
	moved := cloneDeal(t, f.deals[0])
	moved.Shares[0] = moved.Shares[1]
	short := cloneDeal(t, f.deals[0])
	short.Shares = short.Shares[:1]
	p256, err := hpke.DHKEM(ecdh.P256()).GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"another round":      open(round, f.deals[0], 2, f.private[1]),
		"another dealer":     open(f.ceremony, renamed, 2, f.private[1]),
		"another's key":      open(f.ceremony, f.deals[0], 2, f.private[0]),
		"another's place":    open(f.ceremony, moved, 1, f.private[1]),
		"index 0":            open(f.ceremony, f.deals[0], 0, f.private[1]),
		"index beyond":       open(f.ceremony, f.deals[0], 4, f.private[1]),
		"too few shares":     open(f.ceremony, short, 2, f.private[1]),
		"no key":             open(f.ceremony, f.deals[0], 2, nil),
		"key of P-256":       open(f.ceremony, f.deals[0], 2, p256),
		"commitments of 2nd": open(f.ceremony, &beacon.Deal{Dealer: 1, Commitments: f.deals[1].Commitments, Shares: f.deals[0].Shares}, 2, f.private[1]),
	} {
		if err == nil {
			t.Errorf("%s: opened", what)
		}
	}
	if _, err := f.dealings[0].Deal(f.public[:2]); err == nil {
		t.Error("dealt to two of three")
	}
	if _, err := f.dealings[0].Deal([]hpke.PublicKey{f.public[0], f.public[1], p256.PublicKey()}); err == nil {
		t.Error("dealt to a P-256 key")
	}
}

func TestNewDealingRefusals(t *testing.T) {
	c := ceremony(3)
	for what, err := range map[string]error{
		"dealer 0":          second(beacon.NewDealing(rand.Reader, c, 0)),
		"dealer 4 of 3":     second(beacon.NewDealing(rand.Reader, c, 4)),
		"no members":        second(beacon.NewDealing(rand.Reader, ceremony(0), 1)),
		"too many":          second(beacon.NewDealing(rand.Reader, ceremony(beacon.MaxMembers+1), 1)),
		"randomness dry":    second(beacon.NewDealing(io.LimitReader(rand.Reader, 90), c, 1)),
		"verify no members": new(beacon.Deal).Verify(ceremony(0)),
		"assemble none":     second(beacon.Assemble(ceremony(0), nil)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	// The reader alone decides the polynomial.
	seed := bytes.Repeat([]byte{7, 1, 9}, 64)
	a, err := beacon.NewDealing(bytes.NewReader(seed), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := beacon.NewDealing(bytes.NewReader(seed), c, 1)
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same randomness gave two polynomials")
	}
}

func second[T any](_ T, err error) error { return err }

// Secrets that reach a log line must not show, however they are wrapped.
func TestSecretsDoNotPrint(t *testing.T) {
	f := setup(t, 1)
	secret, err := beacon.OpenShare(f.ceremony, f.deals[0], 1, f.private[0])
	if err != nil {
		t.Fatal(err)
	}
	// With one member the share is the whole key, and a justification names it.
	j, _ := f.dealings[0].Justify(1)
	file := beacon.ShareFile{Ceremony: f.ceremony, Group: f.group.Key, Share: f.shares[0]}
	wrapped := struct {
		share   beacon.Share
		secret  beacon.Secret
		dealing *beacon.Dealing
		value   beacon.Dealing
		parts   []beacon.Secret
	}{f.shares[0], secret, f.dealings[0], *f.dealings[0], []beacon.Secret{secret}}
	// What would show: the value in hex and in decimal, of its ends.
	hexed := fmt.Sprintf("%x", j.Value)
	bytewise := strings.Trim(fmt.Sprint(j.Value[:4]), "[]")
	for _, v := range []any{f.shares[0], &f.shares[0], secret, &secret, f.dealings[0], file, &file, wrapped, &wrapped} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(strings.ToLower(out), hexed[:12]) || strings.Contains(out, bytewise) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, out)
			}
			if len(out) > 2000 {
				t.Errorf("%s of %T prints %d bytes", verb, v, len(out))
			}
		}
	}
	if got := fmt.Sprint(f.shares[0], secret, f.dealings[0]); got != "beacon share of member 1 (hidden) hidden beacon dealing of member 1 (hidden)" {
		t.Error(got)
	}
}

func TestFilesRoundTrip(t *testing.T) {
	f := setup(t, 3)
	file := beacon.ShareFile{Ceremony: f.ceremony, Group: f.group.Key, Share: f.shares[1]}
	got, err := beacon.ParseShareFile(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got.Ceremony != f.ceremony || got.Group != f.group.Key || got.Share.Sign(message(0)) != f.shares[1].Sign(message(0)) {
		t.Error("share file changed what it holds")
	}
	if err := got.Share.Check(f.group.Shares[1]); err != nil {
		t.Error(err)
	}
	if err := got.Share.Check(f.group.Shares[0]); err == nil {
		t.Error("share passes for another member's")
	}
	dealing, err := beacon.ParseDealing(f.dealings[2].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	// The dealer that comes back after a crash answers as before.
	before, _ := f.dealings[2].Justify(1)
	after, err := dealing.Justify(1)
	if err != nil || before != after {
		t.Errorf("dealing file changed what it holds: %v", err)
	}
	again, err := dealing.Deal(f.public)
	if err != nil || !slices.Equal(again.Commitments, f.deals[2].Commitments) || again.Possession != f.deals[2].Possession {
		t.Errorf("a dealing dealt twice commits to two things: %v", err)
	}
	for i, b := range [][]byte{
		nil, file.Bytes()[1:], append(file.Bytes(), '\n'), append([]byte("note\n"), file.Bytes()...),
		f.dealings[2].Bytes(), bytes.ReplaceAll(file.Bytes(), []byte("\n"), []byte("\r\n")), make([]byte, 5000),
		bytes.Replace(file.Bytes(), []byte("SHARE-----\n"), []byte("SHARE-----\nA: b\n\n"), 1),
	} {
		if _, err := beacon.ParseShareFile(b); err == nil {
			t.Errorf("damaged share file %d parses", i)
		}
	}
	if _, err := beacon.ParseDealing(file.Bytes()); err == nil {
		t.Error("a share file passes for a dealing")
	}
	empty := beacon.ShareFile{Ceremony: f.ceremony}
	mustPanic(t, func() { empty.Bytes() })
	mustPanic(t, func() { beacon.Share{Index: 1}.Sign(nil) })
}

func mustPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("an empty share was used")
		}
	}()
	f()
}
