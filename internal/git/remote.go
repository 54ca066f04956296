package git

import (
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// Remote is the address of a repository.
type Remote struct {
	Name string // for people, without a password
	Base string // the last element of its path, without ".git"

	address string   // as given to git, without a password
	secret  string   // the same with its password; empty when it has none
	words   []string // to be kept out of texts
}

// Redact takes the password out of what git says.
func (r Remote) Redact(text string) string {
	for _, word := range r.words {
		text = strings.ReplaceAll(text, word, "xxxxx")
	}
	return text
}

var scpLike = regexp.MustCompile(`^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^:]+$`)

// ParseRemote accepts URLs of the usual schemes, user@host:path and absolute
// paths. Other forms would let git run a program of the address's choice.
func ParseRemote(address string) (Remote, error) {
	base := strings.TrimSuffix(path.Base(strings.TrimRight(address, "/")), ".git")
	if i := strings.LastIndexByte(base, ':'); i >= 0 {
		base = base[i+1:]
	}
	plain := Remote{address: address, Name: address, Base: base}
	bad := api.InvalidRequest("", "a git source is an https, http, ssh, git or file URL, user@host:path, or an absolute path")
	switch {
	case base == "" || base == "." || base == ".." || strings.ContainsAny(address, "\x00\n\r"):
		return Remote{}, bad
	case filepath.IsAbs(address) || scpLike.MatchString(address):
		return plain, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return Remote{}, bad
	}
	switch u.Scheme {
	case "https", "http", "ssh", "git":
		if u.Host == "" {
			return Remote{}, bad
		}
	case "file":
		return plain, nil
	default:
		return Remote{}, bad
	}
	if u.User == nil || u.Scheme == "ssh" {
		return plain, nil
	}
	clean := *u
	clean.User = nil
	r := Remote{address: clean.String(), secret: address, Name: clean.String(), Base: base, words: []string{u.User.String()}}
	if word, ok := u.User.Password(); ok && word != "" {
		r.words = append(r.words, word)
	}
	return r, nil
}

// ValidRef reports whether a ref is the name of a branch, a tag, or a commit. It
// refuses what git reads as an option or as a mapping of refs.
func ValidRef(ref string) bool {
	if strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "+") || strings.Contains(ref, "..") {
		return false
	}
	return !strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`:^~?*[\`, r) })
}

var fullCommit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// IsCommit reports whether a ref always means the same files.
func IsCommit(ref string) bool { return fullCommit.MatchString(ref) }
