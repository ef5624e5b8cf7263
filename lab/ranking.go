package lab

import (
	"cmp"
	"slices"
)

// ranked lists places by value, the earlier place first among equals: ascending
// is for costs.
func ranked(values []float64, ascending bool) []int {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int {
		if ascending {
			return cmp.Compare(values[x], values[y])
		}
		return cmp.Compare(values[y], values[x])
	})
	return order
}

// at is the value of the bidder ranked j-th from 0, or otherwise where there is none.
func at(values []float64, order []int, j int, otherwise float64) float64 {
	if j >= len(order) {
		return otherwise
	}
	return values[order[j]]
}
