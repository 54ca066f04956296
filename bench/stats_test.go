package main

import (
	"math"
	"slices"
	"testing"
)

func TestPercentile(t *testing.T) {
	for _, test := range []struct {
		values []float64
		p      float64
		want   float64
	}{
		{[]float64{7}, .99, 7},
		{[]float64{3, 1, 2}, .5, 2},
		{[]float64{4, 1, 3, 2}, .5, 2.5},
		{[]float64{5, 1, 4, 2, 3}, 0, 1},
		{[]float64{5, 1, 4, 2, 3}, 1, 5},
		{[]float64{0, 100}, .99, 99},
	} {
		before := slices.Clone(test.values)
		if got := percentile(test.values, test.p); got != test.want {
			t.Errorf("percentile(%v, %v) = %v, want %v", test.values, test.p, got, test.want)
		}
		if !slices.Equal(before, test.values) {
			t.Errorf("percentile changed its values to %v", test.values)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

func TestBetterBy(t *testing.T) {
	for _, test := range []struct {
		name         string
		ours, theirs []float64
		less         bool
		want         []float64
	}{
		{"rate", []float64{10, 30}, []float64{5, 60}, false, []float64{2, .5}},
		{"time", []float64{10, 30}, []float64{5, 60}, true, []float64{.5, 2}},
		{"peer gave up", []float64{10, 30}, []float64{5}, false, []float64{2}},
		{"nothing done", []float64{10}, []float64{0}, false, nil},
		{"no peer", []float64{10}, nil, false, nil},
	} {
		if got := betterBy(test.ours, test.theirs, test.less); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestBudget(t *testing.T) {
	rate, took, lossy := row{}, row{lessBetter: true}, row{lossy: true}
	for _, test := range []struct {
		name         string
		b            budget
		value, ratio float64
		r            row
		lost         int64
		want         string
	}{
		{"ratio reached", budget{ratio: 2}, 10, 2, rate, 0, "yes"},
		{"ratio missed", budget{ratio: 2}, 10, 1.9, rate, 0, "**no**"},
		{"ratio unknown", budget{ratio: 2}, 10, math.NaN(), rate, 0, "**no**"},
		{"limit reached", budget{limit: 15}, 15, math.NaN(), took, 0, "yes"},
		{"limit missed", budget{limit: 15}, 16, 9, took, 0, "**no**"},
		{"least reached", budget{limit: 15}, 16, 0, rate, 0, "yes"},
		{"least missed", budget{limit: 15}, 14, 9, rate, 0, "**no**"},
		{"fast with a loss", budget{ratio: 2}, 10, 9, lossy, 1, "**no**"},
		{"nothing asked", budget{}, 10, .1, rate, 0, ""},
		{"nothing asked and a loss", budget{}, 10, .1, lossy, 5, "**no**"},
		{"not measured", budget{ratio: 2}, math.NaN(), 3, rate, 0, "not measured"},
	} {
		if got := test.b.met(test.value, test.ratio, test.r, test.lost); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{12345.6: "12346", 15: "15", 12.34: "12.3", 1.5: "1.50", 2: "2", 0.1234: "0.123", 0: "0"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}
