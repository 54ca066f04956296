package server_test

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

func TestMeta(t *testing.T) {
	in := start(t, app.Config{Version: "1.2.3", Limits: api.Limits{MaxUploadBytes: 3 << 20}})
	in.run(t, []scenario{
		{name: "root", path: "/", status: 200, want: []string{`{"docs":"/docs","name":"Sandbox Agent"}`}},
		{name: "health", path: "/v1/health", status: 200, want: []string{`{"status":"ok"}`}, headers: map[string]string{"Content-Type": "application/json"}},
		{name: "head", method: "HEAD", path: "/v1/health", status: 200},
		{name: "version", path: "/v1/version", status: 200, want: []string{`"version":"1.2.3"`}},
		{name: "limits", path: "/v1/limits", status: 200, want: []string{`"maxBodyBytes":2097152`, `"maxFrameBytes":33554432`}},
		{name: "made up method", method: "MADEUP", path: "/v1/health", status: 405},
		{name: "metrics", path: "/metrics", status: 200, want: []string{"sandbox_agent_http_requests_total", `route="/v1/health"`, `method="other"`}, not: []string{"MADEUP"}},
		{name: "document", path: "/openapi.json", status: 200, want: []string{`"openapi":"3.1.0"`, `"/v1/acp/{id}"`}},
		{name: "docs", path: "/docs", status: 200, want: []string{"openapi.json"}, not: []string{"https://", "http://"}},
		{name: "unknown", path: "/v1/nope", status: 404, want: []string{`"type":"urn:sandbox-agent:error:invalid_request","title":"Not Found","status":404,"detail":"endpoint not found"`}},
		{name: "no version", path: "/v1", status: 404},
		{name: "slash at the end", path: "/v1/health/", status: 404},
		{name: "two slashes", path: "//v1/health", status: 404},
		{name: "wrong method", method: "POST", path: "/v1/health", status: 405, headers: map[string]string{"Allow": "GET,HEAD"}},
		{name: "repeated key", path: "/v1/health?a=1&a=2", status: 400, want: []string{"duplicate field `a`"}},
		{name: "boolean", path: "/v1/agents?config=false", status: 200},
		{name: "no boolean", path: "/v1/agents?config=1", status: 400, want: []string{"provided string was not `true` or `false`"}},
		{name: "preflight", method: "OPTIONS", path: "/any/where", status: 200, headers: map[string]string{"Access-Control-Allow-Methods": "*", "Access-Control-Allow-Origin": ""}},
		{name: "request id is kept", path: "/v1/health", header: map[string]string{"X-Request-Id": "mine"}, status: 200, headers: map[string]string{"X-Request-Id": "mine"}},
		{name: "longest body", method: "POST", path: "/v1/fs/move", header: jsonHeader, body: pad(`{"from":"/nope","to":"/no"}`, 2<<20), status: 400, want: []string{`"code":"path_not_found"`}},
		{name: "longer body", method: "POST", path: "/v1/fs/move", header: jsonHeader, body: pad(`{"from":"/nope","to":"/no"}`, 2<<20+1), status: 413, want: []string{"maxBodyBytes (2097152)", `"limit":"maxBodyBytes"`}},
		{name: "longer batch", method: "POST", path: "/v1/fs/batch", header: jsonHeader, body: pad(`{"files":[]}`, 3<<20+1), status: 413, want: []string{"maxUploadBytes (3145728)"}},
		{name: "vary", path: "/", status: 200, headers: map[string]string{"Vary": "origin, access-control-request-method, access-control-request-headers"}},
	})
}

// pad brings a JSON document to a length.
func pad(document string, length int) string {
	return document + strings.Repeat(" ", length-len(document))
}

func TestToken(t *testing.T) {
	in := start(t, app.Config{Token: "secret"})
	bearer := func(value string) map[string]string { return map[string]string{"Authorization": value} }
	in.run(t, []scenario{
		{name: "none", path: "/v1/health", status: 401, want: []string{`"type":"urn:sandbox-agent:error:token_invalid"`, `"details":{"message":"missing or invalid bearer token"}`}},
		{name: "right", path: "/v1/health", header: bearer("Bearer secret"), status: 200},
		{name: "wrong", path: "/v1/health", header: bearer("Bearer secreT"), status: 401},
		{name: "longer", path: "/v1/health", header: bearer("Bearer secrets"), status: 401},
		{name: "scheme in lower case", path: "/v1/health", header: bearer("bearer secret"), status: 200},
		{name: "two blanks", path: "/v1/health", header: bearer("Bearer  secret"), status: 401},
		{name: "basic", path: "/v1/health", header: bearer("Basic secret"), status: 401},
		{name: "query is for WebSockets only", path: "/v1/health?access_token=secret", status: 401},
		{name: "wrong method is 401 too", method: "POST", path: "/v1/health", status: 401, headers: map[string]string{"Allow": "GET,HEAD"}},
		{name: "metrics", path: "/metrics", status: 401},
		{name: "root is open", path: "/", status: 200},
		{name: "unknown is open", path: "/v1/nope", status: 404},
		{name: "preflight is open", method: "OPTIONS", path: "/v1/health", status: 200},
		{name: "any host name", path: "/v1/health", header: map[string]string{"Authorization": "Bearer secret", "Host": "sandbox.example"}, status: 200},
	})
}

