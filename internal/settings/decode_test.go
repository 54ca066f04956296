package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// Every name and form an entry may come in, with what is answered for it.
func TestEntryForms(t *testing.T) {
	var out bytes.Buffer
	for _, body := range []string{
		`{"type":"local","command":"npx"}`,
		`{"type":"stdio","command":"npx","args":["-y","srv"]}`,
		`{"type":"local","command":["npx","-y"],"args":["srv"],"environment":{"K":"v"},"timeout":1500,"cwd":"sub","enabled":false}`,
		`{"type":"local","command":"x","env":{"K":"v"},"timeoutMs":18446744073709551615,"unknown":[1]}`,
		`{"type":"local","command":"x","env":null,"enabled":null,"args":null}`,
		`{"type":"remote","url":"https://h/mcp"}`,
		`{"type":"http","url":"https://h/mcp?a=1&b=<2>","headers":{"B":"2","A":"1"},"bearer_token_env_var":"TOKEN","timeout":7}`,
		`{"type":"remote","url":"u","bearerTokenEnvVar":"T","envHttpHeaders":{"X":"V"},"transport":"sse"}`,
		`{"type":"remote","url":"u","env_http_headers":{"X":"V"},"transport":"streamable_http"}`,
		`{"type":"remote","url":"u","envHeaders":{"X":"V"},"oauth":true,"enabled":true,"timeoutMs":0}`,
		`{"type":"remote","url":"u","oauth":false}`,
		`{"type":"remote","url":"u","oauth":{"clientId":"c","clientSecret":"s","scope":"a b"}}`,
		`{"type":"remote","url":"u","oauth":{"clientId":"c","tokenUrl":"t","scopes":["a"]}}`,
		"{\"type\":\"sse\"}",
		"{\n  \"url\": \"u\",\n  \"type\": \"ws\"\n}",
		`{"command":"x"}`,
		`{"type":"local"}`,
		`{"type":"local","command":""}`,
		`{"type":"local","command":[]}`,
		`{"type":"local","command":7}`,
		`{"type":"local","command":"x","args":["a",1]}`,
		`{"type":"local","command":"x","env":{"A":1}}`,
		`{"type":"local","command":"x","env":{},"environment":{}}`,
		`{"type":"local","command":"x","timeout":-1}`,
		`{"type":"local","command":"x","enabled":"yes"}`,
		`{"type":"remote"}`,
		`{"type":"remote","url":"u","transport":"ws"}`,
		`{"type":"remote","url":"u","oauth":"yes"}`,
		`{"type":7}`,
		`[]`,
		`{"type":`,
		``,
	} {
		fmt.Fprintf(&out, "%s\n  %s\n", body, decodeEntry(body, decodeMCP))
	}
	checkGolden(t, "mcp-forms.txt", out.Bytes())

	out.Reset()
	for _, body := range []string{
		`{"sources":[]}`,
		`{"sources":[{"type":"github","source":"o/r"}]}`,
		`{"sources":[{"type":"whatever","source":"s","skills":["a","b"],"ref":"main","subpath":"x/y","more":1}]}`,
		`{"sources":[{"type":"git","source":"s","skills":null,"ref":null}]}`,
		`{}`,
		`{"sources":{}}`,
		`{"sources":["o/r"]}`,
		`{"sources":[{"type":"git"}]}`,
		`{"sources":[{"source":"s"}]}`,
		`{"sources":[{"type":"git","source":"s","skills":"a"}]}`,
	} {
		fmt.Fprintf(&out, "%s\n  %s\n", body, decodeEntry(body, decodeSkills))
	}
	checkGolden(t, "skills-forms.txt", out.Bytes())
}

func decodeEntry[T any](body string, decode func(value, dialect) (T, error)) string {
	doc, err := parse([]byte(body))
	if err == nil {
		var entry T
		if entry, err = decode(doc, strict); err == nil {
			raw, err := encode(entry)
			return fmt.Sprint(string(raw), errText(err))
		}
	}
	return errText(err)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := err.(*api.Error); ok {
		return fmt.Sprintf("%d %s", e.Status, e.Detail)
	}
	return err.Error()
}

