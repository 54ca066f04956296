package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestErrorWire(t *testing.T) {
	tests := []struct {
		name string
		err  *api.Error
		want string
	}{
		{"invalid request", api.InvalidRequest(api.CodePathNotFound, "path not found: %s", "/x"),
			`{"type":"urn:sandbox-agent:error:invalid_request","title":"Invalid Request","status":400,"detail":"invalid request: path not found: /x","code":"path_not_found"}`},
		{"not found", api.NotFound("process", "nope"),
			`{"type":"urn:sandbox-agent:error:not_found","title":"Not Found","status":404,"detail":"not found: process nope","code":"process_not_found","details":{"id":"nope","resource":"process"}}`},
		{"conflict", api.Conflict("", "busy"),
			`{"type":"urn:sandbox-agent:error:conflict","title":"Conflict","status":409,"detail":"conflict: busy","code":"conflict","details":{"message":"busy"}}`},
		{"too large", api.TooLarge("maxBodyBytes", 7),
			`{"type":"urn:sandbox-agent:error:invalid_request","title":"Payload Too Large","status":413,"detail":"invalid request: payload exceeds maxBodyBytes (7)","code":"limit_exceeded","details":{"limit":"maxBodyBytes","value":7}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := json.Marshal(tt.err)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestErrorIs(t *testing.T) {
	var back api.Error
	wire, _ := json.Marshal(api.InvalidRequest(api.CodePathNotFound, "path not found: /x"))
	if err := json.Unmarshal(wire, &back); err != nil {
		t.Fatal(err)
	}
	err := fmt.Errorf("stat: %w", &back)
	if !errors.Is(err, api.CodePathNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Error("code of a decoded error is not matched")
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, api.CodeTimeout) {
		t.Error("foreign code matched")
	}
	for code, want := range map[api.Code]error{
		api.CodePathNotFound: fs.ErrNotExist, api.CodeProgramNotFound: fs.ErrNotExist,
		api.CodeAlreadyExists: fs.ErrExist, api.CodeNotEmpty: fs.ErrExist,
		api.CodePermissionDenied: fs.ErrPermission, api.CodeProtectedPath: fs.ErrPermission, api.CodeReadOnly: fs.ErrPermission,
		api.CodeInvalidPath: fs.ErrInvalid, api.CodeNotSupported: errors.ErrUnsupported,
		api.CodeTimeout: context.DeadlineExceeded, api.CodeInputTimeout: context.DeadlineExceeded,
	} {
		if err := error(&api.Error{Code: code}); !errors.Is(err, want) || errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s does not match %v", code, want)
		}
	}
	if cause := errors.New("boom"); !errors.Is(api.StreamError("", "write: %w", cause), cause) {
		t.Error("cause is lost")
	}
}
