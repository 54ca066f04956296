package model

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const realKey = "sk-real-0123456789abcdef"

// serve serves a handler until the test ends.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// forwarder serves a forwarder for a user with this environment, and returns its URL
// and what it logs.
func forwarder(t *testing.T, env ...string) (*Forwarder, string) {
	t.Helper()
	access, err := Discover(env, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := New("3kq7x2", access, log.New(io.Discard, "", 0))
	t.Cleanup(f.Close)
	return f, serve(t, f)
}

// all returns an environment in which every vendor is at a URL and has the key.
func all(upstream string) []string {
	return []string{
		"ANTHROPIC_BASE_URL=" + upstream, "ANTHROPIC_API_KEY=" + realKey, "OPENAI_BASE_URL=" + upstream + "/v1", "OPENAI_API_KEY=" + realKey,
		"GOOGLE_GEMINI_BASE_URL=" + upstream, "GEMINI_API_KEY=" + realKey,
	}
}

func send(t *testing.T, method, url string, header http.Header, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

// seen is what an upstream got.
type seen struct {
	Method, Path, Query string
	Header              http.Header
	Body                string
}

func recorder(t *testing.T) (url string, requests chan seen) {
	requests = make(chan seen, 16)
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header, string(body)}
		fmt.Fprint(w, "{}")
	})), requests
}

func TestEveryDialectReachesItsPathsWithTheRealKey(t *testing.T) {
	upstream, requests := recorder(t)
	_, url := forwarder(t, all(upstream)...)
	for _, test := range []struct {
		method, path string
		header       http.Header
		wantPath     string
		wantQuery    string
		wantHeader   string
	}{
		{"POST", "/v1/messages?beta=true&key=own", nil, "/v1/messages", "beta=true", "X-Api-Key"},
		{"POST", "/messages", nil, "/v1/messages", "", "X-Api-Key"},
		{"POST", "/v1/messages/count_tokens", nil, "/v1/messages/count_tokens", "", "X-Api-Key"},
		{"GET", "/v1/models?limit=5", http.Header{"Anthropic-Version": {"2023-06-01"}}, "/v1/models", "limit=5", "X-Api-Key"},
		{"GET", "/v1/models/claude-x", http.Header{"X-Api-Key": {"phantom"}}, "/v1/models/claude-x", "", "X-Api-Key"},
		{"POST", "/v1/chat/completions", nil, "/v1/chat/completions", "", "Authorization"},
		{"POST", "/v1/responses", nil, "/v1/responses", "", "Authorization"},
		{"POST", "/responses", nil, "/v1/responses", "", "Authorization"},
		{"GET", "/v1/models", http.Header{"Authorization": {"Bearer phantom"}}, "/v1/models", "", "Authorization"},
		{"POST", "/v1beta/models/gemini-x:generateContent?key=own", nil, "/v1beta/models/gemini-x:generateContent", "", "X-Goog-Api-Key"},
		{"POST", "/v1beta/models/gemini-x:streamGenerateContent?alt=sse", nil, "/v1beta/models/gemini-x:streamGenerateContent", "alt=sse", "X-Goog-Api-Key"},
		{"POST", "/v1/models/gemini-x:countTokens", nil, "/v1/models/gemini-x:countTokens", "", "X-Goog-Api-Key"},
		{"GET", "/v1beta/models?pageSize=5", nil, "/v1beta/models", "pageSize=5", "X-Goog-Api-Key"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			resp, body := send(t, test.method, url+test.path, test.header, "the body")
			if resp.StatusCode != 200 || body != "{}" {
				t.Fatalf("%s: %s", resp.Status, body)
			}
			got := <-requests
			if got.Method != test.method || got.Path != test.wantPath || got.Query != test.wantQuery || got.Body != "the body" {
				t.Errorf("the upstream got %+v", got)
			}
			for _, name := range []string{"X-Api-Key", "Authorization", "X-Goog-Api-Key"} {
				value, want := got.Header.Get(name), ""
				if name == test.wantHeader {
					want = realKey
				}
				if strings.TrimPrefix(value, "Bearer ") != want {
					t.Errorf("%s: %q", name, value)
				}
			}
		})
	}
}

