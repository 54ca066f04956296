package permission

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A word is one argument of a simple command.
type word struct {
	text  string // after quotes are removed; the source where it is not known
	known bool   // the shell expands nothing in it
	many  bool   // it may become any number of words
	tilde bool   // begins with a tilde that the shell expands; then it is not known

	node *syntax.Word // where it is not known; nil for a word that stands for others
}

func literal(text string) word { return word{text: text, known: true} }

// evaluate returns what is known of words before a shell expands them.
func evaluate(args []*syntax.Word) []word {
	words := make([]word, len(args))
	for i, arg := range args {
		words[i] = evaluateWord(arg)
	}
	return words
}

func evaluateWord(arg *syntax.Word) word {
	w := word{known: true}
	var b strings.Builder
	for i, part := range arg.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			text, known := unescape(part.Value)
			w.tilde = w.tilde || i == 0 && strings.HasPrefix(part.Value, "~")
			if !known {
				w.known, w.many = false, true
			}
			b.WriteString(text)
		case *syntax.SglQuoted:
			w.known = w.known && !part.Dollar // dash does not know $'...'
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			text, known := quoted(part)
			w.known = w.known && known
			w.many = w.many || !known && splits(part)
			b.WriteString(text)
		default:
			w.known, w.many = false, true
		}
	}
	if w.text = b.String(); !w.known {
		w.text, w.node = source(arg), arg
	}
	if w.text == "{}" || w.text == "[" || w.text == "]" {
		w.known, w.many = true, false
	}
	return w
}

// unescape removes the backslashes of unquoted text; known is false when the
// shell expands something in it.
func unescape(s string) (text string, known bool) {
	var b strings.Builder
	known = true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i++; i == len(s) {
				return s, false // the end of the line, or of what was between backquotes
			} else if s[i] != '\n' {
				b.WriteByte(s[i])
			}
			continue
		case '*', '?', '[', '{', '$', '`', '<', '>', '(', ')':
			known = false
		case '~':
			known = known && !(i == 0 || s[i-1] == '=' || s[i-1] == ':')
		}
		b.WriteByte(s[i])
	}
	return b.String(), known
}

// quoted returns the text between double quotes.
func quoted(q *syntax.DblQuoted) (text string, known bool) {
	var b strings.Builder
	known = !q.Dollar
	for _, part := range q.Parts {
		lit, ok := part.(*syntax.Lit)
		if !ok {
			return "", false
		}
		for i := 0; i < len(lit.Value); i++ {
			c := lit.Value[i]
			if c == '\\' && i+1 < len(lit.Value) && strings.IndexByte("$`\"\\\n", lit.Value[i+1]) >= 0 {
				if i++; lit.Value[i] == '\n' {
					continue
				}
				c = lit.Value[i]
			} else if c == '$' || c == '`' {
				known = false
			}
			b.WriteByte(c)
		}
	}
	return b.String(), known
}

// splits reports whether a quoted word may become more or fewer words than one,
// as "$@" does.
func splits(q *syntax.DblQuoted) bool {
	for _, part := range q.Parts {
		p, ok := part.(*syntax.ParamExp)
		if ok && (p.Index != nil || p.Names != 0 || p.Excl || p.Param == nil || p.Param.Value == "@" || p.Param.Value == "*") {
			return true
		}
	}
	return false
}

// source prints a node on one line.
func source(node syntax.Node) string {
	var b strings.Builder
	if err := syntax.NewPrinter(syntax.Minify(true)).Print(&b, node); err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// lineOf joins words as a line that a shell reads as these words.
func lineOf(words []word) string {
	parts := make([]string, len(words))
	for i, w := range words {
		if parts[i] = w.text; w.known {
			parts[i] = quote(w.text)
		}
	}
	return strings.Join(parts, " ")
}

// plain are the characters that need no quotes in a pattern or a line.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-"

func quote(s string) string {
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
