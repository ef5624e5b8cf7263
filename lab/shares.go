package lab

import (
	"fmt"
	"math"
)

// Shares is Tullock's rule x = b^α / Σ b^α, for bids of at least 0 that are not
// all 0 and α in [MinAlpha, MaxAlpha]. Errors wrap ErrInput.
func Shares(bids []float64, alpha float64) ([]float64, error) {
	if err := checkAlpha(alpha); err != nil {
		return nil, fmt.Errorf("sharing by bids: %w", err)
	}
	if len(bids) < 1 || len(bids) > MaxBidders {
		return nil, refuse("sharing by bids: %d bids, want 1 to %d", len(bids), MaxBidders)
	}
	most := 0.0
	for i, b := range bids {
		if !(b >= 0 && b <= MaxAmount) {
			return nil, refuse("sharing by bids: bid %d is %v, want 0 to %v", i, b, MaxAmount)
		}
		most = math.Max(most, b)
	}
	if most == 0 {
		return nil, refuse("sharing by bids: nobody bids, so there is nothing to share by")
	}
	shares, sum := make([]float64, len(bids)), 0.0
	for i, b := range bids {
		shares[i] = math.Pow(b/most, alpha) // at most 1 each: powers of bids might overflow
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares, nil
}

func checkAlpha(alpha float64) error {
	if !(alpha >= MinAlpha && alpha <= MaxAlpha) {
		return refuse("an alpha of %v, want %v to %v", alpha, MinAlpha, MaxAlpha)
	}
	return nil
}

// Collude is what each of n bidders earns who all bid eps in a proportional
// all-pay contest and so share equally: v/n − eps. Errors wrap ErrInput.
func Collude(values []float64, eps float64) ([]float64, error) {
	if err := checkValues(values, false); err != nil {
		return nil, fmt.Errorf("colluding: %w", err)
	}
	if !(eps >= 0 && eps <= MaxAmount) {
		return nil, refuse("colluding: all bid %v, want 0 to %v", eps, MaxAmount)
	}
	utilities := make([]float64, len(values))
	for i, v := range values {
		utilities[i] = v/float64(len(values)) - eps
	}
	return utilities, nil
}

// PoolShare is what one gets of a pool that is paid in proportion to
// improvements: pool·own/improvements, where improvements is everybody's sum,
// own included. Errors wrap ErrInput.
func PoolShare(pool, improvements, own float64) (float64, error) {
	switch {
	case !(pool >= 0 && pool <= MaxAmount):
		return 0, refuse("sharing a pool: a pool of %v, want 0 to %v", pool, MaxAmount)
	case !(improvements > 0 && improvements <= MaxAmount):
		return 0, refuse("sharing a pool: improvements of %v in all, want above 0 to %v", improvements, MaxAmount)
	case !(own >= 0 && own <= improvements):
		return 0, refuse("sharing a pool: an improvement of %v, want 0 to %v, the sum of all", own, improvements)
	}
	return pool * (own / improvements), nil
}
