package lab

import "math"

// solveAllPayAuction: the highest bid wins and all bids are paid. The equilibrium
// is mixed (Baye, Kovenock, de Vries, Econ. Theory 1996). Let V be the top value,
// v the second, and k bidders have the second. Each of these bids at most x with
// chance G(x) = ((V−v+x)/V)^(1/k), the top one with F(x) = (x/v)·G(x)^(1−k), for x
// in [0, v]; the others bid 0. Then the top one earns V−v, nobody else anything.
// With k = 1, F is uniform and G has an atom at 0; with V = v all k+1 are alike.
func solveAllPayAuction(g *Game) (*Outcome, error) {
	if len(g.Values) == 1 {
		return alone(g), nil
	}
	out := newOutcome(len(g.Values))
	out.Pure = false
	m := newAllPayMix(g.Values)
	for _, i := range m.seconds {
		// What it expects to pay is what it expects to win.
		out.Allocations[i], out.Bids[i] = m.spends/m.second, m.spends
	}
	chance := 1 - float64(len(m.seconds))*m.spends/m.second
	out.Allocations[m.leader], out.Bids[m.leader] = chance, math.Max(0, chance*m.top-(m.top-m.second))
	out.Utilities[m.leader] = m.top - m.second
	copy(out.Payments, out.Bids)
	out.Note = "mixed: bids and chances are expected; equals play alike"
	if len(m.seconds) > 1 && m.top > m.second {
		out.Note += ", though with several second values other equilibria leave some of them out and raise other revenue"
	}
	return out, nil
}

// allPayMix is the mixed equilibrium.
type allPayMix struct {
	top, second float64 // V and v
	leader      int     // the place of the top value
	seconds     []int   // of those with the second
	spends      float64 // what each of the seconds bids on average
}

func newAllPayMix(values []float64) *allPayMix {
	order := ranked(values, false)
	m := &allPayMix{top: values[order[0]], second: values[order[1]], leader: order[0]}
	for _, i := range order[1:] {
		if values[i] == m.second {
			m.seconds = append(m.seconds, i)
		}
	}
	// ∫(1 − G) over [0, v] = v − V·(1 − (1−t)^q)/q, where t = v/V, q = 1 + 1/k.
	t, q := m.second/m.top, 1+1/float64(len(m.seconds))
	m.spends = math.Max(0, m.second+m.top*math.Expm1(q*math.Log1p(-t))/q)
	return m
}
