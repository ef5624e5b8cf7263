package auction

import (
	"fmt"

	"gavel/raftfsm/escrow"
)

// PaymentWithin is the rule of score auctions: what the winner's actual finish is
// worth less the reference score, held to [least, most]. Below zero the winner
// pays the requester.
func PaymentWithin(value, reference, least, most escrow.Credits) (escrow.Credits, error) {
	payment, err := value.Sub(reference)
	if err != nil {
		return 0, fmt.Errorf("computing payment: %w", err)
	}
	if !least.Valid() || !most.Valid() || least > most {
		return 0, fmt.Errorf("computing payment: %w: bounds of %v and %v, want the lower one first and both within ±%v", ErrRefused, least, most, escrow.MaxCredits)
	}
	return max(least, min(payment, most)), nil
}

// Payment is what the winner of a finished build is paid: PaymentWithin
// [−reserve, reserve]. With a constant value function it is the second price, or
// the reserve when nobody else bid under it.
func Payment(value, reference, reserve escrow.Credits) (escrow.Credits, error) {
	if reserve < 0 || !reserve.Valid() {
		return 0, fmt.Errorf("computing payment: %w: a reserve price of %v, want 0 to %v", ErrRefused, reserve, escrow.MaxCredits)
	}
	return PaymentWithin(value, reference, -reserve, reserve)
}

// FailurePayment is what the winner of a failed build is paid: −min(reserve,
// reference), what its winning took from the others, never more than the reserve.
func FailurePayment(reference, reserve escrow.Credits) (escrow.Credits, error) {
	return Payment(0, max(0, reference), reserve)
}

// CostCoveredFailurePayment is the rule of solver competitions that refund the
// winner's price when it fails: price less reference, within [−reserve,
// reserve]. Under it a truthful report of a bid that succeeds with probability
// p is p(value − price) rather than p·value − price, which is why it is not the
// default.
func CostCoveredFailurePayment(price, reference, reserve escrow.Credits) (escrow.Credits, error) {
	return Payment(price, reference, reserve)
}
