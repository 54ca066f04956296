package httpkit

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// authorize checks the bearer token of requests to /v1. WebSocket routes also
// take it from the access_token query parameter, since browsers cannot set
// headers there. The connection of a client that it refuses ends with the response.
func (rt *Router) authorize(w http.ResponseWriter, r *http.Request, pattern string) error {
	if rt.cfg.Token == "" {
		trust(r)
		return nil
	}
	if !strings.HasPrefix(pattern, "/v1/") && pattern != "/metrics" {
		return nil
	}
	given, ok := bearer(r.Header.Get("Authorization"))
	if !ok && strings.HasSuffix(pattern, "/ws") {
		given = r.URL.Query().Get("access_token")
	}
	if !equal(given, rt.cfg.Token) {
		w.Header().Set("Connection", "close")
		e := api.NewError(api.KindTokenInvalid, "", "token invalid")
		return e.With("message", "missing or invalid bearer token")
	}
	trust(r)
	return nil
}

// bearer returns the token of an Authorization header of that scheme, whose name is
// case-insensitive (RFC 9110, section 11.1).
func bearer(header string) (token string, ok bool) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return token, true
}

// equal compares in a time that depends on neither content nor length.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// checkBrowser refuses requests that a hostile web page can make a browser
// send: from a foreign origin, as the source of a script or an image, which have
// no origin, and, on a server without a token, to a name that is not this
// machine's (DNS rebinding).
//
// See https://www.w3.org/TR/fetch-metadata/ for Sec-Fetch-Site. A page on another
// port of this machine counts as the same site, and as little trusted as any.
func (rt *Router) checkBrowser(r *http.Request) error {
	if rt.cfg.Token == "" && !rt.hostAllowed(r.Host) {
		return api.NewError(api.KindPermissionDenied, api.CodeHostForbidden,
			"host %q is not served without a token; allow it with --allow-host or start the server with a token", r.Host)
	}
	origin := r.Header.Get("Origin")
	if origin != "" && !rt.originAllowed(origin, r.Host) {
		return api.NewError(api.KindPermissionDenied, api.CodeOriginForbidden,
			"origin %q is not allowed; allow it with --cors-allow-origin", origin)
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if origin == "" && (site == "cross-site" || site == "same-site") && !visits(r) {
		return api.NewError(api.KindPermissionDenied, api.CodeOriginForbidden,
			"a page of another origin cannot load %s; open it in a tab of its own", r.URL.Path)
	}
	return nil
}

// visits reports whether a user follows a link to one of the pages of this server.
// What the API returns is for programs.
func visits(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" &&
		!strings.HasPrefix(r.URL.Path, "/v1/")
}

func (rt *Router) hostAllowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(strings.TrimSuffix(strings.ToLower(host), "."), "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() {
		return true
	}
	return slices.Contains(rt.cfg.AllowedHosts, host) || slices.Contains(rt.cfg.AllowedHosts, "*")
}

// originAllowed reports whether pages of origin may talk to this server: its
// own pages, and those that CORS was set up for.
func (rt *Router) originAllowed(origin, host string) bool {
	if rt.cfg.CORS.allows(origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
