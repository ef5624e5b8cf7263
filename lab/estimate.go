package lab

import "math"

// Estimate is a mean over rounds with its 95 % confidence interval, by the normal
// approximation.
type Estimate struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// normal975 is the 97.5 % quantile of the standard normal distribution.
const normal975 = 1.959963984540054

// moments is a running mean and sum of squared deviations, which differences of
// sums of squares would lose to rounding (Welford, Technometrics 1962).
type moments struct {
	n, mean, squares float64
}

func (m *moments) add(x float64) {
	m.n++
	off := x - m.mean
	m.mean += off / m.n
	m.squares += off * (x - m.mean)
}

// merge adds another's rounds (Chan, Golub, LeVeque 1979).
func (m *moments) merge(o moments) {
	if o.n == 0 {
		return
	}
	n := m.n + o.n
	off := o.mean - m.mean
	m.squares += o.squares + off*off*m.n*o.n/n
	m.mean += off * o.n / n
	m.n = n
}

// estimate needs two rounds.
func (m *moments) estimate() Estimate {
	half := normal975 * math.Sqrt(m.squares/(m.n-1)/m.n)
	return Estimate{Mean: m.mean, Low: m.mean - half, High: m.mean + half}
}
