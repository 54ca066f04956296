package session_test

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// TestBooleanOption sets the boolean option of an agent, which takes nothing but a
// boolean for it, in all the ways in which clients do.
func TestBooleanOption(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"scripted"}`)
	for _, tt := range []struct{ value, want string }{{`true`, "true"}, {`"false"`, "false"}, {`"true"`, "true"}, {`false`, "false"}, {`" true "`, "true"}} {
		var got api.Session
		r.do("POST", "/v1/sessions/"+s.ID+"/config-options", `{"configId":"web","value":`+tt.value+`}`, &got)
		if len(got.ConfigOptions) != 1 || got.ConfigOptions[0].CurrentValue != tt.want {
			t.Errorf("after %s the options are %+v", tt.value, got.ConfigOptions)
		}
	}
	for _, value := range []string{`"yes"`, `"1"`, `1`, `null`, `["true"]`, `""`} {
		err := r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/config-options", `{"configId":"web","value":`+value+`}`, nil)
		if problem, ok := err.(*api.Error); !ok || problem.Status != 400 && problem.Status != 422 {
			t.Errorf("the value %s gives %v", value, err)
		} else if value == `"yes"` && !strings.Contains(problem.Detail, "allowed: true, false") {
			t.Errorf("the problem is %s", problem.Detail)
		}
	}
}
