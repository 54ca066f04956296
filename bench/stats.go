package main

import (
	"math"
	"slices"
)

// percentile returns the value below which the fraction p of the values lies,
// interpolated between neighbours; NaN if there are no values.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := p * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	part := at - float64(below)
	return sorted[below]*(1-part) + sorted[above]*part
}

func median(values []float64) float64 { return percentile(values, 0.5) }

// betterBy returns how many times better ours is than theirs in each round:
// more of it if more is better, less of it if less is better. The median of
// these is what is reported, since the two sides of a round ran one after the
// other under the same conditions.
func betterBy(ours, theirs []float64, lessIsBetter bool) []float64 {
	ratios := make([]float64, 0, min(len(ours), len(theirs)))
	for i := range min(len(ours), len(theirs)) {
		a, b := ours[i], theirs[i]
		if lessIsBetter {
			a, b = b, a
		}
		if b > 0 {
			ratios = append(ratios, a/b)
		}
	}
	return ratios
}