func TestOnlyAllowedHeadersPass(t *testing.T) {
	upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"Set-Cookie": "a=b", "Alt-Svc": "h3", "Location": "x", "Request-Id": "1", "Anthropic-Ratelimit-Tokens": "2", "X-Echo": "3"} {
			w.Header().Set(name, value)
		}
		w.Header().Set("Trailer", "X-Trailer")
		json.NewEncoder(w).Encode(r.Header)
		w.Header().Set("X-Trailer", "t")
	}))
	_, url := forwarder(t, all(upstream)...)
	resp, body := send(t, "POST", url+"/v1/messages", http.Header{
		"X-Api-Key": {"own"}, "Authorization": {"Bearer own"}, "X-Goog-Api-Key": {"own"}, "Cookie": {"own"}, "Proxy-Authorization": {"own"},
		"Accept-Encoding": {"gzip"}, "Connection": {"close, Anthropic-Version"}, "Anthropic-Version": {"dropped as hop by hop"}, "X-Forwarded-For": {"1.2.3.4"},
		"Te": {"trailers"}, "Upgrade": {"websocket"}, "Expect": {""}, "Forwarded": {"for=x"}, "X-Http-Method-Override": {"DELETE"}, "Content-Type": {"application/json"},
		"Anthropic-Beta": {"a"}, "User-Agent": {"agent"},
	}, "{}")
	var got http.Header
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Anthropic-Beta": {"a"}, "Content-Length": {"2"}, "Content-Type": {"application/json"}, "User-Agent": {"agent"},
		"X-Api-Key": {strings.Repeat("*", len(realKey))}}
	delete(got, "Anthropic-Version")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	resp.Header.Del("Date")
	resp.Header.Del("Content-Length")
	if diff := cmp.Diff(http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Request-Id": {"1"}, "Anthropic-Ratelimit-Tokens": {"2"}}, resp.Header); diff != "" {
		t.Error(diff)
	}
	if len(resp.Trailer) > 0 {
		t.Errorf("trailers: %v", resp.Trailer)
	}
}

// raw sends bytes as they are and returns the status line of the response.
func raw(t *testing.T, url, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestWhatIsNoPathOfAModelIsRefused(t *testing.T) {
	upstream, requests := recorder(t)
	elsewhere, stolen := recorder(t)
	_, url := forwarder(t, all(upstream)...)
	host := strings.TrimPrefix(elsewhere, "http://")
	for _, target := range []string{
		"GET /v1/files", "POST /v1/files", "POST /v1/messages/batches", "DELETE /v1/models/x", "GET /v1/messages", "POST /v1/fine_tuning/jobs",
		"POST /v1/messages/", "POST /v1/messages/../files", "POST /v1/messages%2f..%2ffiles", "POST /v1//messages", "POST //v1/messages", "POST /v1/messages;x",
		"POST /V1/messages", "POST /v1/messages%00", "POST /v1/%6dessages", "POST /v1beta/models/..:generateContent", "POST /v1beta/models/a/b:generateContent",
		"POST /v1beta/models/x:batchGenerateContent", "POST /v1beta/models/x:generateContent:x", "POST /v1beta/files", "GET /v1/responses", "GET /v1/organization/usage",
		"POST http://" + host + "/v1/messages", "GET http://" + host + "/", "POST https://" + host + "/v1/messages", "CONNECT " + host, "CONNECT api.anthropic.com:443",
		"POST //" + host + "/v1/messages", "POST /@" + host + "/v1/messages", "TRACE /v1/messages", "PUT /v1/messages",
	} {
		t.Run(target, func(t *testing.T) {
			got := raw(t, url, target+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 4") {
				t.Errorf("got %s", got)
			}
		})
	}
	select {
	case r := <-requests:
		t.Errorf("the upstream got %+v", r)
	case r := <-stolen:
		t.Errorf("another server got %+v", r)
	default:
	}
}

// However a request is framed, the upstream sees one, with the framing of the forwarder.
func TestOneRequestStaysOneRequest(t *testing.T) {
	upstream, requests := recorder(t)
	_, url := forwarder(t, all(upstream)...)
	hidden := "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	for name, text := range map[string]string{
		"both framings":      "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"two lengths":        fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n%s", len(hidden), hidden),
		"an odd encoding":    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
		"a body with one in": fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(hidden), hidden),
	} {
		t.Run(name, func(t *testing.T) {
			raw(t, url, "POST /v1/messages HTTP/1.1\r\nHost: x\r\n"+text)
			for {
				select {
				case r := <-requests:
					if r.Path != "/v1/messages" || r.Header.Get("Transfer-Encoding") != "" {
						t.Errorf("the upstream got %+v", r)
					}
					continue
				default:
				}
				break
			}
		})
	}
}

func TestRedirectsAreNotFollowedOrHandedOn(t *testing.T) {
	elsewhere, stolen := recorder(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		upstream := serve(t, http.RedirectHandler(elsewhere+"/v1/messages", status))
		_, url := forwarder(t, all(upstream)...)
		resp, body := send(t, "POST", url+"/v1/messages", nil, "{}")
		if resp.StatusCode != http.StatusBadGateway || resp.Header.Get("Location") != "" || !strings.Contains(body, "redirect") {
			t.Errorf("%d: got %s %v %s", status, resp.Status, resp.Header, body)
		}
	}
	select {
	case r := <-stolen:
		t.Errorf("another server got %+v", r)
	default:
	}
}

