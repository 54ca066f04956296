package secrets_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/secrets"
)

// Every N in a frame is a secret, which is not in what is shown; everything else is.
func TestConcealHidesValuesAlone(t *testing.T) {
	const needle = "n33dle/+\"ü"
	for name, test := range map[string]struct{ frame, want string }{
		"variables of a server, as a list": {
			`{"params":{"cwd":"/w","mcpServers":[{"name":"a","command":"x","args":["y"],"env":[{"name":"TOKEN","value":N},{"value":N,"name":"B"}]}]}}`,
			`{"params":{"cwd":"/w","mcpServers":[{"name":"a","command":"x","args":["y"],"env":[{"name":"TOKEN","value":"{{secret TOKEN}}"},{"value":"{{secret B}}","name":"B"}]}]}}`},
		"headers of a server": {
			`{"headers":[{"name":"Authorization","value":N}],"type":"http"}`,
			`{"headers":[{"name":"Authorization","value":"{{secret Authorization}}"}],"type":"http"}`},
		"variables as a map": {
			`{"env":{"A":N,"b":"","C":{"deep":N}},"environment":{"X":N}}`,
			`{"env":{"A":"{{secret A}}","b":"","C":{"deep":"{{secret deep}}"}},"environment":{"X":"{{secret X}}"}}`},
		"headers as a map, in other spellings": {
			`{"http_headers":{"X-Key":N},"requestHeaders":{"Y":[N,N]}}`,
			`{"http_headers":{"X-Key":"{{secret X-Key}}"},"requestHeaders":{"Y":["{{secret Y}}","{{secret Y}}"]}}`},
		"tokens by name": {
			`{"apiKey":N,"API_KEY":N,"access_token":N,"x":{"clientSecret":N},"maxTokens":5,"progressToken":"p"}`,
			`{"apiKey":"{{secret apiKey}}","API_KEY":"{{secret API_KEY}}","access_token":"{{secret access_token}}","x":{"clientSecret":"{{secret clientSecret}}"},"maxTokens":5,"progressToken":"p"}`},
		"credentials with members": {
			`{"credentials":{"user":N,"list":[N]}}`,
			`{"credentials":{"user":"{{secret user}}","list":["{{secret list}}"]}}`},
		"names of variables are shown": {
			`{"envHeaders":{"Y":"ANTHROPIC_API_KEY"},"bearerTokenEnvVar":"GITHUB_TOKEN","method":"session/new"}`,
			`{"envHeaders":{"Y":"ANTHROPIC_API_KEY"},"bearerTokenEnvVar":"GITHUB_TOKEN","method":"session/new"}`},
		"arguments": {
			`{"args":["run","-e","KEY=n33dle","--env","K=n33dle","--api-key","n33dle","--token=n33dle","--header","X-Any: n33dle","-p","80","Authorization: Bearer n33dle","A=b","https://h/x"]}`,
			`{"args":["run","-e","KEY={{secret KEY}}","--env","K={{secret K}}","--api-key","{{secret api-key}}","--token={{secret token}}","--header","X-Any: {{secret X-Any}}","-p","80","Authorization: {{secret Authorization}}","A=b","https://h/x"]}`},
		"URLs": {
			`{"url":"https://u:n33dle@h:1/p?a=b&token=n33dle&api_key=n33dle#x","other":"see http://h/@x?page=2"}`,
			`{"url":"https://{{secret user}}@h:1/p?a=b&token={{secret token}}&api_key={{secret api_key}}#x","other":"see http://h/@x?page=2"}`},
		"white space and numbers stay": {
			"{ \"n\" : 1.0e2 ,\r\n\t\"token\" :  N , \"z\":[ 1, 2 ]}",
			"{ \"n\" : 1.0e2 ,\r\n\t\"token\" :  \"{{secret token}}\" , \"z\":[ 1, 2 ]}"},
		"nothing secret":  {`{"method":"session/prompt","params":{"prompt":[{"type":"text","text":"the token is env"}]}}`, `{"method":"session/prompt","params":{"prompt":[{"type":"text","text":"the token is env"}]}}`},
		"no JSON":         {`{"env":{"A":"x"`, `{"env":{"A":"x"`},
		"no object":       {`"token"`, `"token"`},
		"a secret object": {`[{"env":[{"key":"A","value":N}]}]`, `[{"env":[{"key":"A","value":"{{secret A}}"}]}]`},
	} {
		t.Run(name, func(t *testing.T) {
			quoted, err := json.Marshal(needle)
			if err != nil {
				t.Fatal(err)
			}
			frame := []byte(strings.ReplaceAll(test.frame, "N,", string(quoted)+","))
			for _, end := range []string{"}", "]", " "} {
				frame = bytes.ReplaceAll(frame, []byte("N"+end), append(quoted[:len(quoted):len(quoted)], end...))
			}
			if got := string(secrets.Conceal(frame)); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func FuzzConceal(f *testing.F) {
	f.Add([]byte(`{"env":{"A":"b"},"args":["-e","K=v"],"headers":[{"value":"x","name":"y"}]}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		got := secrets.Conceal(frame)
		if json.Valid(frame) && !json.Valid(got) {
			t.Errorf("%s became %s", frame, got)
		}
	})
}