// The forms of a whole set that clients send.
func TestWholeSets(t *testing.T) {
	local := `{"type":"local","command":"x","args":[]}`
	for _, tt := range []struct{ body, want string }{
		{`{}`, `{}`},
		{`{"servers":[]}`, `{}`},
		{`{"mcpServers":{}}`, `{}`},
		{`{"mcpServers":{"a":{"command":"x"}}}`, `{"a":` + local + `}`},
		{`{"mcpServers":{"a":{"type":"stdio","command":"x"},"b":{"url":"u"}},"version":1}`, `{"a":` + local + `,"b":{"type":"remote","url":"u"}}`},
		{`{"mcpServers":{"a":{"type":"sse","url":"u"},"b":{"type":"streamable-http","url":"u"}}}`,
			`{"a":{"type":"remote","url":"u","transport":"sse"},"b":{"type":"remote","url":"u","transport":"http"}}`},
		{`{"servers":[{"name":"a","command":"x"}]}`, `{"a":` + local + `}`},
		{`{"mcpServers":[{"name":"a","command":"x"}]}`, `{"a":` + local + `}`},
		{`{"a":{"command":"x"}}`, `{"a":` + local + `}`},
		{`{"servers":{"command":"x"}}`, `{"servers":` + local + `}`},
		{`{"servers":[{"command":"x"}]}`, "422 invalid request: servers[0]: missing field `name` at line 1 column 27"},
		{`{"servers":[{"name":"a","command":"x"},{"name":"a","command":"y"}]}`, "422 invalid request: servers[1]: duplicate name `a` at line 1 column 65"},
		{`{"mcpServers":{"a":{}}}`, "422 invalid request: mcpServers.a: missing field `type` at line 1 column 21"},
		{`{"type":"local","command":"x"}`, "422 invalid request: type: expected an object at line 1 column 15"},
		{`{" ":{"command":"x"}}`, "422 invalid request:  : the name must not be blank at line 1 column 20"},
		{`[]`, "422 invalid request: expected an object at line 1 column 2"},
	} {
		if got := decodeWhole(tt.body, decodeMCPSet); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.body, got, tt.want)
		}
	}
	github := `{"sources":[{"type":"github","source":"o/r"}]}`
	for _, tt := range []struct{ body, want string }{
		{`{}`, `{}`},
		{`{"skills":[]}`, `{}`},
		{`{"sources":[]}`, `{"default":{"sources":[]}}`},
		{github, `{"default":` + github + `}`},
		{`{"skills":{"a":` + github + `}}`, `{"a":` + github + `}`},
		{`{"a":` + github + `}`, `{"a":` + github + `}`},
		{`{"skills":["o/r","./x","https://h/r.git"]}`,
			`{"default":{"sources":[{"type":"github","source":"o/r"},{"type":"local","source":"./x"},{"type":"git","source":"https://h/r.git"}]}}`},
		{`{"skills":[{"name":"a","sources":[{"type":"github","source":"o/r"}]},{"type":"git","source":"u"},{"name":"b","type":"local","source":"/p"}]}`,
			`{"a":` + github + `,"b":{"sources":[{"type":"local","source":"/p"}]},"default":{"sources":[{"type":"git","source":"u"}]}}`},
		{`{"skills":[{"name":"a"}]}`, "422 invalid request: skills[0]: missing field `type` at line 1 column 23"},
	} {
		if got := decodeWhole(tt.body, decodeSkillsSet); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.body, got, tt.want)
		}
	}
}

func decodeWhole[T any](body string, decode func(value) (map[string]T, error)) string {
	doc, err := parse([]byte(body))
	if err == nil {
		var set map[string]T
		if set, err = decode(doc); err == nil {
			raw, err := encode(set)
			return fmt.Sprint(string(raw), errText(err))
		}
	}
	return errText(err)
}

// What is stored reads back as the same, in either dialect and through the wire
// types; and nothing that is not JSON is taken.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"type":"local","command":"x","args":["a"],"env":{"A":"b"},"timeout":1}`,
		`{"type":"http","url":"u","oauth":{"scopes":["a"]},"headers":{"a":"b"}}`,
		`{"mcpServers":{"a":{"command":["x","y"]}}}`, `{"servers":[{"name":"a","url":"u"}]}`,
		`{"sources":[{"type":"github","source":"o/r","skills":["a"]}]}`, `{"skills":["a"]}`, `[`, `{"a":1}`, ` null `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := parse(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("took %q for JSON", data)
		}
		if entry, err := decodeMCP(doc, lenient); err == nil {
			raw, err := encode(entry)
			if err != nil {
				t.Fatal(err)
			}
			var wire api.MCPServer
			if err := json.Unmarshal(raw, &wire); err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			again, err := encode(wire)
			if err != nil || !bytes.Equal(raw, again) {
				t.Fatalf("%s became %s, %v", raw, again, err)
			}
			if got := decodeEntry(string(raw), decodeMCP); got != string(raw) {
				t.Fatalf("%s became %s", raw, got)
			}
		}
		checkSet(t, doc, decodeMCPSet, decodeMCP)
		checkSet(t, doc, decodeSkillsSet, decodeSkills)
	})
}

func checkSet[T any](t *testing.T, doc value, decodeSet func(value) (map[string]T, error), decode func(value, dialect) (T, error)) {
	set, err := decodeSet(doc)
	if err != nil {
		if !strings.Contains(err.Error(), " at line ") {
			t.Fatalf("no place in %v", err)
		}
		return
	}
	raw, err := encode(set)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeMap(stored, decode); err != nil {
		t.Fatalf("%s cannot be read: %v", raw, err)
	}
}
