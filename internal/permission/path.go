package permission

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/protected"
)

// maxLinks is how many links the kernel follows in one path.
const maxLinks = 40

// A target is a path that a call names, in every way in which it can be meant.
type target struct {
	raw     string
	forms   []string // absolute and clean: through all links, and with the last link itself
	written []string // the same without a look at links; what rejects or asks sees these too
	unclear string   // why it is not known where it leads
}

func (t *target) String() string {
	if len(t.forms) == 0 {
		return t.raw
	}
	return t.forms[0]
}

// newTarget finds out where a path leads. Relative ones begin in dir.
func newTarget(dir, raw string) *target {
	t := &target{raw: raw}
	t.add(dir, raw)
	switch {
	case strings.HasPrefix(raw, "~"):
		if home, err := homeOf(raw); err != nil {
			t.doubt("the home directory of " + raw + " is not known")
		} else {
			t.add(dir, home)
		}
	case len(raw) >= 5 && strings.EqualFold(raw[:5], "file:"):
		if p, err := fileURL(raw); err != nil {
			t.doubt(err.Error())
		} else {
			t.add(dir, p)
		}
	case scheme.MatchString(raw):
		t.doubt("it is a URL of a scheme that is not known")
	}
	for _, p := range spellings(raw) {
		t.add(dir, p)
	}
	if strings.ContainsFunc(raw, unicode.IsControl) {
		t.doubt("it holds a control character")
	}
	if strings.ContainsAny(raw, "$%") && !strings.HasPrefix(strings.ToLower(raw), "file:") && variable.MatchString(raw) {
		t.doubt("it may name a variable")
	}
	if strings.ContainsAny(raw, "*?[{") && slices.Contains(strings.Split(raw, "/"), "..") {
		t.doubt("it is a pattern that leads upwards")
	}
	return t
}

