package server_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// newFileServer serves with small limits and returns the home folder too.
func newFileServer(t *testing.T) (base, home string) {
	t.Helper()
	in := start(t, app.Config{Limits: api.Limits{MaxBodyBytes: 10_000, MaxFileBytes: 3 << 20}})
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return in.url, in.home
}

// fileAnswer does a request and returns the answer with its body read.
func fileAnswer(t *testing.T, method, target, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(data)
}

func testTar(t *testing.T, name, body string) string {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(tw, body)
	tw.Close()
	return buf.String()
}

func TestFileRoutes(t *testing.T) {
	base, home := newFileServer(t)
	const json, raw, tarType = "application/json", "", "application/x-tar"
	big := strings.Repeat("x", 3<<20)
	for _, c := range []struct {
		name, method, target, contentType, body string
		status                                  int
		want                                    string // HOME stands for the home folder
	}{
		{"write", "PUT", "/v1/fs/file?path=a/f", raw, "hello", 200, `{"path":"HOME/a/f","bytesWritten":5}`},
		{"write empty", "PUT", "/v1/fs/file?path=empty", raw, "", 200, `{"path":"HOME/empty","bytesWritten":0}`},
		{"write over 2 MiB", "PUT", "/v1/fs/file?path=big", raw, big, 200, `{"path":"HOME/big","bytesWritten":3145728}`},
		{"write over the limit", "PUT", "/v1/fs/file?path=big", raw, big + "x", 413, `"code":"limit_exceeded"`},
		{"write with mode", "PUT", "/v1/fs/file?path=script&mode=0700", raw, "x", 200, `"bytesWritten":1`},
		{"write bad mode", "PUT", "/v1/fs/file?path=x&mode=rwx", raw, "x", 400, `"code":"invalid_mode"`},
		{"write without path", "PUT", "/v1/fs/file", raw, "x", 400, "missing field `path`"},
		{"append", "PUT", "/v1/fs/file?path=a/f&append=true", raw, " you", 200, `"bytesWritten":4`},
		{"append bad flag", "PUT", "/v1/fs/file?path=a/f&append=1", raw, " you", 400, "was not `true` or `false`"},
		{"read", "GET", "/v1/fs/file?path=a/f", raw, "", 200, "hello you"},
		{"read missing", "GET", "/v1/fs/file?path=none", raw, "", 400, `"detail":"invalid request: path not found: HOME/none","code":"path_not_found"`},
		{"read proc", "GET", "/v1/fs/file?path=/proc/self/status", raw, "", 200, "Pid:"},
		{"stat", "GET", "/v1/fs/stat?path=script", raw, "", 200, `{"path":"HOME/script","entryType":"file","size":1,"modified":"`},
		{"stat empty path", "GET", "/v1/fs/stat?path=", raw, "", 200, `"entryType":"directory"`},
		{"stat without path", "GET", "/v1/fs/stat", raw, "", 400, `"code":"invalid_query"`},
		{"list", "GET", "/v1/fs/entries", raw, "", 200, `[{"name":"a","path":"HOME/a","entryType":"directory",`},
		{"list a file", "GET", "/v1/fs/entries?path=big", raw, "", 400, "path is not a directory: HOME/big"},
		{"list bad limit", "GET", "/v1/fs/entries?limit=x", raw, "", 400, "invalid digit found in string"},
		{"mkdir by query", "POST", "/v1/fs/mkdir?path=m/n", raw, "", 200, `{"path":"HOME/m/n"}`},
		{"mkdir by body", "POST", "/v1/fs/mkdir", json, `{"path":"m/o"}`, 200, `{"path":"HOME/m/o"}`},
		{"mkdir without path", "POST", "/v1/fs/mkdir", json, `{}`, 400, "missing field `path`"},
		{"move", "POST", "/v1/fs/move", json, `{"from":"empty","to":"q/moved"}`, 200, `{"from":"HOME/empty","to":"HOME/q/moved"}`},
		{"move onto", "POST", "/v1/fs/move", json, `{"from":"a/f","to":"script"}`, 400, `"code":"already_exists"`},
		{"move without to", "POST", "/v1/fs/move", json, `{"from":"a/f"}`, 422, `to`},
		{"move no JSON", "POST", "/v1/fs/move", json, `{`, 400, `"code":"invalid_json"`},
		{"delete full", "DELETE", "/v1/fs/entry?path=m", raw, "", 502, `"details":{"message":"Directory not empty (os error 39)","path":"HOME/m"}`},
		{"delete recursive", "DELETE", "/v1/fs/entry?path=m&recursive=true", raw, "", 200, `{"path":"HOME/m"}`},
		{"delete root", "DELETE", "/v1/fs/entry?path=/&recursive=true", raw, "", 400, `"code":"protected_path"`},
		{"upload", "POST", "/v1/fs/upload-batch?path=up", tarType, testTar(t, "f", "x"), 200, `{"paths":["HOME/up/f"],"truncated":false}`},
		{"upload empty", "POST", "/v1/fs/upload-batch?path=up", tarType, "", 200, `{"paths":[],"truncated":false}`},
		{"upload other type", "POST", "/v1/fs/upload-batch", json, "", 400, "content-type must be application/x-tar"},
		{"upload out", "POST", "/v1/fs/upload-batch", tarType, testTar(t, "../f", "x"), 400, "invalid relative path: ../f"},
		{"batch", "POST", "/v1/fs/batch", json, `{"files":[{"path":"b1","content":"x"}]}`, 200, `"paths":["HOME/b1"]`},
		{"batch bad", "POST", "/v1/fs/batch", json, `{"files":[{"path":"b2","content":"x"},{"path":"../b","content":""}]}`, 400, `"code":"invalid_path"`},
		{"search", "GET", "/v1/fs/search?content=you", raw, "", 200, `{"matches":[{"path":"HOME/a/f","entryType":"file","line":1,"column":7,"text":"hello you"}],"summary":{"matches":1,`},
		{"search nothing", "GET", "/v1/fs/search", raw, "", 400, `"code":"invalid_pattern"`},
		{"archive missing", "GET", "/v1/fs/archive?path=none", raw, "", 400, `"code":"path_not_found"`},
		{"archive packing", "GET", "/v1/fs/archive?compression=rar", raw, "", 400, "unknown packing rar"},
		{"watch missing", "GET", "/v1/fs/watch?path=none", raw, "", 400, `"code":"path_not_found"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, got := fileAnswer(t, c.method, base+c.target, c.body, "Content-Type", c.contentType)
			if want := strings.ReplaceAll(c.want, "HOME", home); res.StatusCode != c.status || !strings.Contains(got, want) {
				t.Errorf("%d %s\nwant %d %s", res.StatusCode, got, c.status, want)
			}
			if problem := res.Header.Get("Content-Type") == "application/problem+json"; problem != (c.status >= 400) {
				t.Errorf("content type %s", res.Header.Get("Content-Type"))
			}
		})
	}
	if _, err := os.Stat(home + "/b2"); err == nil {
		t.Error("a batch that failed left a file")
	}
}

func TestFileRangesAndPages(t *testing.T) {
	base, home := newFileServer(t)
	os.WriteFile(home+"/f", []byte("0123456789"), 0o644)
	os.WriteFile(home+"/g", nil, 0o644)
	res, got := fileAnswer(t, "GET", base+"/v1/fs/file?path=f", "", "Range", "bytes=2-4")
	tag := res.Header.Get("ETag")
	if res.StatusCode != 206 || got != "234" || tag == "" {
		t.Errorf("range: %d %q %q", res.StatusCode, got, tag)
	}
	if res, _ := fileAnswer(t, "GET", base+"/v1/fs/file?path=f", "", "If-None-Match", tag); res.StatusCode != 304 {
		t.Errorf("if-none-match: %d", res.StatusCode)
	}
	for _, c := range []struct {
		header, value string
		status        int
		code          string
	}{{"Range", "bytes=20-", 416, "range_not_satisfiable"}, {"If-Match", `"other"`, 412, "precondition_failed"}} {
		res, got := fileAnswer(t, "GET", base+"/v1/fs/file?path=f", "", c.header, c.value)
		if res.StatusCode != c.status || res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(got, `"code":"`+c.code+`"`) {
			t.Errorf("%s: %d %s", c.header, res.StatusCode, got)
		}
		if c.status == 416 && res.Header.Get("Content-Range") != "bytes */10" {
			t.Errorf("headers %v", res.Header)
		}
	}
	if res, got := fileAnswer(t, "HEAD", base+"/v1/fs/file?path=f", ""); res.ContentLength != 10 || got != "" {
		t.Errorf("head: %d %q", res.ContentLength, got)
	}
	res, got = fileAnswer(t, "GET", base+"/v1/fs/entries?limit=1", "")
	next := res.Header.Get("X-Next-Cursor")
	if !strings.Contains(got, `"name":"f"`) || next == "" {
		t.Errorf("first page %s, next %q", got, next)
	}
	res, got = fileAnswer(t, "GET", base+"/v1/fs/entries?limit=1&cursor="+next, "")
	if !strings.Contains(got, `"name":"g"`) || res.Header.Get("X-Next-Cursor") != "" {
		t.Errorf("second page %s, next %q", got, res.Header.Get("X-Next-Cursor"))
	}
}

func TestFileStreams(t *testing.T) {
	base, home := newFileServer(t)
	os.WriteFile(home+"/f", []byte("needle\n"), 0o644)
	res, got := fileAnswer(t, "GET", base+"/v1/fs/archive", "")
	hdr, err := tar.NewReader(strings.NewReader(got)).Next()
	if err != nil || hdr.Name != "f" || res.Header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("archive: %+v, %v, %v", hdr, err, res.Header)
	}
	_, got = fileAnswer(t, "GET", base+"/v1/fs/search?content=needle", "", "Accept", "text/event-stream")
	if !strings.HasPrefix(got, "event: match\ndata: {") || !strings.Contains(got, "event: done\ndata: {\"matches\":1,") {
		t.Errorf("search: %s", got)
	}

	req, err := http.NewRequestWithContext(t.Context(), "GET", base+"/v1/fs/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	os.WriteFile(home+"/new", []byte("x"), 0o644)
	for e := range testkit.Events(stream.Body) {
		if strings.Contains(e.Data, `{"type":"create","path":"`+home+`/new","kind":"file","time":"`) {
			return
		}
	}
	t.Error("the watch ended without the event")
}

// TestRefusedBodiesGetTheirAnswer sends large bodies and listens only then, as
// many clients do. A server that closes its ears breaks their connection.
func TestRefusedBodiesGetTheirAnswer(t *testing.T) {
	const size = 32 << 20
	in := start(t, app.Config{Token: "secret", Limits: api.Limits{MaxFileBytes: 1 << 20}})
	for _, c := range []struct {
		name, request, token string
		status               int
	}{
		{"file", "PUT /v1/fs/file?path=f", "secret", 413},
		{"archive", "POST /v1/fs/upload-batch?path=d", "secret", 400},
		{"JSON", "POST /v1/fs/move", "secret", 413},
		{"token", "PUT /v1/fs/file?path=f", "other", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", c.request, c.token, size)
			if _, err := conn.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != c.status || !strings.Contains(string(body), `"code":`) {
				t.Errorf("status %d, %v: %s", res.StatusCode, err, body)
			}
		})
	}
}

