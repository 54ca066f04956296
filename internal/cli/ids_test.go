package cli

import (
	"slices"
	"testing"
)

func TestAnIDIsMeantByItsBeginning(t *testing.T) {
	for _, test := range []struct {
		beginning, id string
		want          bool
	}{
		{"3f2a91c05b7de468", "3f2a91c05b7de468", true},
		{"3f2", "3f2a91c05b7de468", true},
		{"3", "3f2a91c05b7de468", true},
		{"3f2b", "3f2a91c05b7de468", false},
		{"", "3f2a91c05b7de468", false},
		{"494e4555", "494e4555-da68-4f0a-9c11-000000000001", true},
		{"494e4555-da", "494e4555-da68-4f0a-9c11-000000000001", true},
		{"3F2A", "3f2a91c05b7de468", false},
		{"night", "nightly-2", true},
		{"nightly", "nightly-2", false},
		{"nightly-2", "nightly-2", true},
		{"nightly.1", "nightly.12", false},
		{"pro", "proc_1", true},
		{"proc_", "proc_1", false},
		{"proc_1", "proc_10", false},
		{"proc_10", "proc_1", false},
	} {
		if got := begins(test.beginning, test.id); got != test.want {
			t.Errorf("%q means %q: %v, want %v", test.beginning, test.id, got, test.want)
		}
	}
}

func TestShortIDsTellApart(t *testing.T) {
	for _, test := range []struct{ ids, want []string }{
		{nil, []string{}},
		{[]string{"3f2a91c05b7de468"}, []string{"3f2a91c0"}},
		{[]string{"3f2a91c05b7de468", "first", "3f2a91c05b7ffff8", "3f2a910000000000"}, []string{"3f2a91c05b7d", "first", "3f2a91c05b7f", "3f2a9100"}},
		{[]string{"3f2a91c05b7de468", "3f2a91c05b7de4689"}, []string{"3f2a91c05b7de468", "3f2a91c05b7de4689"}},
	} {
		if got := shortIDs(test.ids); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.ids, got, test.want)
		}
	}
}
