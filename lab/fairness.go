package lab

import (
	"math"
	"slices"
)

// GeometricMean is exp(mean of log x), the Nash welfare of allocations; 0 where
// anybody gets nothing, and of nobody.
func GeometricMean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		if v <= 0 {
			return 0
		}
		sum += math.Log(v)
	}
	if len(x) == 0 {
		return 0
	}
	return math.Exp(sum / float64(len(x)))
}

// Gini is Σᵢⱼ|xᵢ−xⱼ| / (2n²·mean), of amounts of at least 0: 0 where all have
// the same, or nobody has anything; (n−1)/n where one has all (Gini, 1912).
func Gini(x []float64) float64 {
	sorted := slices.Sorted(slices.Values(x))
	n, sum, weighted := float64(len(x)), 0.0, 0.0
	for i, v := range sorted {
		sum += v
		weighted += (2*float64(i+1) - n - 1) * v
	}
	if sum <= 0 {
		return 0
	}
	return math.Max(0, weighted/(n*sum))
}

// Entropy is −Σ p·log p / log n of the shares p of what is allocated (Shannon,
// 1948): 1 where all have the same, or nobody has anything; 0 where one has all.
func Entropy(x []float64) float64 {
	total := 0.0
	for _, v := range x {
		total += v
	}
	if total <= 0 || len(x) < 2 {
		return 1
	}
	sum := 0.0
	for _, v := range x {
		if p := v / total; p > 0 {
			sum -= p * math.Log(p)
		}
	}
	return math.Min(1, math.Max(0, sum/math.Log(float64(len(x)))))
}