// TestUnreadBodies sends bodies that nobody wants, which look like requests, and
// another request behind each on the same connection, which ends after an error.
func TestUnreadBodies(t *testing.T) {
	in := start(t, app.Config{})
	for request, status := range map[string]int{
		"GET /v1/health": 200, "HEAD /v1/health": 200, "OPTIONS /v1/fs/move": 200, "POST /v1/fs/mkdir?path=d": 200,
		"DELETE /v1/acp/nobody": 204, "POST /v1/nothing": 404, "POST /v1/health": 405, "POST /v1/acp/s": 415,
	} {
		for _, size := range []int{1, 255 << 10, 257 << 10, 10 << 20} {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprint(request, " ", size, " ", chunked), func(t *testing.T) {
					conn, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					body := strings.Repeat("GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", size/32+1)[:size]
					length := fmt.Sprintf("Content-Length: %d", size)
					if chunked {
						length, body = "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)
					}
					go fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n%sGET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: next\r\n\r\n", request, length, body)
					answers := bufio.NewReader(conn)
					method, _, _ := strings.Cut(request, " ")
					res, err := http.ReadResponse(answers, &http.Request{Method: method})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != status {
						t.Fatalf("status %d, %v", res.StatusCode, err)
					}
					closes := res.Close
					res, err = http.ReadResponse(answers, nil)
					if status >= 400 && closes && err != nil {
						return
					}
					if err != nil || status >= 400 {
						t.Fatalf("the next response is %v, %v; the one before closes: %v", res, err, closes)
					}
					res.Body.Close()
					if id := res.Header.Get("X-Request-Id"); res.StatusCode != http.StatusOK || id != "next" {
						t.Errorf("the next answer is %d to %q", res.StatusCode, id)
					}
				})
			}
		}
	}
}

