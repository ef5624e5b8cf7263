package auction

import (
	"errors"
	"fmt"
	"math/big"

	"gavel/raftfsm/escrow"
)

// PPM is certainty in parts per million.
const PPM = 1_000_000

// ErrNoStake is returned where no finite stake makes lying a loss: the panel
// never convicts, or builds are never sampled.
var ErrNoStake = errors.New("no stake deters: draw more validators from more domains, or raise the sampling rate")

// Odds are the chances, for a forger among c colluding domains, of each end of
// its build: exact, and together 1.
type Odds struct {
	PAll   *big.Rat // every first seat colludes: the forgery is agreed on
	PFlip  *big.Rat // otherwise, two thirds of the panel collude: it acquits the forger and convicts the honest
	PSlash *big.Rat // otherwise, two thirds of the panel are honest: it convicts the forger
	PSplit *big.Rat // otherwise: the panel decides nothing
}

// counts are the same as ways to fill the k seats and then the panel, out of total.
type counts struct {
	all, flip, slash, split, total *big.Int
}

// PanelSize is the largest odd number within min(2k+1, n−k), or 0 if that is
// less than 3: then there is no panel and a mismatch stays undecided.
func PanelSize(n, k int) int {
	size := min(2*k+1, n-k)
	if size%2 == 0 {
		size--
	}
	if size < 3 {
		return 0
	}
	return size
}

// OddsOf computes the odds when, of n eligible domains (the winner's not among
// them), c collude, k are drawn and then a panel out of the rest. The
// distribution is hypergeometric over both draws; two thirds of the panel
// (3·count ≥ 2·panel) decide. Without a panel (0) nobody is convicted and all
// but PAll is PSplit.
func OddsOf(n, c, k, panel int) (Odds, error) {
	w, err := countWays(n, c, k, panel)
	if err != nil {
		return Odds{}, fmt.Errorf("computing odds: %w", err)
	}
	return Odds{
		PAll:   new(big.Rat).SetFrac(w.all, w.total),
		PFlip:  new(big.Rat).SetFrac(w.flip, w.total),
		PSlash: new(big.Rat).SetFrac(w.slash, w.total),
		PSplit: new(big.Rat).SetFrac(w.split, w.total),
	}, nil
}

func countWays(n, c, k, panel int) (counts, error) {
	if k < 1 || k > MaxValidators || n < k || n > MaxDomains || c < 0 || c > n ||
		panel < 0 || panel > n-k || panel > 2*k+1 {
		return counts{}, fmt.Errorf("%w: %d domains, %d colluding, %d validators, panel of %d", ErrRefused, n, c, k, panel)
	}
	w := counts{all: new(big.Int), flip: new(big.Int), slash: new(big.Int), split: new(big.Int)}
	seatsColluding, seatsHonest := binomials(c, k), binomials(n-c, k)
	panelTotal := new(big.Int).Binomial(int64(n-k), int64(panel))
	w.total = new(big.Int).Binomial(int64(n), int64(k))
	w.total.Mul(w.total, panelTotal)
	for j := 0; j <= k; j++ { // colluders among the first seats
		seats := new(big.Int).Mul(seatsColluding[j], seatsHonest[k-j])
		if j == k {
			w.all.Mul(seats, panelTotal)
			break
		}
		if seats.Sign() == 0 {
			continue
		}
		colluding, honest := binomials(c-j, panel), binomials(n-c-(k-j), panel)
		for i := 0; i <= panel; i++ { // colluders on the panel
			ways := new(big.Int).Mul(colluding[i], honest[panel-i])
			ways.Mul(ways, seats)
			end := w.split
			switch {
			case panel > 0 && 3*i >= 2*panel:
				end = w.flip
			case panel > 0 && 3*(panel-i) >= 2*panel:
				end = w.slash
			}
			end.Add(end, ways)
		}
	}
	return w, nil
}

// binomials is C(n, 0) … C(n, upTo), for n ≥ 0.
func binomials(n, upTo int) []*big.Int {
	row := make([]*big.Int, upTo+1)
	row[0] = big.NewInt(1)
	for i := 1; i <= upTo; i++ {
		row[i] = new(big.Int)
		if i <= n {
			row[i].Mul(row[i-1], big.NewInt(int64(n-i+1)))
			row[i].Quo(row[i], big.NewInt(int64(i)))
		}
	}
	return row
}

