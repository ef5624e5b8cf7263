package auction

import (
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"gavel/raftfsm/escrow"
)

// vectorCase is what the rules of this package use of a case in testdata/market.json.
type vectorCase struct {
	ID, Rule    string
	Reserve     escrow.Credits
	Cap         escrow.Credits
	Realized    *escrow.Credits
	FailureCap  escrow.Credits            `json:"c_l"`
	Seller      []vectorBid               `json:"seller_bids"`
	Buyer       []vectorBid               `json:"buyer_bids"`
	Reported    map[string]escrow.Credits `json:"reported_scores"`
	WinnerValue escrow.Credits            `json:"winner_value"`
	WinnerCost  escrow.Credits            `json:"winner_cost"`
	N, C, K     int
	Panel       int
	R, X        escrow.Credits
	Rows        []oddsRow
	Expect      vectorExpect
}

type vectorBid struct {
	ID           string
	Value, Price escrow.Credits
}

type vectorExpect struct {
	Scores           map[string]escrow.Credits
	Winner           *string
	Reference        *escrow.Credits
	Payment          *escrow.Credits
	PaymentUncapped  *escrow.Credits `json:"payment_uncapped"`
	NetOfTrueCost    *escrow.Credits `json:"net_of_true_cost"`
	WinnerTotalLoss  *escrow.Credits `json:"winner_total_loss"`
	PaymentOnSuccess escrow.Credits  `json:"payment_on_success"`
	PaymentOnFailure escrow.Credits  `json:"payment_on_failure"`
	Stake            escrow.Credits
	PAll             [2]int64 `json:"p_all"`
	PFlip            [2]int64 `json:"p_flip"`
	PSlash           [2]int64 `json:"p_slash"`
	PSplit           [2]int64 `json:"p_split"`
}

type oddsRow struct {
	N, C, K     int
	Numerator   int64 `json:"all_colluding_numerator"`
	Denominator int64
	PPMFloor    int64 `json:"ppm_floor"`
}

func vectors(t *testing.T, want int, rules ...string) []vectorCase {
	t.Helper()
	return casesOf[vectorCase](t, want, rules...)
}

// casesOf reads the cases of some rules, each into a T, and fails unless there are as many as expected.
func casesOf[T any](t *testing.T, want int, rules ...string) (chosen []T) {
	t.Helper()
	raw, err := os.ReadFile("../../testdata/market.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []json.RawMessage }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, text := range file.Cases {
		var rule struct{ Rule string }
		if err := json.Unmarshal(text, &rule); err != nil {
			t.Fatal(err)
		}
		if len(rules) > 0 && !slices.Contains(rules, rule.Rule) {
			continue
		}
		var c T
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		chosen = append(chosen, c)
	}
	if len(chosen) != want {
		t.Fatalf("%d cases of %v, want %d", len(chosen), rules, want)
	}
	return chosen
}

// unlimited is a reserve price that caps no payment of the vectors.
const unlimited = escrow.MaxCredits

// asAuction lays out bids of different values as promises to finish at
// different times under one value function.
func asAuction(bids []vectorBid) ([]Bid, ValueFunction, map[[32]byte]string) {
	var values []escrow.Credits
	for _, b := range bids {
		values = append(values, b.Value)
	}
	slices.SortFunc(values, func(a, b escrow.Credits) int { return int(b - a) })
	values = slices.Compact(values)
	var value ValueFunction
	for i, v := range values {
		value.Steps = append(value.Steps, Step{StartMillis: uint64(i) * 100, Value: v})
	}
	var list []Bid
	names := map[[32]byte]string{}
	for i, b := range bids {
		bid := Bid{Worker: key(byte(i)), Operator: key(byte(i)), Domain: b.ID, Price: b.Price}
		bid.FinishMillis = uint64(slices.Index(values, b.Value))*100 + 99
		names[bid.Worker] = b.ID
		list = append(list, bid)
	}
	return list, value, names
}