// TestBrokenBodies sends bodies that end too early, or are not what they say, to
// routes that read them in each of our ways, and goes on listening.
func TestBrokenBodies(t *testing.T) {
	in := start(t, app.Config{})
	for _, request := range []string{
		"POST /v1/processes/run", "POST /v1/sessions/s/prompt", "POST /v1/acp/s?agent=mock", "POST /v1/processes/p/kill",
		"PUT /v1/config/mcp", "PUT /v1/fs/file?path=f", "POST /v1/fs/mkdir",
	} {
		for _, body := range []string{"Content-Length: 100\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n5\r\n{   }no end"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s", request, body)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%s: %v", request, err)
			}
			defer res.Body.Close()
			text, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), `"code":"invalid_request"`) {
				t.Errorf("%s: status %d: %s", request, res.StatusCode, text)
			}
		}
	}
}

// TestRefusalsDoNotWaitForBodies sends a head and nothing more, as a client does
// whose body is typed by a person. It has to hear of its wrong token now.
func TestRefusalsDoNotWaitForBodies(t *testing.T) {
	in := start(t, app.Config{Token: "secret"})
	conn, err := net.Dial("tcp", strings.TrimPrefix(in.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PUT /v1/fs/file?path=f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer other\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", res.StatusCode)
	}
}