// Stake is the S that makes a forgery lose twice what it can expect to gain.
// With G = reserve + valueAtRisk and sampling rate a = samplePPM / PPM,
//
//	S = max(R, ⌈2·(G·(1 − a + a·(P_all + P_flip)) + a·R·P_split) / (a·P_slash)⌉).
//
// Where nothing is at stake (a house pool: both amounts 0) it is 0. Where the
// forger is never convicted it is ErrNoStake, where it is out of range
// escrow.ErrOverflow.
func Stake(n, c, k, panel int, reserve, valueAtRisk escrow.Credits, samplePPM uint64) (escrow.Credits, error) {
	gain, err := reserve.Add(valueAtRisk)
	if err != nil {
		return 0, fmt.Errorf("computing stake: %w", err)
	}
	if reserve < 0 || valueAtRisk < 0 || samplePPM > PPM {
		return 0, fmt.Errorf("computing stake: %w: reserve price %v, value at risk %v, sampling rate %d ppm", ErrRefused, reserve, valueAtRisk, samplePPM)
	}
	w, err := countWays(n, c, k, panel)
	if err != nil {
		return 0, fmt.Errorf("computing stake: %w", err)
	}
	if gain == 0 {
		return 0, nil
	}
	if w.slash.Sign() == 0 || samplePPM == 0 {
		return 0, fmt.Errorf("computing stake: %w", ErrNoStake)
	}
	// Everything times PPM · total, so that integers suffice.
	rate := new(big.Int).SetUint64(samplePPM)
	unpunished := new(big.Int).Add(w.all, w.flip)
	unpunished.Mul(unpunished, rate)
	unpunished.Add(unpunished, new(big.Int).Mul(big.NewInt(int64(PPM-samplePPM)), w.total))
	loss := new(big.Int).Mul(big.NewInt(int64(gain)), unpunished)
	split := new(big.Int).Mul(big.NewInt(int64(reserve)), w.split)
	loss.Add(loss, split.Mul(split, rate))
	loss.Lsh(loss, 1)
	stake, remainder := new(big.Int).QuoRem(loss, rate.Mul(rate, w.slash), new(big.Int))
	if remainder.Sign() > 0 {
		stake.Add(stake, big.NewInt(1))
	}
	if stake.Cmp(big.NewInt(int64(escrow.MaxCredits))) > 0 {
		return 0, fmt.Errorf("computing stake: %w", escrow.ErrOverflow)
	}
	return max(reserve, escrow.Credits(stake.Int64())), nil
}

// Colluders is ⌈γ·m⌉: how many of m domains are assumed to collude when a
// share of gammaPPM millionths does, at most all of them.
func Colluders(gammaPPM uint64, m int) int {
	if m <= 0 {
		return 0
	}
	gammaPPM = min(gammaPPM, PPM)
	whole, part := uint64(m)/PPM, uint64(m)%PPM // their products with gammaPPM cannot wrap
	return int(whole*gammaPPM + (part*gammaPPM+PPM-1)/PPM)
}

// AllColluding is C(c, k) / C(m, k): the chance that k seats drawn from m
// domains, c of them colluding, all collude. It is 1 where there are fewer
// domains than seats, or more seats than MaxValidators: the safe answer to a
// question that has none.
func AllColluding(c, k, m int) *big.Rat {
	if k < 1 || k > MaxValidators || m < k || c >= m {
		return big.NewRat(1, 1)
	}
	ways := new(big.Int).Binomial(int64(max(c, 0)), int64(k))
	return new(big.Rat).SetFrac(ways, new(big.Int).Binomial(int64(m), int64(k)))
}

// AcceptableOdds tells whether C(c, k) / C(m, k) ≤ pMaxPPM / PPM.
func AcceptableOdds(c, k, m int, pMaxPPM uint64) bool {
	bound := new(big.Rat).SetFrac(new(big.Int).SetUint64(pMaxPPM), big.NewInt(PPM))
	return AllColluding(c, k, m).Cmp(bound) <= 0
}
