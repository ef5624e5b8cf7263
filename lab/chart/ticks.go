package chart

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// Short is a number to four digits, large ones in groups of three.
func Short(x float64) string {
	switch a := math.Abs(x); {
	case x == 0:
		return "0"
	case a >= 1e9 || a < 1e-4:
		return strconv.FormatFloat(x, 'g', 4, 64)
	case a >= 1e4:
		return grouped(strconv.FormatFloat(math.Round(x), 'f', -1, 64))
	}
	digits := max(0, 3-int(math.Floor(math.Log10(math.Abs(x)))))
	text := strconv.FormatFloat(x, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// grouped puts commas between thousands.
func grouped(digits string) string {
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	out := ""
	for len(digits) > 3 {
		out = "," + digits[len(digits)-3:] + out
		digits = digits[:len(digits)-3]
	}
	return sign + digits + out
}

// rounded are ticks at multiples of 1, 2 or 5 times a power of ten.
type rounded struct{}

// Ticks implements plot.Ticker.
func (rounded) Ticks(low, high float64) []plot.Tick {
	const wanted = 6
	step := math.Pow(10, math.Floor(math.Log10((high-low)/wanted)))
	for _, m := range []float64{10, 5, 2} {
		if (high-low)/(step*m) >= wanted-2 {
			step *= m
			break
		}
	}
	var out []plot.Tick
	for i := math.Ceil(low / step); i*step <= high && len(out) < 3*wanted; i++ {
		out = append(out, plot.Tick{Value: i * step, Label: Short(i * step)})
	}
	return out
}

// decades are ticks of a logarithmic axis: at powers of ten, or where there are
// few of them at 2 and 5 as well.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(low, high float64) []plot.Tick {
	first, last := int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high)))
	labelled := []float64{1}
	if last-first <= 4 {
		labelled = []float64{1, 2, 5}
	}
	every := 1 + (last-first)/10
	var out []plot.Tick
	for e := first; e <= last; e++ {
		for _, m := range labelled {
			x := m * math.Pow(10, float64(e))
			if x < low*(1-1e-9) || x > high*(1+1e-9) || (e-first)%every != 0 {
				continue
			}
			out = append(out, plot.Tick{Value: x, Label: Short(x)})
		}
	}
	if len(out) < 3 {
		return rounded{}.Ticks(low, high)
	}
	return out
}
