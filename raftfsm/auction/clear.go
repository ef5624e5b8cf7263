package auction

import (
	"cmp"
	"fmt"
	"slices"

	"gavel/raftfsm/escrow"
	"gavel/raftfsm/wire"
)

// Bid is an opened bid.
type Bid struct {
	Worker       [32]byte
	Operator     [32]byte // the operator's key, which ties are broken by
	Domain       string   // the independence domain it counts for
	Price        escrow.Credits
	FinishMillis uint64 // promised finish, farm time since bidding opened
}

// Validate holds a bid to its shape. A reveal that fails it forfeits its bond;
// nothing that fails it may reach Clear.
func (b Bid) Validate() error {
	if b.Price < 0 || !b.Price.Valid() || b.Domain == "" || len(b.Domain) > MaxDomainBytes {
		return fmt.Errorf("checking bid of %x: %w: it needs a price of at least 0 and a domain of 1 to %d bytes", b.Worker[:4], ErrRefused, MaxDomainBytes)
	}
	return nil
}

// Code codes a bid and refuses one that is not valid.
func (b *Bid) Code(c *wire.Coder) {
	c.Bytes32(&b.Worker)
	c.Bytes32(&b.Operator)
	c.String(&b.Domain, MaxDomainBytes)
	b.Price.Code(c)
	c.U64(&b.FinishMillis)
	if c.Err() != nil {
		return
	}
	if err := b.Validate(); err != nil {
		c.Refuse("%v", err)
	}
}

// Ranked is a bid with what it was ranked by.
type Ranked struct {
	Bid
	Score escrow.Credits // V(finish) − price; below 0 it loses to the empty solution
	Tie   [32]byte       // H("tie": σ ‖ operator key); lower wins among equal scores
}

// Outcome is a cleared auction.
type Outcome struct {
	Ranking   []Ranked       // every bid, best first
	Awarded   bool           // whether the first of Ranking has a score of at least 0
	Reference escrow.Credits // best score of another domain than the winner's, at least 0
}

// Winner is the bid that won, if one did: the empty solution, with score 0,
// takes part and loses ties.
func (o Outcome) Winner() (Ranked, bool) {
	if !o.Awarded {
		return Ranked{}, false
	}
	return o.Ranking[0], true
}

// Clear ranks bids by score, ties by lowest H(σ ‖ operator key), then, within
// one operator, by lowest worker id. The order in which bids are given does
// not matter. When a winner has defaulted, clearing again without its bid names
// the successor and the reference it is paid by. A bid that is not valid or a
// worker that bids twice refuses the whole: the caller let it through.
func Clear(bids []Bid, value ValueFunction, sigma []byte) (Outcome, error) {
	if len(bids) > MaxAsks {
		return Outcome{}, fmt.Errorf("clearing auction: %w: %d bids, want at most %d", ErrRefused, len(bids), MaxAsks)
	}
	ranking := make([]Ranked, 0, len(bids))
	for _, b := range bids {
		if err := b.Validate(); err != nil {
			return Outcome{}, fmt.Errorf("clearing auction: %w", err)
		}
		score, err := value.At(b.FinishMillis).Sub(b.Price)
		if err != nil {
			return Outcome{}, fmt.Errorf("clearing auction: scoring bid of %x: %w", b.Worker[:4], err)
		}
		tie := wire.NewHasher("tie").Var(sigma).Fixed(b.Operator).Sum()
		ranking = append(ranking, Ranked{Bid: b, Score: score, Tie: tie})
	}
	if err := refuseRepeats(bids); err != nil {
		return Outcome{}, err
	}
	slices.SortFunc(ranking, compareRanked)
	outcome := Outcome{Ranking: ranking, Awarded: len(ranking) > 0 && ranking[0].Score >= 0}
	if !outcome.Awarded {
		return outcome, nil
	}
	for _, r := range ranking {
		if r.Domain != ranking[0].Domain {
			outcome.Reference = max(0, r.Score)
			break
		}
	}
	return outcome, nil
}

func compareRanked(a, b Ranked) int {
	return cmp.Or(
		cmp.Compare(b.Score, a.Score),
		wire.Compare32(a.Tie, b.Tie),
		wire.Compare32(a.Worker, b.Worker),
	)
}

func refuseRepeats(bids []Bid) error {
	seen := make(map[[32]byte]struct{}, len(bids))
	for _, b := range bids {
		if _, ok := seen[b.Worker]; ok {
			return fmt.Errorf("clearing auction: %w: worker %x bids twice", ErrRefused, b.Worker[:4])
		}
		seen[b.Worker] = struct{}{}
	}
	return nil
}
