// Package shellwords reads and writes words for a POSIX shell. It runs none.
package shellwords

import (
	"errors"
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Quote quotes a string so that a POSIX shell reads it as one word, whatever it
// holds but a NUL byte.
func Quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// errShell means that a line is more than words.
var errShell = errors.New("it takes a shell to run it; put it into a script")

// Split returns the words of a simple command as a POSIX shell reads them: quotes
// and backslashes do what they do there. A line that a shell would expand, redirect,
// or run more than one program for is an error, as is a quote that is not closed.
// Patterns and ~ are left as they are.
func Split(line string) ([]string, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(line), "")
	if err != nil {
		if parseErr, ok := errors.AsType[syntax.ParseError](err); ok {
			err = errors.New(parseErr.Text)
		}
		return nil, fmt.Errorf("split %q: %w", line, err)
	}
	if len(file.Stmts) == 0 {
		return nil, nil
	}
	s := file.Stmts[0]
	call, ok := s.Cmd.(*syntax.CallExpr)
	if !ok || len(file.Stmts) > 1 || len(call.Assigns) > 0 || len(s.Redirs) > 0 || s.Negated || s.Background || s.Semicolon.IsValid() {
		return nil, fmt.Errorf("split %q: %w", line, errShell)
	}
	words := make([]string, len(call.Args))
	for i, word := range call.Args {
		if words[i], ok = text(word.Parts, false); !ok {
			return nil, fmt.Errorf("split %q: %w", line, errShell)
		}
	}
	return words, nil
}

// text returns what parts of a word stand for; ok is false if a shell would expand
// one of them.
func text(parts []syntax.WordPart, quoted bool) (s string, ok bool) {
	var b strings.Builder
	for _, part := range parts {
		switch part := part.(type) {
		case *syntax.Lit:
			b.WriteString(unescape(part.Value, quoted))
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			inner, ok := text(part.Parts, true)
			if !ok {
				return "", false
			}
			b.WriteString(inner)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// unescape takes the backslashes away that a shell does. In double quotes they mean
// something before few characters only.
func unescape(s string, quoted bool) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (!quoted || strings.IndexByte("\\\"$`\n", s[i+1]) >= 0) {
			if i++; s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
