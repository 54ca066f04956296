package model

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/sandboxagent/sandboxagent/internal/credentials"
)

// The vendors, as package credentials names them.
const (
	anthropic = "anthropic"
	openai    = "openai"
	google    = "google"
)

// knowledge is what there is to know about a vendor: where it is, and the variables
// by which agents find that and the key.
type knowledge struct {
	name, title  string
	base         string
	baseVariable string
	baseEnd      string // the version, where the base in the variable has it
	keyVariable  string
	moreKeys     []string // other variables in which users have the key
	phantoms     []string // other variables in which agents look for it
	models       []string // variables that name models; a sandbox gets them as they are
}

var known = []knowledge{
	{anthropic, "Anthropic", "https://api.anthropic.com", "ANTHROPIC_BASE_URL", "", "ANTHROPIC_API_KEY", nil, nil, []string{
		"ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"}},
	{openai, "OpenAI", "https://api.openai.com/v1", "OPENAI_BASE_URL", "/v1", "OPENAI_API_KEY", nil, []string{"CODEX_API_KEY"}, []string{"OPENAI_MODEL"}},
	{google, "Gemini", "https://generativelanguage.googleapis.com", "GOOGLE_GEMINI_BASE_URL", "", "GEMINI_API_KEY", []string{"GOOGLE_API_KEY"}, []string{"GOOGLE_GENERATIVE_AI_API_KEY"}, []string{"GEMINI_MODEL"}},
}

// Access is what the forwarder has of the vendors. It does not change.
type Access struct {
	vendors map[string]vendor
	models  map[string]string
	proxy   func(*url.URL) (*url.URL, error)
}

// A vendor is one that may be reached.
type vendor struct {
	base   *url.URL
	set    bool // the user has set the base
	key    credentials.Secret
	login  bool // the key is that of a login
	source string
}

// ready reports whether requests can be forwarded. A server that the user has named
// may need no key.
func (v vendor) ready() bool { return v.base != nil && (v.set || v.hasKey()) }

func (v vendor) hasKey() bool { return v.key.Reveal() != "" }

// oauthBeta is what the API of Anthropic has to be told to accept a login.
const oauthBeta = "oauth-2025-04-20"

// authorize puts the real key into the headers of a request.
func (v vendor) authorize(name string, header http.Header) {
	key := v.key.Reveal()
	switch {
	case key == "":
	case name == google:
		header.Set("X-Goog-Api-Key", key)
	case name == anthropic && !v.login:
		header.Set("X-Api-Key", key)
	default:
		header.Set("Authorization", "Bearer "+key)
		if name == anthropic && !v.set {
			header.Set("Anthropic-Beta", strings.Join(append(header.Values("Anthropic-Beta"), oauthBeta), ","))
		}
	}
}

// Discover finds the access of the user with an environment and a home directory. A
// base URL that cannot be one is an error.
func Discover(env []string, home string) (*Access, error) {
	vars := make(map[string]string)
	for _, kv := range env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			vars[key] = strings.TrimSpace(value)
		}
	}
	all := credentials.Discover(credentials.Sources{Env: env, Home: home})
	keys := credentials.Discover(credentials.Sources{Env: env, Home: home, NoOAuth: true})
	a := &Access{vendors: make(map[string]vendor), models: make(map[string]string), proxy: proxyOf(vars)}
	for _, k := range known {
		base, set, err := baseOf(vars[k.baseVariable], k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.baseVariable, err)
		}
		v := vendor{base: base, set: set}
		for _, variable := range slices.Backward(append([]string{k.keyVariable}, k.moreKeys...)) {
			if vars[variable] != "" {
				v.key, v.source = credentials.NewSecret(vars[variable]), "environment"
			}
		}
		cred, ok := all.Provider(k.name)
		if ok && cred.AuthType == credentials.AuthOAuth && !usable(cred, k.name, set) {
			cred, ok = keys.Provider(k.name)
		}
		if ok && !v.hasKey() {
			v.key, v.source, v.login = cred.Key, cred.Source, cred.AuthType == credentials.AuthOAuth
		}
		a.vendors[k.name] = v
		for _, variable := range k.models {
			if vars[variable] != "" {
				a.models[variable] = vars[variable]
			}
		}
	}
	return a, nil
}

// usable reports whether a login can be used: one of OpenAI is no key of its API, and
// one from a file is meant for the vendor, not for a server that the user has set.
func usable(cred credentials.Credential, name string, set bool) bool {
	return name == anthropic && (!set || cred.Source == "environment")
}

// baseOf returns the upstream for the value of a variable.
func baseOf(value string, k knowledge) (base *url.URL, set bool, err error) {
	set = value != ""
	if !set {
		value = k.base
	}
	base, err = url.Parse(value)
	switch {
	case err != nil:
		return nil, false, errors.New("it is not a URL") // the error of the parser repeats it, secrets included
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, false, fmt.Errorf("%q is not the http or https URL of a server; it has a host, and no user, query, or fragment", base.Redacted())
	}
	base.Path = strings.TrimRight(base.Path, "/")
	if k.baseEnd == "" { // some programs want the version in it
		base.Path = strings.TrimSuffix(base.Path, "/v1")
	}
	base.Path += "/" // else what is joined to it is no absolute path
	return base, set, nil
}

// proxyOf returns what the user has set of HTTP proxies.
func proxyOf(vars map[string]string) func(*url.URL) (*url.URL, error) {
	either := func(name string) string {
		if value := vars[strings.ToLower(name)]; value != "" {
			return value
		}
		return vars[name]
	}
	return (&httpproxy.Config{HTTPProxy: either("HTTP_PROXY"), HTTPSProxy: either("HTTPS_PROXY"), NoProxy: either("NO_PROXY")}).ProxyFunc()
}

// Reachable returns the vendors that can be reached, with where the key is from, such
// as "anthropic (environment)". It is empty if there are none.
func (a *Access) Reachable() []string {
	var names []string
	for _, k := range known {
		switch v := a.vendors[k.name]; {
		case v.hasKey():
			names = append(names, k.name+" ("+v.source+")")
		case v.ready():
			names = append(names, k.name+" ("+k.baseVariable+", no key)")
		}
	}
	return names
}

// Environ returns the variables by which what runs in a sandbox finds the forwarder,
// which is at base, and the phantom key. Vendors that cannot be reached have no key,
// so that agents choose others; if there are none, all have one, and the forwarder
// says what to do.
func (a *Access) Environ(base, phantom string) map[string]string {
	env := make(map[string]string)
	none := len(a.Reachable()) == 0
	for _, k := range known {
		env[k.baseVariable] = base + k.baseEnd
		if none || a.vendors[k.name].ready() {
			for _, variable := range append([]string{k.keyVariable}, k.phantoms...) {
				env[variable] = phantom
			}
		}
	}
	for name, value := range a.models {
		env[name] = value
	}
	return env
}

// missing says what to do about a vendor without a key.
func (a *Access) missing(name, sandbox string) string {
	k := known[slices.IndexFunc(known, func(k knowledge) bool { return k.name == name })]
	return fmt.Sprintf("this sandbox has no credentials for %s. On its host, set %s and run: sandbox-agent sandbox keys %s", k.title, k.keyVariable, sandbox)
}
