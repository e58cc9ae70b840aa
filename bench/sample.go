package main

import (
	"fmt"
	"math"
	"slices"
)

// sample is one figure of each round.
type sample []float64

// quantile is the value below which a part of the sample lies, between two rounds where it falls between them.
func (s sample) quantile(part float64) float64 {
	sorted := slices.Sorted(slices.Values(s))
	at := part * float64(len(sorted)-1)
	low, high := sorted[int(math.Floor(at))], sorted[int(math.Ceil(at))]
	return low + (high-low)*(at-math.Floor(at))
}

func (s sample) median() float64 { return s.quantile(0.5) }

func (s sample) mean() float64 {
	sum := 0.0
	for _, value := range s {
		sum += value
	}
	return sum / float64(len(s))
}

// minus is the difference of each round, so that what troubled a whole round does not count.
func (s sample) minus(other sample) sample {
	difference := make(sample, len(s))
	for i := range s {
		difference[i] = s[i] - other[i]
	}
	return difference
}

// over is the ratio of each round.
func (s sample) over(other sample) sample {
	ratio := make(sample, len(s))
	for i := range s {
		ratio[i] = s[i] / other[i]
	}
	return ratio
}

// show writes the median and the middle half, with so many decimals.
func (s sample) show(decimals int) string {
	return fmt.Sprintf("%.*f (%.*f to %.*f)", decimals, s.median(), decimals, s.quantile(0.25), decimals, s.quantile(0.75))
}

// showDifference writes a sample of differences, and says so if no difference lies in their middle half too.
func (s sample) showDifference(decimals int) string {
	if s.quantile(0.25) <= 0 && s.quantile(0.75) >= 0 {
		return s.show(decimals) + ", cannot be told apart"
	}
	return s.show(decimals)
}

// Histogram counts values between bounds, of which there is one more than there are counts.
type Histogram struct {
	Counts []uint64
	Bounds []float64
}

// since is what a histogram has counted since an earlier one.
func (h Histogram) since(earlier Histogram) Histogram {
	counts := slices.Clone(h.Counts)
	for i := range earlier.Counts {
		counts[i] -= earlier.Counts[i]
	}
	return Histogram{counts, h.Bounds}
}

func (h Histogram) total() uint64 {
	var total uint64
	for _, count := range h.Counts {
		total += count
	}
	return total
}

// quantile is a bound that a part of the values does not exceed, or zero if there is no value.
func (h Histogram) quantile(part float64) float64 {
	wanted := uint64(math.Ceil(part * float64(h.total())))
	var seen uint64
	for i, count := range h.Counts {
		if seen += count; count > 0 && seen >= wanted {
			if bound := h.Bounds[i+1]; !math.IsInf(bound, 1) {
				return bound
			}
			return h.Bounds[i]
		}
	}
	return 0
}