// A stream passes event by event, and its end on one side ends the other.
func TestStreamsPassAsTheyCome(t *testing.T) {
	next, gone := make(chan string), make(chan struct{})
	upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case event := <-next:
				io.WriteString(w, event)
				http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				close(gone)
				return
			}
		}
	}))
	_, url := forwarder(t, all(upstream)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/messages", strings.NewReader(`{"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	go func() { next <- "data: 0\n\n" }() // headers come with the first event
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for i := range 5 {
		if i > 0 {
			next <- fmt.Sprintf("data: %d\n\n", i)
		}
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		lines.ReadString('\n')
	}
	cancel()
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the upstream still sends")
	}
}

func TestAStreamThatBreaksIsNotOneThatEnds(t *testing.T) {
	upstream := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: 0\n\n")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	_, url := forwarder(t, all(upstream)...)
	resp, err := http.Post(url+"/v1/messages", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("got %q and no error", data)
	}
}

func TestWithoutCredentialsTheDialectSaysWhatToDo(t *testing.T) {
	_, url := forwarder(t)
	for path, want := range map[string]string{
		"/v1/messages":                        `{"error":{"message":"TEXT","type":"authentication_error"},"type":"error"}`,
		"/v1/chat/completions":                `{"error":{"code":"authentication_error","message":"TEXT","param":null,"type":"authentication_error"}}`,
		"/v1/responses":                       `{"error":{"code":"authentication_error","message":"TEXT","param":null,"type":"authentication_error"}}`,
		"/v1beta/models/m:generateContent":    `{"error":{"code":400,"message":"TEXT","status":"FAILED_PRECONDITION"}}`,
		"/v1beta/models/m:countTokens?key=xx": `{"error":{"code":400,"message":"TEXT","status":"FAILED_PRECONDITION"}}`,
	} {
		resp, body := send(t, "POST", url+path, nil, "{}")
		title, variable := "OpenAI", "OPENAI_API_KEY"
		if strings.HasPrefix(path, "/v1/messages") {
			title, variable = "Anthropic", "ANTHROPIC_API_KEY"
		} else if strings.HasPrefix(path, "/v1beta") {
			title, variable = "Gemini", "GEMINI_API_KEY"
		}
		text := "this sandbox has no credentials for " + title + ". On its host, set " + variable + " and run: sandbox-agent sandbox keys 3kq7x2"
		if want := strings.Replace(want, "TEXT", text, 1); resp.StatusCode != 400 || strings.TrimSpace(body) != want {
			t.Errorf("%s: got %s %s, want %s", path, resp.Status, body, want)
		}
	}
}

func TestNewKeysCountAtOnce(t *testing.T) {
	upstream, requests := recorder(t)
	f, url := forwarder(t)
	access, err := Discover(all(upstream), "")
	if err != nil {
		t.Fatal(err)
	}
	f.SetAccess(access)
	if resp, body := send(t, "POST", url+"/v1/messages", nil, "{}"); resp.StatusCode != 200 {
		t.Errorf("got %s %s", resp.Status, body)
	}
	if got := <-requests; got.Header.Get("X-Api-Key") != realKey {
		t.Errorf("got %v", got.Header)
	}
}

func TestALargeRequestIsRefused(t *testing.T) {
	upstream, _ := recorder(t)
	_, url := forwarder(t, all(upstream)...)
	for name, body := range map[string]io.Reader{
		"of known length": bytes.NewReader(make([]byte, maxBody+1)), "of unknown length": iotest.DataErrReader(bytes.NewReader(make([]byte, maxBody+1))),
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/messages", body)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{DisableKeepAlives: true}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				return // the connection was closed while the body was sent
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("got %s", resp.Status)
			}
		})
	}
}

