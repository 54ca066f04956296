package session

import (
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

func TestDecisionsStandForOptionsThatHoldOnce(t *testing.T) {
	for _, c := range []struct {
		name     string
		kinds    []string // of the options; each has its kind for its id
		decision string
		want     string // option, "cancelled", or "" for a user to choose
	}{
		{"allowed once", []string{acp.AllowAlways, acp.AllowOnce}, api.DecideAllow, acp.AllowOnce},
		{"allowed for good only", []string{acp.AllowAlways, acp.RejectOnce}, api.DecideAllow, ""},
		{"not allowed at all", []string{acp.RejectOnce}, api.DecideAllow, ""},
		{"no options", nil, api.DecideAllow, ""},
		{"rejected once", []string{acp.RejectAlways, acp.RejectOnce}, api.DecideReject, acp.RejectOnce},
		{"rejected for good only", []string{acp.AllowOnce, acp.RejectAlways}, api.DecideReject, acp.RejectAlways},
		{"not rejected at all", []string{acp.AllowOnce}, api.DecideReject, acp.OutcomeCancelled},
		{"asked", []string{acp.AllowOnce, acp.RejectOnce}, api.DecideAsk, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var req acp.PermissionRequest
			for _, kind := range c.kinds {
				req.Options = append(req.Options, acp.PermissionOption{OptionID: kind, Kind: kind})
			}
			outcome, _, ok := decided(req, c.decision)
			got := outcome.Outcome.OptionID
			if ok && got == "" {
				got = outcome.Outcome.Outcome
			}
			if got != c.want || ok != (c.want != "") {
				t.Errorf("%q, decided %v; want %q", got, ok, c.want)
			}
		})
	}
}
