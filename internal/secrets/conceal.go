// Package secrets knows which parts of a frame are secret, and keeps the secrets of
// sessions apart from everything that is shown, exported, or logged.
//
// In a frame of a client, or of ours, the values of environment variables and of headers,
// tokens, keys, and passwords are secret. What is kept of the frame has references in
// their place, such as "{{secret GITHUB_TOKEN}}"; the agent gets the values. A reference
// says what was there, and nothing resolves it: what a session needs again is in a
// [Store].
package secrets

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// Reference is what stands for the value of a name.
func Reference(name string) string { return "{{secret " + name + "}}" }

// Conceal returns a JSON text with references in place of what is secret in it. All other
// bytes stay as they are, and a text without secrets is returned itself, as is one that
// is no JSON.
func Conceal(text []byte) []byte {
	w := walker{d: json.NewDecoder(bytes.NewReader(text)), text: text}
	w.d.UseNumber()
	w.value(place{})
	if len(w.changes) == 0 {
		return text
	}
	var out bytes.Buffer
	from := 0
	for _, c := range w.changes {
		out.Write(text[from:c.start])
		out.Write(c.text)
		from = c.end
	}
	out.Write(text[from:])
	return out.Bytes()
}

type change struct {
	start, end int
	text       []byte
}

// place is where a value stands.
type place struct {
	name    string // that a reference to it has
	secret  bool   // every text below is
	pairs   bool   // the array of names and values that is a list of variables or headers
	command bool   // the arguments of a program
	before  string // the argument before
}

type walker struct {
	d       *json.Decoder
	text    []byte
	changes []change
	failed  bool
}

func (w *walker) token() json.Token {
	t, err := w.d.Token()
	if err != nil {
		w.failed, w.changes = true, nil
		return nil
	}
	return t
}

// start returns where the value begins that comes next.
func (w *walker) start() int {
	at := int(w.d.InputOffset())
	for at < len(w.text) && strings.IndexByte(" \t\r\n,:", w.text[at]) >= 0 {
		at++
	}
	return at
}

// value reads the next value, and returns it if it is a text.
func (w *walker) value(p place) string {
	start := w.start()
	switch t := w.token().(type) {
	case json.Delim:
		if t == '{' {
			w.object(p)
		} else {
			w.array(p)
		}
	case string:
		if shown := p.conceal(t); shown != t {
			w.changes = append(w.changes, change{start, int(w.d.InputOffset()), encode(shown)})
		}
		return t
	}
	return ""
}

func (w *walker) object(p place) {
	name := ""
	var values []func(string) // of members that come before the name of their object
	for !w.failed && w.d.More() {
		key, _ := w.token().(string)
		child := place{name: key}
		plain := canonical(key)
		switch {
		case p.pairs && (plain == "name" || plain == "key"):
			name = w.value(place{})
			for _, rename := range values {
				rename(name)
			}
			continue
		case p.pairs:
			child.secret, child.name = true, name
			if name == "" {
				child.name = key
				values = append(values, w.renamed(len(w.changes), key))
			}
		case p.secret:
			child.secret = true
		case slices.Contains(containers, plain):
			child.secret, child.pairs = true, true
		case isSecret(key):
			child.secret = true
		case plain == "args" || plain == "command" || plain == "argv":
			child.command = true
		}
		w.value(child)
	}
	w.token()
}

// renamed returns a function that gives the next change a better name.
func (w *walker) renamed(index int, key string) func(string) {
	return func(name string) {
		if index < len(w.changes) && name != "" {
			w.changes[index].text = bytes.Replace(w.changes[index].text, encode(Reference(key)), encode(Reference(name)), 1)
		}
	}
}