func TestTheScriptedModelAnswersThroughTheForwarder(t *testing.T) {
	upstream := serve(t, fakemodel.New(fakemodel.Options{}))
	_, url := forwarder(t, all(upstream)...)
	for path, body := range map[string]string{
		"/v1/messages":                                   `{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}`,
		"/v1/chat/completions":                           `{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
		"/v1/responses":                                  `{"model":"m","input":"hi"}`,
		"/v1beta/models/m:generateContent":               `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`,
		"/v1beta/models/m:streamGenerateContent?alt=sse": `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`,
	} {
		direct, want := send(t, "POST", upstream+path, nil, body)
		through, got := send(t, "POST", url+path, nil, body)
		if direct.StatusCode != 200 || through.StatusCode != 200 || len(got) < len(want)/2 {
			t.Errorf("%s: %s %s, want %s", path, through.Status, got, want)
		}
	}
}

func TestRedactedBodies(t *testing.T) {
	stars := strings.Repeat("*", len(realKey))
	for _, text := range []string{"", "x", realKey, "a" + realKey + "b" + realKey, realKey[:10], "sk-" + realKey + "sk-real", realKey[:10] + realKey} {
		want := strings.ReplaceAll(text, realKey, stars)
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)), "half": iotest.HalfReader(strings.NewReader(text)),
		} {
			got, err := io.ReadAll(redactBody(io.NopCloser(r), realKey))
			if err != nil || string(got) != want {
				t.Errorf("%s %q: got %q, %v", name, text, got, err)
			}
		}
	}
	// What cannot be the beginning of the key is not held back.
	r, w := io.Pipe()
	body := redactBody(r, realKey)
	go io.WriteString(w, "data: x\n\n")
	buf := make([]byte, 64)
	if n, err := body.Read(buf); err != nil || string(buf[:n]) != "data: x\n\n" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	w.Close()
}

func TestDiscover(t *testing.T) {
	login := map[string]string{".claude/.credentials.json": `{"claudeAiOauth":{"accessToken":"login-of-claude"}}`}
	chatgpt := map[string]string{".codex/auth.json": `{"tokens":{"access_token":"login-of-chatgpt"}}`}
	for name, test := range map[string]struct {
		env   []string
		files map[string]string
		want  []string
		sent  http.Header // of Anthropic
	}{
		"nothing":                          {},
		"keys":                             {env: []string{"ANTHROPIC_API_KEY=a", "OPENAI_API_KEY=o", "GOOGLE_API_KEY=g"}, want: []string{"anthropic (environment)", "openai (environment)", "google (environment)"}, sent: http.Header{"X-Api-Key": {"a"}}},
		"a login":                          {files: login, want: []string{"anthropic (claude-code)"}, sent: http.Header{"Authorization": {"Bearer login-of-claude"}, "Anthropic-Beta": {"oauth-2025-04-20"}}},
		"a login is not for other servers": {env: []string{"ANTHROPIC_BASE_URL=http://127.0.0.1:1"}, files: login, want: []string{"anthropic (ANTHROPIC_BASE_URL, no key)"}, sent: http.Header{}},
		"a token for another server":       {env: []string{"ANTHROPIC_BASE_URL=http://127.0.0.1:1", "ANTHROPIC_AUTH_TOKEN=t"}, want: []string{"anthropic (environment)"}, sent: http.Header{"Authorization": {"Bearer t"}}},
		"a ChatGPT login is no key":        {files: chatgpt},
		"a server without a key":           {env: []string{"OPENAI_BASE_URL=http://localhost:11434/v1"}, want: []string{"openai (OPENAI_BASE_URL, no key)"}},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for file, content := range test.files {
				path := filepath.Join(home, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			access, err := Discover(test.env, home)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, access.Reachable()); diff != "" {
				t.Error(diff)
			}
			if test.sent != nil {
				header := http.Header{}
				access.vendors[anthropic].authorize(anthropic, header)
				if diff := cmp.Diff(test.sent, header); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	for _, value := range []string{"x", "ftp://x", "http://", "http://u:p@x", "http://x?key=k", "http://x#y", "http://%zz", "unix:/x"} {
		if access, err := Discover([]string{"ANTHROPIC_BASE_URL=" + value}, ""); err == nil || strings.Contains(err.Error(), ":p@") {
			t.Errorf("%s: %+v, %v", value, access, err)
		}
	}
}

func TestEnviron(t *testing.T) {
	const base = "http://127.0.0.1:1"
	for name, test := range map[string]struct {
		env  []string
		keys string
	}{
		"nothing": {nil, "ANTHROPIC_API_KEY OPENAI_API_KEY CODEX_API_KEY GEMINI_API_KEY GOOGLE_GENERATIVE_AI_API_KEY"},
		"one":     {[]string{"OPENAI_API_KEY=" + realKey}, "OPENAI_API_KEY CODEX_API_KEY"},
	} {
		access, err := Discover(append(test.env, "ANTHROPIC_MODEL=m"), "")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"ANTHROPIC_BASE_URL": base, "OPENAI_BASE_URL": base + "/v1", "GOOGLE_GEMINI_BASE_URL": base, "ANTHROPIC_MODEL": "m"}
		for key := range strings.FieldsSeq(test.keys) {
			want[key] = "phantom"
		}
		if diff := cmp.Diff(want, access.Environ(base, "phantom")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
