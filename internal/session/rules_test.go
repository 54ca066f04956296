package session

import (
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
)

func TestUpdateKind(t *testing.T) {
	for frame, want := range map[string]string{
		`{"params":{"update":{"sessionUpdate":"plan","entries":[]}}}`: "plan",
		`{"params":{"update":{"sessionUpdate" : "plan"}}}`:            "", // to be decoded
		`{"params":{"update":{"sessionUpdate":"`:                      "",
		`{}`:                                                          "",
	} {
		if got := updateKind([]byte(frame)); got != want {
			t.Errorf("%s: %q, want %q", frame, got, want)
		}
	}
}

func TestSpend(t *testing.T) {
	usd := func(amount float64) acp.Cost { return acp.Cost{Amount: amount, Currency: "USD"} }
	for name, test := range map[string]struct {
		reports []acp.Cost
		want    acp.Cost
	}{
		"counts on":            {[]acp.Cost{usd(1), usd(1), usd(3)}, usd(3)},
		"counts from zero":     {[]acp.Cost{usd(2), usd(1), usd(1.5)}, usd(3.5)},
		"and does so again":    {[]acp.Cost{usd(2), usd(1), usd(0.5), usd(0.5)}, usd(3.5)},
		"in another currency":  {[]acp.Cost{usd(2), usd(1), {Amount: 9, Currency: "EUR"}}, acp.Cost{Amount: 9, Currency: "EUR"}},
		"and goes on in there": {[]acp.Cost{usd(2), {Amount: 9, Currency: "EUR"}, {Amount: 10, Currency: "EUR"}}, acp.Cost{Amount: 10, Currency: "EUR"}},
	} {
		var r record
		for _, c := range test.reports {
			r.spend(c)
		}
		if *r.Usage.Cost != test.want {
			t.Errorf("an agent that %s has spent %+v, want %+v", name, *r.Usage.Cost, test.want)
		}
	}
}