func TestBrowsersAreKeptOut(t *testing.T) {
	in := start(t, app.Config{AllowedHosts: []string{"box.internal"}, CORS: httpkit.CORS{Origins: []string{"https://friend.example"}}})
	host := func(h string) map[string]string { return map[string]string{"Host": h} }
	in.run(t, []scenario{
		{name: "rebound name", path: "/v1/health", header: host("evil.example"), status: 403, want: []string{`"code":"host_forbidden"`}},
		{name: "rebound name with port", path: "/v1/health", header: host("evil.example:2468"), status: 403},
		{name: "localhost", path: "/v1/health", header: host("localhost:2468"), status: 200},
		{name: "IPv6", path: "/v1/health", header: host("[::1]:2468"), status: 200},
		{name: "named by flag", path: "/v1/health", header: host("box.internal:80"), status: 200},
		{name: "script of another site", path: "/v1/fs/file?path=a", header: fetched("cross-site", "no-cors", "script"), status: 403, want: []string{`"code":"origin_forbidden"`}},
		{name: "script of another port", path: "/v1/fs/file?path=a", header: fetched("same-site", "no-cors", "script"), status: 403, want: []string{`"code":"origin_forbidden"`}},
		{name: "image of another site", path: "/v1/health", header: fetched("cross-site", "no-cors", "image"), status: 403, want: []string{`"code":"origin_forbidden"`}},
		{name: "frame of another site", path: "/ui/", header: fetched("cross-site", "navigate", "iframe"), status: 403, want: []string{`"code":"origin_forbidden"`}},
		{name: "link of another site to the API", path: "/v1/health", header: fetched("cross-site", "navigate", "document"), status: 403, want: []string{`"code":"origin_forbidden"`}},
		{name: "link of another site to a page", path: "/docs", header: fetched("cross-site", "navigate", "document"), status: 200},
		{name: "address typed by a user", path: "/v1/health", header: fetched("none", "navigate", "document"), status: 200},
		{name: "page of this server", path: "/v1/health", header: fetched("same-origin", "cors", "empty"), status: 200},
		{name: "foreign origin", path: "/v1/health", header: map[string]string{"Origin": "https://evil.example"}, status: 403, want: []string{`"code":"origin_forbidden"`}},
		{name: "null origin", path: "/v1/health", header: map[string]string{"Origin": "null"}, status: 403},
		{name: "friend", path: "/v1/health", header: map[string]string{"Origin": "https://friend.example"}, status: 200, headers: map[string]string{"Access-Control-Allow-Origin": "https://friend.example"}},
		{name: "own page", path: "/v1/health", header: map[string]string{"Origin": in.url}, status: 200},
	})
}

func TestCORSWithCredentials(t *testing.T) {
	in := start(t, app.Config{CORS: httpkit.CORS{Origins: []string{"https://a.example"}, Headers: []string{"*"}, Credentials: true}})
	in.run(t, []scenario{{
		name: "preflight", method: "OPTIONS", path: "/v1/health", status: 200,
		header:  map[string]string{"Origin": "https://a.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-One,X-Two"},
		headers: map[string]string{"Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "x-one,x-two"},
	}})
}

// fetched are the headers by which a browser says what a request is for.
func fetched(site, mode, dest string) map[string]string {
	return map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
}

func TestBrowsersAreToldToKeepResponsesFromOtherOrigins(t *testing.T) {
	in := start(t, app.Config{})
	for _, path := range []string{"/v1/health", "/v1/none", "/docs", "/ui/", "/v1/fs/file?path=none", "/metrics"} {
		resp, err := in.client.Get(in.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := resp.Header.Get(header); got != want {
				t.Errorf("%s of %s is %q, want %q", header, path, got, want)
			}
		}
	}
}
