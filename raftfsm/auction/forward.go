package auction

import (
	"cmp"
	"fmt"
	"slices"

	"gavel/raftfsm/escrow"
)

// checkPrices refuses amounts that are no price.
func checkPrices(prices []escrow.Credits) error {
	if len(prices) > MaxAsks {
		return fmt.Errorf("%w: %d bids, want at most %d", ErrRefused, len(prices), MaxAsks)
	}
	for i, p := range prices {
		if p < 0 || !p.Valid() {
			return fmt.Errorf("%w: bid %d of %v, want 0 to %v", ErrRefused, i, p, escrow.MaxCredits)
		}
	}
	return nil
}

// byPrice lists the places of prices, highest first, the earlier place first
// among equals.
func byPrice(prices []escrow.Credits) []int {
	order := make([]int, len(prices))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Or(cmp.Compare(prices[y], prices[x]), cmp.Compare(x, y)) })
	return order
}

// SellOne is Vickrey's auction among buyers (J. Finance 1961): the highest of
// the bids that reach the reserve wins, and pays the second highest or the
// reserve. It returns the winner's place, −1 for none; of equal bids the earlier
// wins.
func SellOne(prices []escrow.Credits, reserve escrow.Credits) (winner int, payment escrow.Credits, err error) {
	if err := checkPrices(prices); err != nil {
		return -1, 0, fmt.Errorf("selling one unit: %w", err)
	}
	if reserve < 0 || !reserve.Valid() {
		return -1, 0, fmt.Errorf("selling one unit: %w: a reserve of %v, want 0 to %v", ErrRefused, reserve, escrow.MaxCredits)
	}
	order := byPrice(prices)
	if len(order) == 0 || prices[order[0]] < reserve {
		return -1, 0, nil
	}
	payment = reserve
	if len(order) > 1 {
		payment = max(reserve, prices[order[1]])
	}
	return order[0], payment, nil
}

// SellSlots is the generalised second-price auction for ordered slots (Edelman,
// Ostrovsky, Schwarz, AER 2007): the highest bid gets the first slot and pays
// the next bid, and so on; the last winner pays the first loser's bid, or 0. It
// returns the winners' places in order of slots, and what each pays.
func SellSlots(prices []escrow.Credits, slots int) (order []int, payments []escrow.Credits, err error) {
	if err := checkPrices(prices); err != nil {
		return nil, nil, fmt.Errorf("selling slots: %w", err)
	}
	if slots < 1 {
		return nil, nil, fmt.Errorf("selling slots: %w: %d slots, want at least 1", ErrRefused, slots)
	}
	all := byPrice(prices)
	order = all[:min(slots, len(all))]
	for i := range order {
		var pays escrow.Credits
		if i+1 < len(all) {
			pays = prices[all[i+1]]
		}
		payments = append(payments, pays)
	}
	return order, payments, nil
}