// clearVector clears a case and holds winner, scores and reference to what is expected.
func clearVector(t *testing.T, c vectorCase) (Ranked, Outcome, bool) {
	t.Helper()
	bids, value, names := asAuction(c.Seller)
	if c.Rule == "vickrey" {
		value = Constant(c.Reserve)
	}
	outcome, err := Clear(bids, value, []byte("sigma"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range outcome.Ranking {
		if want, ok := c.Expect.Scores[names[r.Worker]]; ok && r.Score != want {
			t.Errorf("score of %s is %v, want %v", names[r.Worker], r.Score, want)
		}
	}
	winner, won := outcome.Winner()
	if won != (c.Expect.Winner != nil) {
		t.Fatalf("won: %v, want %v", won, c.Expect.Winner)
	}
	if won && names[winner.Worker] != *c.Expect.Winner {
		t.Fatalf("winner %s, want %s", names[winner.Worker], *c.Expect.Winner)
	}
	if c.Expect.Reference != nil && outcome.Reference != *c.Expect.Reference {
		t.Errorf("reference %v, want %v", outcome.Reference, *c.Expect.Reference)
	}
	return winner, outcome, won
}

// paid fails the test unless the payment is what is expected.
func paid(t *testing.T, got escrow.Credits, err error, want escrow.Credits) {
	t.Helper()
	if err != nil || got != want {
		t.Errorf("payment %v, %v; want %v", got, err, want)
	}
}

func TestScoreVectors(t *testing.T) {
	for _, c := range vectors(t, 10, "score", "vickrey") {
		t.Run(c.ID, func(t *testing.T) {
			winner, outcome, won := clearVector(t, c)
			if !won {
				return
			}
			value, reserve := c.Reserve, c.Reserve
			if c.Rule == "score" {
				value, reserve = winner.Score+winner.Price, unlimited
			}
			if c.Cap != 0 {
				reserve = c.Cap
			}
			got, err := Payment(value, outcome.Reference, reserve)
			paid(t, got, err, *c.Expect.Payment)
			if c.Expect.NetOfTrueCost != nil && got-winner.Price != *c.Expect.NetOfTrueCost {
				t.Errorf("net of cost %v, want %v", got-winner.Price, *c.Expect.NetOfTrueCost)
			}
			if c.Expect.PaymentUncapped != nil {
				uncapped, err := Payment(value, outcome.Reference, unlimited)
				paid(t, uncapped, err, *c.Expect.PaymentUncapped)
			}
		})
	}
}

// A buyer's second-price auction is the seller's turned over: a bid of b is an
// offer to give up the good's highest price for the rest.
func TestVickreyForwardVectors(t *testing.T) {
	for _, c := range vectors(t, 1, "vickrey-forward") {
		top := escrow.Credits(0)
		for _, b := range c.Buyer {
			top = max(top, b.Price)
		}
		var bids []Bid
		for i, b := range c.Buyer {
			bids = append(bids, Bid{Worker: key(byte(i)), Domain: b.ID, Price: top - b.Price})
		}
		outcome, err := Clear(bids, Constant(top), nil)
		if err != nil {
			t.Fatal(err)
		}
		winner, won := outcome.Winner()
		if !won || winner.Domain != *c.Expect.Winner {
			t.Fatalf("winner %q, want %q", winner.Domain, *c.Expect.Winner)
		}
		got, err := Payment(top, outcome.Reference, top)
		paid(t, top-got, err, *c.Expect.Payment)
	}
}

func TestRealizedVectors(t *testing.T) {
	for _, c := range vectors(t, 4, "score-realized", "score-realized-cost-covered") {
		t.Run(c.ID, func(t *testing.T) {
			if c.Reported != nil {
				realizedByReport(t, c)
				return
			}
			winner, outcome, _ := clearVector(t, c)
			switch {
			case c.Realized != nil:
				got, err := Payment(*c.Realized, outcome.Reference, unlimited)
				paid(t, got, err, *c.Expect.Payment)
			case strings.HasSuffix(c.Rule, "cost-covered"):
				got, err := CostCoveredFailurePayment(winner.Price, outcome.Reference, unlimited)
				paid(t, got, err, *c.Expect.Payment)
				if loss := winner.Price - got; loss != *c.Expect.WinnerTotalLoss {
					t.Errorf("the winner loses %v, want %v", loss, *c.Expect.WinnerTotalLoss)
				}
			default:
				got, err := FailurePayment(outcome.Reference, c.FailureCap)
				paid(t, got, err, *c.Expect.Payment)
				got, err = PaymentWithin(0, outcome.Reference, -c.FailureCap, unlimited)
				paid(t, got, err, *c.Expect.Payment)
			}
		})
	}
}

// realizedByReport runs a case that gives scores instead of bids: each becomes a bid of that score.
func realizedByReport(t *testing.T, c vectorCase) {
	const value = 100_000_000
	var bids []Bid
	for name, score := range c.Reported {
		bids = append(bids, Bid{Worker: key(name[0]), Domain: name, Price: value - score})
	}
	outcome, err := Clear(bids, Constant(value), nil)
	if err != nil {
		t.Fatal(err)
	}
	if winner, _ := outcome.Winner(); winner.Domain != *c.Expect.Winner || outcome.Reference != *c.Expect.Reference {
		t.Errorf("winner %s, reference %v", winner.Domain, outcome.Reference)
	}
	success, err := Payment(c.WinnerValue, outcome.Reference, unlimited)
	paid(t, success, err, c.Expect.PaymentOnSuccess)
	failure, err := CostCoveredFailurePayment(c.WinnerCost, outcome.Reference, unlimited)
	paid(t, failure, err, c.Expect.PaymentOnFailure)
}

func TestStakeVectors(t *testing.T) {
	for _, c := range vectors(t, 6, "stake") {
		t.Run(c.ID, func(t *testing.T) {
			if got := PanelSize(c.N, c.K); got != c.Panel {
				t.Errorf("panel of %d, want %d", got, c.Panel)
			}
			odds, err := OddsOf(c.N, c.C, c.K, c.Panel)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []struct {
				name string
				got  *big.Rat
				want [2]int64
			}{{"all", odds.PAll, c.Expect.PAll}, {"flip", odds.PFlip, c.Expect.PFlip}, {"slash", odds.PSlash, c.Expect.PSlash}, {"split", odds.PSplit, c.Expect.PSplit}} {
				if p.got.Cmp(big.NewRat(p.want[0], p.want[1])) != 0 {
					t.Errorf("p_%s is %v, want %v", p.name, p.got, p.want)
				}
			}
			if got, err := Stake(c.N, c.C, c.K, c.Panel, c.R, c.X, PPM); err != nil || got != c.Expect.Stake {
				t.Errorf("stake %d, %v; want %d", got, err, c.Expect.Stake)
			}
		})
	}
}

func TestOddsVectors(t *testing.T) {
	for _, row := range vectors(t, 1, "odds")[0].Rows {
		got := AllColluding(row.C, row.K, row.N)
		if got.Cmp(big.NewRat(row.Numerator, row.Denominator)) != 0 {
			t.Errorf("%+v: odds %v", row, got)
		}
		// The floor in ppm is what the odds are at least, and one more what they are below.
		if AcceptableOdds(row.C, row.K, row.N, uint64(row.PPMFloor)) && row.Numerator*PPM%row.Denominator != 0 {
			t.Errorf("%+v: accepted at its floor", row)
		}
		if !AcceptableOdds(row.C, row.K, row.N, uint64(row.PPMFloor)+1) || AcceptableOdds(row.C, row.K, row.N, uint64(row.PPMFloor)-1) {
			t.Errorf("%+v: accepted and refused on the wrong sides", row)
		}
		if odds, err := OddsOf(row.N, row.C, row.K, PanelSize(row.N, row.K)); err != nil || odds.PAll.Cmp(got) != 0 {
			t.Errorf("%+v: P_all %v, %v, want %v", row, odds.PAll, err, got)
		}
	}
}

func TestDesignCheck(t *testing.T) {
	if got, err := Stake(20, 6, 3, PanelSize(20, 3), 1000, 999_000, PPM); err != nil || got != 77_522 {
		t.Errorf("stake %d, %v; want 77522", got, err)
	}
	if _, err := Stake(4, 1, 3, PanelSize(4, 3), 1000, 0, PPM); !errors.Is(err, ErrNoStake) {
		t.Errorf("without a panel: %v, want ErrNoStake", err)
	}
}
