package permission

import (
	"io/fs"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"github.com/sandboxagent/sandboxagent/acp"
)

// What is expanded of one word at most, before it counts as not known.
const (
	maxFields  = 200
	maxListed  = 100    // directories
	maxEntries = 20_000 // names in them
)

// sayers are programs whose arguments are text.
var sayers = words("echo printf : true false exit return break continue shift")

// mention adds the paths that the words of a command name.
func (s *script) mention(a *act) {
	for _, w := range a.words {
		values, why := s.values(w)
		if why != "" && !sayers[a.words[0].text] {
			s.names(a, &target{raw: w.text, unclear: why})
		}
		for _, value := range values {
			for _, p := range s.pathsIn(value) {
				if s.moves && !path.IsAbs(p) && strings.Contains(p, "/") {
					s.strange(a.text, "it changes its directory, so that "+p+" is not known")
				}
				s.names(a, newTarget(s.dir, p))
			}
		}
	}
}

// names adds that a command names a path, to whatever end.
func (s *script) names(a *act, t *target) {
	if len(a.mentions) > maxPaths {
		s.full = true
		return
	}
	a.mentions = append(a.mentions, t)
	for _, kind := range []string{acp.ToolRead, acp.ToolEdit, acp.ToolDelete, acp.ToolMove} {
		s.acts = append(s.acts, act{kind: kind, path: t, named: true, may: true, text: a.text + " names " + t.raw})
	}
}

// joined are the signs by which programs put a path together with other text in
// one word: NAME=PATH, HOST:PATH, @FILE, and lists.
var joined = regexp.MustCompile(`[=:,@]`)

// pathsIn returns what may be a path in one argument.
func (s *script) pathsIn(value string) (paths []string) {
	add := func(p string, like bool) {
		if like && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	add(value, pathLike(value, s.dir))
	if len(value) > 2 && value[0] == '-' && value[1] != '-' {
		add(value[2:], s.certainPath(value[2:])) // an option with its argument
	}
	if scheme.MatchString(value) {
		return paths
	}
	if name, after, ok := strings.Cut(value, "="); ok && !strings.Contains(name, "/") {
		add(after, pathLike(after, s.dir))
	}
	for _, part := range joined.Split(value, maxFields) {
		add(part, s.certainPath(part))
	}
	return paths
}

// certainPath reports whether a part of an argument is meant for a path, as it
// has the separator in it or is there.
func (s *script) certainPath(part string) bool {
	return pathLike(part, s.dir) && (strings.Contains(part, "/") || part[0] == '~' || exists(s.at(part)))
}

func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}

// values returns what an argument may be once the shell has expanded it, in the
// file system as it is now; why says that it may be something else.
func (s *script) values(w word) (values []string, why string) {
	switch {
	case w.known:
		return []string{w.text}, ""
	case w.node == nil:
		return nil, ""
	}
	home, err := os.UserHomeDir()
	known := map[string]bool{"HOME": err == nil, "PWD": !s.moves}
	if !plainParts(w.node.Parts, known) || fieldsOf(w.node) > maxFields {
		return nil, "what the shell expands in it is not known"
	}
	listed, entries := 0, 0
	over := func() bool { return s.moves || listed > maxListed || entries > maxEntries }
	fields, err := expand.Fields(&expand.Config{
		Env: expand.ListEnviron("HOME="+home, "PWD="+s.dir),
		ReadDir2: func(name string) (list []fs.DirEntry, err error) {
			if listed++; over() {
				return nil, fs.ErrNotExist
			}
			list, err = os.ReadDir(name)
			entries += len(list)
			return list, err
		},
	}, w.node)
	if err != nil || listed > 0 && over() || len(fields) > maxFields {
		why = "it expands to more than is judged"
	}
	return fields[:min(len(fields), maxFields)], why
}

// plainParts reports whether parts of a word are text, and variables in known.
func plainParts(parts []syntax.WordPart, known map[string]bool) bool {
	return !slices.ContainsFunc(parts, func(part syntax.WordPart) bool {
		switch part := part.(type) {
		case *syntax.Lit, *syntax.SglQuoted:
			return false
		case *syntax.DblQuoted:
			return !plainParts(part.Parts, known)
		case *syntax.ParamExp:
			bare := syntax.ParamExp{Dollar: part.Dollar, Short: part.Short, Rbrace: part.Rbrace, Param: part.Param}
			return part.Param == nil || !reflect.DeepEqual(*part, bare) || !known[part.Param.Value]
		}
		return true
	})
}

// fieldsOf returns how many words the braces of a word make of it, or more than
// maxFields.
func fieldsOf(w *syntax.Word) int {
	split := *w
	split.Parts = slices.Clone(w.Parts)
	syntax.SplitBraces(&split)
	n := 1
	for _, part := range split.Parts {
		brace, ok := part.(*syntax.BraceExp)
		switch {
		case !ok:
			continue
		case brace.Sequence:
			return maxFields + 1
		}
		sum := 0
		for _, e := range brace.Elems {
			sum += fieldsOf(e)
		}
		if n *= sum; n > maxFields {
			return n
		}
	}
	return n
}