// encode returns a text as JSON, with the characters of HTML as they are.
func encode(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a text always has an encoding
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (w *walker) array(p place) {
	before := ""
	for !w.failed && w.d.More() {
		child := p
		if p.pairs {
			child.secret = true // a text that is no pair
		}
		child.before = before
		if p.pairs && w.peek() == '{' {
			child.secret = false
		}
		before = w.value(child)
	}
	w.token()
}

func (w *walker) peek() byte {
	if at := w.start(); at < len(w.text) {
		return w.text[at]
	}
	return 0
}

// containers are the members that hold variables or headers, as a map or as a list of
// names and values.
var containers = []string{"env", "environment", "envvars", "environmentvariables", "headers", "httpheaders", "requestheaders", "extraheaders", "customheaders", "cookies"}

// secretEnds end the names of what is secret, and notSecret those that only look so.
var (
	secretEnds = []string{"token", "tokens", "apikey", "apikeys", "secret", "secrets", "password", "passwd", "passphrase", "authorization", "credential", "credentials", "privatekey", "accesskey", "secretkey", "authkey", "bearer", "cookie", "pat"}
	notSecret  = []string{"progresstoken", "pagetoken", "nexttoken", "cursortoken", "continuationtoken", "compat", "path"}
)

func isSecret(name string) bool {
	plain := canonical(name)
	ends := func(end string) bool { return strings.HasSuffix(plain, end) }
	return slices.ContainsFunc(secretEnds, ends) && !slices.ContainsFunc(notSecret, ends)
}

// canonical is a name without what people spell differently.
func canonical(name string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(name))
}

// conceal returns what is shown of a text.
func (p place) conceal(text string) string {
	switch {
	case text == "":
		return text
	case p.secret:
		return Reference(p.name)
	case p.command:
		return p.argument(text)
	}
	return concealURLs(text)
}

var (
	flagText   = regexp.MustCompile(`^--?([A-Za-z][\w.-]*)$`)
	flagValue  = regexp.MustCompile(`^(--?([A-Za-z][\w.-]*)=)(.+)$`)
	assignment = regexp.MustCompile(`^(([A-Za-z_]\w*)=)(.+)$`)
	headerText = regexp.MustCompile(`^(([A-Za-z][A-Za-z0-9-]*):[ \t]*)(.+)$`)
)

// argument returns what is shown of an argument of a program.
func (p place) argument(text string) string {
	before := ""
	if m := flagText.FindStringSubmatch(p.before); m != nil {
		before = canonical(m[1])
	}
	if m := flagValue.FindStringSubmatch(text); m != nil {
		switch name := canonical(m[2]); {
		case name == "env" || name == "header":
			return m[1] + place{command: true, before: "--" + m[2]}.argument(m[3])
		case isSecret(m[2]):
			return m[1] + Reference(m[2])
		}
		return concealURLs(text)
	}
	variable, header := before == "e" || before == "env", before == "header"
	if m := assignment.FindStringSubmatch(text); m != nil && (variable || isSecret(m[2])) {
		return m[1] + Reference(m[2])
	}
	if m := headerText.FindStringSubmatch(text); m != nil && !strings.HasPrefix(m[3], "//") && (header || before == "h" || isSecret(m[2])) {
		return m[1] + Reference(m[2])
	}
	if before != "" && !strings.HasPrefix(text, "-") && isSecret(before) {
		return Reference(strings.TrimLeft(p.before, "-"))
	}
	return concealURLs(text)
}

var (
	urlUser  = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^/?#\s"'<>@]+)@`)
	urlQuery = regexp.MustCompile(`([?&#;]([A-Za-z0-9_.~-]+)=)([^&#;\s"'<>]+)`)
)

// concealURLs hides users, passwords, and secret parameters of URLs in a text.
func concealURLs(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	text = urlUser.ReplaceAllString(text, "${1}"+Reference("user")+"@")
	return urlQuery.ReplaceAllStringFunc(text, func(found string) string {
		m := urlQuery.FindStringSubmatch(found)
		if !isSecret(m[2]) && !slices.Contains([]string{"key", "sig", "signature", "auth", "code"}, canonical(m[2])) {
			return found
		}
		if strings.HasPrefix(m[3], "{{secret") {
			return found // a reference has a space
		}
		return m[1] + Reference(m[2])
	})
}
