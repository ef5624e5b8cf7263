package cases

import (
	"encoding/json"
	"math/big"

	"gavel/raftfsm/auction"
)

// OddsRow asks for the odds that all of K drawn from N collude when C do.
type OddsRow struct {
	N int `json:"N"`
	C int `json:"c"`
	K int `json:"k"`
	// What a row of the vectors expects; Compare reads it.
	Numerator   json.RawMessage `json:"all_colluding_numerator,omitempty"`
	Denominator json.RawMessage `json:"denominator,omitempty"`
	PPMFloor    json.RawMessage `json:"ppm_floor,omitempty"`
}

// maxOddsRows bounds the rows of one case: each takes milliseconds at the limits.
const maxOddsRows = 1000

// Fraction is a chance as [numerator, denominator], in lowest terms.
func Fraction(r *big.Rat) []any { return []any{number(r.Num()), number(r.Denom())} }

// number is an integer as JSON's, which has no size.
func number(n *big.Int) json.Number { return json.Number(n.String()) }

// odds are the chances that all drawn validators collude, row by row.
func odds(c *Case) (Result, error) {
	rows := c.Rows
	if rows == nil {
		rows = []OddsRow{{N: c.N, C: c.C, K: c.K}}
	}
	if len(rows) < 1 || len(rows) > maxOddsRows {
		return nil, refuse("out-of-range", "%d rows: want 1 to %d", len(rows), maxOddsRows)
	}
	out := make([]Result, len(rows))
	for i, row := range rows {
		r, err := AllColluding(row.N, row.C, row.K)
		if err != nil {
			return nil, err
		}
		out[i] = r
	}
	return Result{"rows": out}, nil
}

// AllColluding is the chance that all of k validators drawn from n domains
// collude when c do: C(c, k) / C(n, k), not reduced, and in ppm rounded down.
func AllColluding(n, c, k int) (Result, error) {
	if _, err := OddsOf(n, c, k, 0); err != nil {
		return nil, err
	}
	numerator := new(big.Int).Binomial(int64(c), int64(k))
	denominator := new(big.Int).Binomial(int64(n), int64(k))
	p := auction.AllColluding(c, k, n)
	ppm := new(big.Int).Mul(p.Num(), big.NewInt(auction.PPM))
	ppm.Quo(ppm, p.Denom())
	return Result{"N": n, "c": c, "k": k, "all_colluding_numerator": number(numerator), "denominator": number(denominator), "ppm_floor": number(ppm)}, nil
}

// OddsOf are the exact chances of each end of a forgery, refused where there is no
// such draw. A panel has an odd number of seats, as the farm's has, or is none, 0.
func OddsOf(n, c, k, panel int) (auction.Odds, error) {
	if panel > 0 && panel%2 == 0 {
		return auction.Odds{}, refuse("out-of-range", "a panel of %d: panels are odd, so that they decide; the farm draws %d here", panel, auction.PanelSize(n, k))
	}
	o, err := auction.OddsOf(n, c, k, panel)
	if err != nil {
		return o, refuse("out-of-range", "%d domains, %d colluding, %d validators, a panel of %d: want 1 to %d domains (N), 0 to N colluding (c), 1 to N and at most %d validators (k), and a panel of 0 to 2k+1 and at most N-k", n, c, k, panel, auction.MaxDomains, auction.MaxValidators)
	}
	return o, nil
}

// stake is what makes a forgery a loss.
func stake(c *Case) (Result, error) {
	reserve, err := given(c.R, "R")
	if err != nil {
		return nil, err
	}
	risk, err := given(c.X, "X")
	if err != nil {
		return nil, err
	}
	panel := auction.PanelSize(c.N, c.K)
	if c.Panel != nil {
		panel = *c.Panel
	}
	rate := uint64(auction.PPM)
	if c.SamplePPM != nil {
		rate = *c.SamplePPM
	}
	o, err := OddsOf(c.N, c.C, c.K, panel)
	if err != nil {
		return nil, err
	}
	s, err := auction.Stake(c.N, c.C, c.K, panel, reserve, risk, rate)
	if err != nil {
		return nil, err
	}
	return Result{"stake": s, "panel": panel, "p_all": Fraction(o.PAll), "p_flip": Fraction(o.PFlip), "p_slash": Fraction(o.PSlash), "p_split": Fraction(o.PSplit)}, nil
}
