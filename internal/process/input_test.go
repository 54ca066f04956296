package process

import (
	"errors"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of an earlier server from coming back. Their
// numbers are those of the list of these faults.

func TestStdinClosesAndTimesOut(t *testing.T) {
	s := newSupervisor(t, Limits{InputTimeout: 50 * time.Millisecond})
	id := create(t, s, script(`cat; echo end`))
	if err := s.CloseStdin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if text, _ := follow(t, s, id, ""); text != "end\n" {
		t.Errorf("log = %q", text)
	}
	deaf := create(t, s, api.ProcessCreateRequest{Command: "sleep", Args: []string{"1000"}})
	var err error
	written := 0
	for range 3 {
		var n int
		if n, err = s.Input(t.Context(), deaf, make([]byte, 64<<10)); err != nil {
			break
		}
		written += n
	}
	wantCode(t, err, api.CodeInputTimeout, 504)
	var problem *api.Error
	if !errors.As(err, &problem) || problem.Details["bytesWritten"] != 0 || written != 64<<10 {
		t.Errorf("%d bytes, then %+v", written, problem)
	}
	_, err = s.Input(t.Context(), deaf, make([]byte, 64<<10+1))
	wantCode(t, err, api.CodeLimitExceeded, 413)
	if err == nil || err.Error() != "invalid request: input payload exceeds maxInputBytesPerRequest (65536)" {
		t.Errorf("error = %v", err)
	}
	if err := s.CloseStdin(t.Context(), deaf); err != nil {
		t.Error(err)
	}
	_, err = s.Input(t.Context(), deaf, nil)
	wantCode(t, err, api.CodeStdinClosed, 409)

	closed := create(t, s, script(`exec 0<&-; echo ready; sleep 1000`))
	follow(t, s, closed, "ready")
	_, err = s.Input(t.Context(), closed, []byte("x"))
	wantCode(t, err, api.CodeInputFailed, 502)

	for _, encoding := range []string{"hex", "BASE64"} {
		_, err := DecodeInput("", encoding, "text")
		wantCode(t, err, api.CodeInvalidInput, 400)
	}
	_, err = DecodeInput("!", "", "base64")
	wantCode(t, err, api.CodeInvalidInput, 400)
}