// spellings returns what a tool may make of a path that is written in a way of its
// own: with blanks or quotes around it, with an @ before it, with the separators of
// another system, or encoded as in a URL.
func spellings(raw string) (list []string) {
	p := strings.TrimSpace(raw)
	for _, quote := range []string{`"`, "'", "`"} {
		if len(p) > 1 && strings.HasPrefix(p, quote) && strings.HasSuffix(p, quote) {
			p = p[1 : len(p)-1]
		}
	}
	p = strings.TrimPrefix(p, "@")
	if strings.Contains(p, "%") && !scheme.MatchString(p) {
		if decoded, err := url.PathUnescape(p); err == nil {
			p = decoded
		}
	}
	if p != raw && p != "" {
		list = append(list, p)
	}
	if slashed := strings.ReplaceAll(p, `\`, "/"); slashed != p {
		list = append(list, slashed)
	}
	return list
}

var (
	scheme   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	variable = regexp.MustCompile(`\$\{?[A-Za-z_]|\$\(|%[A-Za-z_]+%`)
)

func (t *target) doubt(why string) {
	if t.unclear == "" {
		t.unclear = why
	}
}

// add adds one way in which a path can be meant.
func (t *target) add(dir, p string) {
	if !path.IsAbs(p) {
		if real, err := resolve(dir, true); err == nil {
			t.written = append(t.written, path.Join(real, p))
		}
		p = dir + "/" + p
	}
	t.written = append(t.written, path.Clean(p))
	for _, follow := range []bool{true, false} {
		form, err := resolve(p, follow)
		if err != nil {
			t.doubt(err.Error())
		} else if !slices.Contains(t.forms, form) {
			t.forms = append(t.forms, form)
		}
	}
}

// homeOf replaces the tilde of a path.
func homeOf(raw string) (string, error) {
	name, rest, _ := strings.Cut(raw[1:], "/")
	if name == "" {
		home, err := os.UserHomeDir()
		return home + "/" + rest, err
	}
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.HomeDir + "/" + rest, nil
}

// fileURL returns the path in a file URL (RFC 8089) of this host.
func fileURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", errors.New("it is not a URL: " + raw)
	case u.Host != "" && !strings.EqualFold(u.Host, "localhost") && u.Host != "127.0.0.1":
		return "", errors.New("it is a file of another host")
	case u.Opaque != "":
		p, err := url.PathUnescape(u.Opaque)
		return p, err
	}
	return u.Path, nil
}

// resolve follows the links of an absolute path as the kernel does: .. leads to
// the parent of where a link has led. What does not exist is added as it is. With
// last false a link at the end is not followed.
func resolve(p string, last bool) (string, error) {
	at, rest, links := "/", strings.Split(p, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !processes(next):
			at = next
			continue
		case errors.Is(err, fs.ErrNotExist):
			return "", errors.New("it leads through the directory of a process")
		case err != nil && !strings.Contains(err.Error(), "not a directory"):
			return "", fmt.Errorf("its links cannot be followed: %w", err)
		case err != nil || info.Mode()&fs.ModeSymlink == 0:
			if at = next; err == nil && processes(at) {
				return "", errors.New("it leads through the directory of a process")
			}
			continue
		case !last && !slices.ContainsFunc(rest, func(s string) bool { return s != "" && s != "." }):
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", errors.New("it leads through too many links")
		}
		if processes(next) {
			return "", errors.New("it leads through a link that is another one for each process")
		}
		to, err := os.Readlink(next)
		if err != nil {
			return "", fmt.Errorf("its links cannot be followed: %w", err)
		}
		if path.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return at, nil
}

// processDir are the directories that proc(5) has for processes.
var processDir = regexp.MustCompile(`/(self|thread-self|[0-9]+)$`)

// processes reports whether a path is one of them, or a link to one, in whatever
// place proc is mounted.
func processes(p string) bool {
	return processDir.MatchString(p) && (strings.HasPrefix(p, "/proc/") || onProc(p))
}

// A glob is the path of a rule.
type glob struct {
	pattern string // absolute
	links   string // the same with links in its plain beginning followed
}

func newGlob(pattern, dir string) *glob {
	real, err := resolve(dir, true)
	if err != nil {
		real = path.Clean(dir)
	}
	pattern = filepath.ToSlash(pattern)
	for _, d := range []string{path.Clean(dir), real} {
		if below, ok := strings.CutPrefix(pattern, strings.TrimSuffix(escape(d), "/")+"/"); ok {
			pattern = below
			break
		}
	}
	if !path.IsAbs(pattern) {
		pattern = strings.TrimSuffix(escape(real), "/") + "/" + pattern
	}
	g := &glob{pattern: path.Clean(pattern)}
	base, rest := doublestar.SplitPattern(g.pattern)
	if !strings.ContainsAny(rest, `*?[{\`) {
		base, rest = path.Join(base, rest), ""
	}
	if to, err := resolve(strings.ReplaceAll(base, `\`, ""), true); err == nil {
		g.links = path.Join(escape(to), rest)
	}
	return g
}

// escape writes a path as a pattern that matches it alone.
func escape(p string) string {
	return special.ReplaceAllString(p, `\$0`)
}

var special = regexp.MustCompile(`[*?\[\]{}\\!,]`)

// covers reports whether every path of an act is in the pattern, in every way in
// which it can be meant.
func (g *glob) covers(a *act) bool {
	targets := a.mentions
	if a.path != nil {
		targets = append(slices.Clip(targets), a.path)
	}
	if len(targets) == 0 || a.anywhere {
		return false
	}
	for _, t := range targets {
		if t.unclear != "" || slices.ContainsFunc(t.forms, func(p string) bool { return !matchPath(g.pattern, p) }) {
			return false
		}
	}
	return true
}

// touched reports whether an act touches a path in the pattern.
func (g *glob) touched(a *act) match {
	found := no
	if a.anywhere || a.command && a.words == nil || a.unclear != "" && a.path == nil {
		found = maybe
	}
	targets := a.mentions
	if a.path != nil {
		targets = append(slices.Clip(targets), a.path)
	}
	for _, t := range targets {
		if t.unclear != "" {
			found = max(found, maybe)
		}
		if slices.ContainsFunc(append(slices.Clip(t.forms), t.written...), func(p string) bool { return g.reaches(p, a.kind) }) {
			return yes
		}
	}
	return found
}

// reaches reports whether something done to a path is done to one in the pattern:
// a directory goes with all that is in it.
func (g *glob) reaches(p, kind string) bool {
	for _, pattern := range []string{g.pattern, g.links} {
		if pattern == "" {
			continue
		}
		if matchPath(pattern, p) || foldsCase(p) && matchPath(strings.ToLower(pattern), strings.ToLower(p)) {
			return true
		}
		base, _ := doublestar.SplitPattern(pattern)
		base = strings.ReplaceAll(base, `\`, "")
		if (kind == acp.ToolDelete || kind == acp.ToolMove) && (base == p || strings.HasPrefix(base, strings.TrimSuffix(p, "/")+"/")) {
			return true
		}
	}
	return false
}

// protected returns why a path is protected; empty when it is not.
func (t *target) protected() string {
	for _, form := range slices.Concat(t.written, t.forms) {
		if why := protected.Why(form); why != "" {
			return why
		}
	}
	return ""
}

func matchPath(pattern, p string) bool {
	ok, err := doublestar.Match(pattern, p)
	return err == nil && ok
}

// foldsCase reports whether the file system finds what exists of a path in
// another case too.
func foldsCase(p string) bool {
	for ; p != "/" && p != "."; p = path.Dir(p) {
		info, err := os.Lstat(p)
		if err != nil {
			continue
		}
		name := path.Base(p)
		other := strings.Map(func(r rune) rune {
			if unicode.IsUpper(r) {
				return unicode.ToLower(r)
			}
			return unicode.ToUpper(r)
		}, name)
		if other == name {
			continue
		}
		swapped, err := os.Lstat(path.Join(path.Dir(p), other))
		return err == nil && os.SameFile(info, swapped)
	}
	return false
}

// fileName is the form of a name with an extension, or of a hidden file.
var fileName = regexp.MustCompile(`^[\w@+-]*\.([\w@+-]+\.)*[A-Za-z_][\w@+-]*$`)

// pathLike reports whether a value without a name can be meant for a path: by its
// form, or since there is a file of that name.
func pathLike(value, dir string) bool {
	if value == "" || len(value) > 4096 || strings.Contains(value, "\n") {
		return false
	}
	for _, prefix := range []string{"/", "~", "./", "../"} {
		if strings.HasPrefix(value, prefix) {
			return true
		}
	}
	switch {
	case value == "." || value == "..":
		return true
	case len(value) >= 5 && strings.EqualFold(value[:5], "file:"):
		return true
	case scheme.MatchString(value):
		return false
	case strings.Contains(value, "/") && !strings.ContainsAny(value, " \t"):
		return true
	}
	if fileName.MatchString(value) {
		return true
	}
	_, err := os.Lstat(path.Join(dir, value))
	return err == nil
}
