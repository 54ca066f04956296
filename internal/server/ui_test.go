package server_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
)

func TestInspector(t *testing.T) {
	in := start(t, app.Config{Token: "secret"})
	page := map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
	}
	in.run(t, []scenario{
		{name: "page", path: "/ui/", status: 200, headers: page, want: []string{`<base href="./">`, `<div id="app">`}},
		{name: "page without slash", path: "/ui", status: 200, headers: page, want: []string{`<base href="ui/">`}},
		{name: "page with token", path: "/ui/?token=secret", status: 200, headers: page, not: []string{"secret"}},
		{name: "page by name", path: "/ui/index.html", status: 200, headers: page},
		{name: "a view", path: "/ui/agents", status: 200, headers: page, want: []string{`<base href="./">`}},
		{name: "a view below", path: "/ui/sessions/1/events", status: 200, headers: page, want: []string{`<base href="../../">`}},
		{name: "head", method: "HEAD", path: "/ui/", status: 200, headers: page},
		{name: "missing", path: "/ui/assets/missing.js", status: 404, want: []string{`"detail":"endpoint not found"`}},
		{name: "missing at the top", path: "/ui/robots.txt", status: 404},
		{name: "outside", path: "/ui/../v1/health", status: 404},
		{name: "folder with a slash", path: "/ui/assets/", status: 404},
		{name: "wrong method", method: "POST", path: "/ui/", status: 405, headers: map[string]string{"Allow": "GET,HEAD"}},
	})
}

func TestInspectorAssets(t *testing.T) {
	in := start(t, app.Config{Token: "secret"})
	get := func(path string, header map[string]string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, in.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range header {
			req.Header.Set(name, value)
		}
		resp, err := in.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	resp, index := get("/ui/", nil)
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'"} {
		if got := resp.Header.Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("policy %q lacks %s", got, want)
		}
	}
	assets := regexp.MustCompile(`assets/[a-z]+-[A-Z0-9]{8}\.(js|css)`).FindAllString(index, -1)
	if len(assets) != 2 {
		t.Fatalf("the page names %v", assets)
	}
	for _, asset := range assets {
		plain, content := get("/ui/"+asset, map[string]string{"Accept-Encoding": "identity"})
		if plain.StatusCode != 200 || len(content) < 1000 || plain.Header.Get("Content-Encoding") != "" ||
			plain.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d, %d bytes, %v", asset, plain.StatusCode, len(content), plain.Header)
		}
		packed, bytes := get("/ui/"+asset, map[string]string{"Accept-Encoding": "br, gzip"})
		if packed.Header.Get("Content-Encoding") != "gzip" || len(bytes) >= len(content) {
			t.Errorf("%s is not compressed: %d of %d bytes, %v", asset, len(bytes), len(content), packed.Header)
		}
		if again, _ := get("/ui/"+asset, map[string]string{"If-None-Match": plain.Header.Get("ETag")}); again.StatusCode != 304 {
			t.Errorf("%s anew: %d", asset, again.StatusCode)
		}
	}
}
