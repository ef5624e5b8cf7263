package market

import (
	"math/big"
	"slices"
	"strings"
	"testing"

	bls "github.com/consensys/gnark-crypto/ecc/bls12-381"

	"gavel/raftfsm/auction"
	"gavel/raftfsm/beacon"
	"gavel/raftfsm/build"
	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

var cluster = build.ID{7: 7}

const dst = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"

// secret signs as a group of coordinators would together.
var secret = big.NewInt(20260919)

func group() (key beacon.GroupKey) {
	_, _, _, g2 := bls.Generators()
	var public bls.G2Affine
	public.ScalarMultiplication(&g2, secret)
	return beacon.GroupKey(public.Bytes())
}

func sign(t *testing.T, m *build.Market, purpose string, round uint64) (sigma [48]byte) {
	t.Helper()
	point, err := bls.HashToG1(beacon.Message(cluster, purpose, m.ID, round), []byte(dst))
	if err != nil {
		t.Fatal(err)
	}
	point.ScalarMultiplication(&point, secret)
	return point.Bytes()
}

func id(n byte) build.ID { return build.ID{0: n, 31: n} }

// epoch is a market that has cleared one lot of units among four asks, two of
// them at one price.
func epoch(t *testing.T, pricing auction.Pricing) (*build.Pool, *build.Market) {
	t.Helper()
	p := &build.Pool{Name: "burst", Lane: build.LaneBatch, Domain: build.DomainOperator,
		Batch: build.BatchRules{EpochMillis: 1000, Reserve: 10 * escrow.One, Pricing: pricing}}
	m := build.NewMarket(cluster, p.Name)
	l := &build.Clearing{Number: 3, Reserve: p.Batch.Reserve, Sigma: sign(t, m, build.PurposeAsks, 3)}
	for i, price := range []escrow.Credits{3, 2, 2, 5} {
		operator := wire.NewHasher("operator").Text(string(rune('a' + i))).Sum()
		a := build.Ask{Worker: id(byte(i + 1)), Opened: true, Nonce: id(byte(200 + i)), Price: price * escrow.One, Capacity: 3, Operator: operator, Tie: build.TieOf(l.Sigma, operator)}
		a.Commitment = build.AskCommitment(cluster, m.ID, l.Number, a.Worker, a.Price, a.Capacity, a.Nonce)
		l.Asks = append(l.Asks, a)
	}
	lot := build.Lot{Asks: []uint32{0, 1, 2, 3}, Paid: make([]escrow.Credits, 4), Units: 7}
	var asks []auction.Ask
	for _, a := range l.Asks {
		asks = append(asks, auction.Ask{Tie: a.Tie, Price: a.Price, Capacity: a.Capacity})
	}
	out, err := auction.ClearBatch(asks, lot.Units, p.Batch.Reserve, pricing)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range out.Allocation {
		l.Asks[i].Given, lot.Paid[i] = n, out.Payments[i]
		for range n {
			l.Units = append(l.Units, build.Unit{Build: id(byte(100 + len(l.Units))), Ask: uint32(i)})
		}
	}
	l.Lots = []build.Lot{lot}
	m.Epoch.Last = l
	return p, m
}

// candle is a market that has closed one auction, with bids before and in its
// ending period.
func candle(t *testing.T) (*build.Pool, *build.Market) {
	t.Helper()
	p := &build.Pool{Name: "ahead", Lane: build.LaneLease, Domain: build.DomainOperator, Lease: build.LeaseRules{PeriodMillis: 1000, EndingMillis: 1000, Samples: 10, Slots: 5}}
	m := build.NewMarket(cluster, p.Name)
	l := &build.CandleClose{Number: 2, EndingAt: 500, Sigma: sign(t, m, build.PurposeCandle, 2), Free: []build.ID{id(50), id(51), id(52)}}
	seed := beacon.Randomness(beacon.Signature(l.Sigma))
	l.Step = uint32(auction.CloseSample(seed, 10))
	for i, at := range []int64{100, 200, 650, 750, 850, 950, 1050, 1150, 1250, 1350, 1450} {
		l.Bids = append(l.Bids, build.HeldBid{At: at, Bid: auction.CandleBid{Bidder: id(byte(i)), First: 1, Last: uint8(1 + i%4), PerPeriod: escrow.Credits(i+1) * escrow.One}})
	}
	book, err := l.Book(&p.Lease)
	if err != nil {
		t.Fatal(err)
	}
	l.Won, _ = book.Winners()
	l.Worker = build.DrawnWorker(seed, l.Free)
	m.Candle.Last = l
	return p, m
}

func lottery(t *testing.T) (*build.Pool, *build.Market) {
	t.Helper()
	p := &build.Pool{Name: "free", Lane: build.LaneLottery, Domain: build.DomainOperator, Lottery: build.LotteryRules{Price: 1, Rule: auction.TicketAllPay, Lookahead: 5, SlotMillis: 1000}}
	m := build.NewMarket(cluster, p.Name)
	d := build.TicketDraw{Number: 1, Wanted: 6, Sigma: sign(t, m, build.PurposeLottery, 1), Holdings: []auction.Holding{{Owner: id(1), Tickets: 4}, {Owner: id(2), Tickets: 9}, {Owner: id(3), Tickets: 1}}}
	places, err := auction.DrawTickets(beacon.Randomness(beacon.Signature(d.Sigma)), d.Holdings, 6)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range places {
		d.Owners = append(d.Owners, d.Holdings[at].Owner)
	}
	m.Lottery.Drawn = []build.TicketDraw{d}
	return p, m
}

// wrong returns what is found wrong.
func wrong(p *build.Pool, m *build.Market) (all int, bad []string) {
	checks := Verify(cluster, []beacon.GroupKey{group()}, p, m)
	for _, c := range checks {
		if !c.OK {
			bad = append(bad, c.What+": "+c.Detail)
		}
	}
	return len(checks), bad
}

func TestTrueMarketsPass(t *testing.T) {
	for pricing := auction.PricingVCG; pricing <= auction.PricingFirst; pricing++ {
		p, m := epoch(t, pricing)
		if n, bad := wrong(p, m); n != 5 || len(bad) > 0 {
			t.Errorf("%v: %d checks, %q", pricing, n, bad)
		}
	}
	p, m := candle(t)
	if n, bad := wrong(p, m); n != 4 || len(bad) > 0 {
		t.Errorf("candle: %d checks, %q", n, bad)
	}
	p, m = lottery(t)
	if n, bad := wrong(p, m); n != 2 || len(bad) > 0 {
		t.Errorf("lottery: %d checks, %q", n, bad)
	}
	if n, bad := wrong(p, build.NewMarket(cluster, p.Name)); n != 0 || len(bad) > 0 {
		t.Errorf("an empty market: %d checks, %q", n, bad)
	}
}

// Whatever is altered in a record is found, and named.
func TestAlteredMarketsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		of    func(*testing.T) (*build.Pool, *build.Market)
		alter func(*build.Pool, *build.Market)
		says  string
	}{
		"another pool's market": {lottery, func(p *build.Pool, _ *build.Market) { p.Name = "other" }, "market's id"},
		"epoch, signature":      {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Number++ }, "the draw"},
		"epoch, tie":            {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Asks[2].Tie[0] ^= 1 }, "order of equal prices"},
		"epoch, price":          {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Asks[3].Price -= escrow.One }, "the asks"},
		"epoch, not opened":     {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Asks[0].Opened = false }, "the asks"},
		"epoch, reserve":        {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Reserve++ }, "the asks"},
		"epoch, no units":       {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Lots[0].Units = 0 }, "what was given"},
		"epoch, paid for none": {vcg, func(_ *build.Pool, m *build.Market) {
			m.Epoch.Last.Lots = append(m.Epoch.Last.Lots, build.Lot{Asks: []uint32{0}, Paid: []escrow.Credits{9}})
		}, "what was given"},
		"candle, rules":      {candle, func(p *build.Pool, _ *build.Market) { p.Lease.Samples = 0 }, "the pool's rules"},
		"lottery, cut short": {lottery, func(_ *build.Pool, m *build.Market) { m.Lottery.Drawn[0].Owners = m.Lottery.Drawn[0].Owners[:1] }, "its owners"},
		"epoch, payment":     {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Lots[0].Paid[1]++ }, "prices by vcg"},
		"epoch, rule":        {vcg, func(p *build.Pool, _ *build.Market) { p.Batch.Pricing = auction.PricingFirst }, "prices by first"},
		"epoch, a unit more": {vcg, func(_ *build.Pool, m *build.Market) {
			m.Epoch.Last.Units = append(m.Epoch.Last.Units, m.Epoch.Last.Units[0])
		}, "what was given"},
		"epoch, stray unit": {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Units[0].Ask = 9 }, "what was given"},
		"epoch, stray lot":  {vcg, func(_ *build.Pool, m *build.Market) { m.Epoch.Last.Units[0].Lot = 9 }, "what was given"},
		"candle, signature": {candle, func(_ *build.Pool, m *build.Market) { m.Candle.Last.Sigma = [48]byte{} }, "the draw"},
		"candle, step":      {candle, func(_ *build.Pool, m *build.Market) { m.Candle.Last.Step ^= 1 }, "its close"},
		"candle, a bid withheld": {candle, func(_ *build.Pool, m *build.Market) {
			l := m.Candle.Last
			l.Bids = slices.DeleteFunc(slices.Clone(l.Bids), func(b build.HeldBid) bool { return b.Bid == l.Won[0] })
		}, "its winners"},
		"candle, bids swapped": {candle, func(_ *build.Pool, m *build.Market) {
			l := m.Candle.Last
			l.Bids[0].Bid.First = 3 // a range that ends before it begins
		}, "its bids"},
		"candle, winner": {candle, func(_ *build.Pool, m *build.Market) { m.Candle.Last.Won[0].Bidder = id(99) }, "its winners"},
		"candle, worker": {candle, func(_ *build.Pool, m *build.Market) { m.Candle.Last.Worker = id(99) }, "its worker"},
		"lottery, owner": {lottery, func(_ *build.Pool, m *build.Market) { m.Lottery.Drawn[0].Owners[0] = id(99) }, "its owners"},
		"lottery, tickets": {lottery, func(_ *build.Pool, m *build.Market) {
			m.Lottery.Drawn[0].Holdings[0].Tickets, m.Lottery.Drawn[0].Holdings[2].Tickets = 400, 400
		}, "its owners"},
		"lottery, nobody's": {lottery, func(_ *build.Pool, m *build.Market) { m.Lottery.Drawn[0].Holdings = nil }, "its owners"},
		"lottery, round":    {lottery, func(_ *build.Pool, m *build.Market) { m.Lottery.Drawn[0].Number = 2 }, "the draw"},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := c.of(t)
			c.alter(p, m)
			if _, bad := wrong(p, m); !strings.Contains(strings.Join(bad, "\n"), c.says) {
				t.Errorf("found %q, want something about %q", bad, c.says)
			}
		})
	}
}

func vcg(t *testing.T) (*build.Pool, *build.Market) { return epoch(t, auction.PricingVCG) }

// Records of any content are checked without a panic.
func FuzzVerify(f *testing.F) {
	f.Add(wire.Encode(build.NewMarket(cluster, "pool")), uint8(3))
	f.Fuzz(func(t *testing.T, raw []byte, lane uint8) {
		var m build.Market
		if wire.Decode(raw, &m) != nil {
			return
		}
		p := &build.Pool{
			Name: "pool", Lane: build.Lane(lane), Domain: build.DomainOperator, Lease: build.LeaseRules{PeriodMillis: 1000, EndingMillis: 10, Samples: 3, Slots: 1},
			Batch: build.BatchRules{EpochMillis: 100, Reserve: 1, Pricing: auction.PricingVCG}, Lottery: build.LotteryRules{Rule: auction.TicketAllPay, SlotMillis: 100},
		}
		Verify(cluster, []beacon.GroupKey{group()}, p, &m)
	})
}
