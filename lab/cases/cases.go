// Package cases clears one case of the market, written as JSON in the format of
// testdata/market.json, by the rules that the farm itself runs. It never
// computes a rule of its own: each kind of case is laid out for raftfsm/auction,
// raftfsm/draw or the laboratory, and their answer is laid out as the case's
// expect. What a rule refuses it refuses, with a code and a sentence; nothing
// that a case can say makes it panic, or run for long.
package cases

import (
	"encoding/json"

	"gavel/raftfsm/escrow"
)

// Case is one case. Which fields mean something depends on Rule; the others are
// read and left alone.
type Case struct {
	ID     string          `json:"id"`
	Rule   string          `json:"rule"`
	Source string          `json:"source"`
	Note   string          `json:"note"`
	Expect json.RawMessage `json:"expect"`
	Float  bool            `json:"float"`
	// Tolerance of a laboratory case's floats, absolute.
	Tolerance float64 `json:"tolerance"`

	Sellers []Bid           `json:"seller_bids"`
	Buyers  []Bid           `json:"buyer_bids"`
	Reserve *escrow.Credits `json:"reserve"`
	Cap     *escrow.Credits `json:"cap"`
	Floor   *escrow.Credits `json:"floor"`

	// Score auctions that end later.
	Realized    outcome                   `json:"realized"`
	FailureCap  *escrow.Credits           `json:"c_l"`
	Reported    map[string]escrow.Credits `json:"reported_scores"`
	WinnerValue *escrow.Credits           `json:"winner_value"`
	WinnerCost  *escrow.Credits           `json:"winner_cost"`

	// Many units.
	Units   *uint64 `json:"units"`
	Pricing string  `json:"pricing"` // absent is vcg
	Slots   *uint64 `json:"slots"`
	Supply  *uint64 `json:"supply"`
	Builds  []Bid   `json:"builds"` // that differ: id and price, the reserve of each

	// Candle auctions.
	Periods *uint8 `json:"periods"`
	Held    []held `json:"held"`
	Offer   *held  `json:"bid"`

	// Lotteries.
	Tickets []Tickets `json:"tickets"`
	Draws   *int      `json:"draws"` // absent is 1

	// Odds and stakes.
	N         int             `json:"N"`
	C         int             `json:"c"`
	K         int             `json:"k"`
	Panel     *int            `json:"panel"` // absent is the farm's size
	R         *escrow.Credits `json:"R"`
	X         *escrow.Credits `json:"X"`
	SamplePPM *uint64         `json:"sample_ppm"` // absent is every build
	Rows      []OddsRow       `json:"rows"`

	// Draws.
	SeedHex string `json:"seed_hex"`

	// The laboratory's, in credits where they are amounts.
	Values       []float64 `json:"values"`
	Bids         []float64 `json:"bids"`
	Alpha        *float64  `json:"alpha"`
	Eps          *float64  `json:"eps"`
	Many         int       `json:"n"`
	V            *float64  `json:"V"`
	VMax         *float64  `json:"Vmax"`
	Pool         *float64  `json:"pool"`
	Improvements *float64  `json:"improvements"`
	Own          *float64  `json:"own"`
	Reserved     *float64  `json:"reserved"`    // the pool, as the document calls it
	Improvement  *float64  `json:"improvement"` // and own
}

// Result is what came of a case, in the form of its expect.
type Result map[string]any

// Clear clears a case. Errors are of type *Refusal.
func Clear(c *Case) (Result, error) {
	if c.Rule == "" {
		return nil, refuse("malformed", "the case has no rule: want one of %s", known())
	}
	rule := Rules[c.Rule]
	if rule == nil {
		return nil, refuse("unknown-rule", "there is no rule %q: want one of %s", c.Rule, known())
	}
	r, err := rule.clear(c)
	if err != nil {
		return nil, RefusalOf(err)
	}
	return r, nil
}
