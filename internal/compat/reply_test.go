package compat

import (
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestPermissionReply(t *testing.T) {
	for frame, want := range map[string]api.PermissionReply{
		`{"result":{"outcome":{"outcome":"selected","optionId":"x"}}}`: {OptionID: "x"},
		`{"result":{"outcome":{"outcome":"cancelled"}}}`:               {Reply: api.ReplyCancel},
		`{"result":{"outcome":{"outcome":"once"}}}`:                    {Reply: api.ReplyOnce},
		`{"result":{"outcome":{"outcome":"Approved"}}}`:                {Reply: api.ReplyOnce},
		`{"result":{"outcome":"always"}}`:                              {Reply: api.ReplyAlways},
		`{"result":{"outcome":{"outcome":"denied"}}}`:                  {Reply: api.ReplyReject},
		`{"error":{"code":1,"message":"no"}}`:                          {Reply: api.ReplyCancel},
		`{"result":7}`:                                                 {Reply: api.ReplyCancel},
	} {
		if got := permissionReply([]byte(frame)); got != want {
			t.Errorf("%s: %+v, want %+v", frame, got, want)
		}
	}
}
