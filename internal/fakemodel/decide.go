package fakemodel

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/lazyregexp"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// decide answers by rules, from the last thing the user said and what has
// happened since.
func decide(req Request, escalate bool) Turn {
	if req.Choice != "" && len(req.Tools) > 0 {
		return forcedCall(req)
	}
	text, at := lastUserText(req.Messages)
	if req.Format != nil && len(req.Tools) == 0 {
		return Turn{Text: string(sample(req.Format))}
	}
	if len(req.Tools) == 0 {
		return Turn{Text: "You said: " + firstLine(text)}
	}
	t, text := keyword(text)
	if t.Error != nil || t.Text != "" {
		return t
	}
	if result, ok := resultAfter(req.Messages, at); ok {
		t.Text = "Done. The tool said: " + firstLine(result)
		return t
	}
	if asked := askFirst().FindStringIndex(text); asked != nil {
		text, escalate = text[:asked[0]]+text[asked[1]:], true
	}
	switch j := parseIntent(text); {
	case j.command != "":
		t.Calls = shellCall(req, j.command, escalate)
	case j.path != "":
		t.Calls = writeCall(req, j.path, j.content)
	case strings.Contains(strings.ToLower(text), "what did i say"):
		t.Text = recall(req.Messages, at)
		return t
	default:
		t.Text = "You said: " + text
		return t
	}
	if t.Calls == nil {
		t.Text = "I have no tool for that."
	} else if t.Thinking == "" {
		t.Thinking = "A tool does this."
	}
	return t
}

func forcedCall(req Request) Turn {
	for _, tool := range req.Tools {
		if req.Choice == "*" || tool.Name == req.Choice {
			return Turn{Calls: []Call{{Name: tool.Name, Namespace: tool.Namespace, Input: sample(tool.Schema)}}}
		}
	}
	return Turn{Text: "I have no tool for that."}
}

// lastUserText finds what the user said last, and where. Texts that agents put
// into the user's mouth do not count.
func lastUserText(messages []Message) (string, int) {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role != "user" {
			continue
		}
		if text := unwrap(messages[i].Text); text != "" {
			return text, i
		}
	}
	return "", -1
}

var (
	opening = lazyregexp.New(`^<([a-zA-Z][\w-]*)(?: [^<>]*)?>`)
	closing = lazyregexp.New(`</([a-zA-Z][\w-]*)(?: [^<>]*)?>$`)
	wrapper = lazyregexp.New(`[_-]|^(?:permissions|reminder|context|instructions|environment)$`)
)

// unwrap cuts off the elements agents put before and after the user's words,
// such as <system-reminder>...</system-reminder>.
func unwrap(text string) string {
	for {
		text = strings.TrimSpace(text)
		if m := opening().FindStringSubmatch(text); m != nil && wrapper().MatchString(m[1]) {
			_, after, found := strings.Cut(text, "</"+m[1])
			if !found {
				return ""
			}
			_, text, _ = strings.Cut(after, ">")
			continue
		}
		if m := closing().FindStringSubmatch(text); m != nil && wrapper().MatchString(m[1]) {
			if i := strings.LastIndex(text, "<"+m[1]); i >= 0 {
				text = text[:i]
				continue
			}
		}
		return text
	}
}

func resultAfter(messages []Message, at int) (string, bool) {
	for i := len(messages) - 1; i > at; i-- {
		if messages[i].Role == "result" {
			return messages[i].Text, true
		}
	}
	return "", false
}

func recall(messages []Message, before int) string {
	var said []string
	for i, m := range messages {
		if text := unwrap(m.Text); i < before && m.Role == "user" && text != "" {
			said = append(said, strconv.Quote(text))
		}
	}
	if len(said) == 0 {
		return "You have said nothing before this."
	}
	return "You said before: " + strings.Join(said, ", ")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if runes := []rune(line); len(runes) > 200 {
		return string(runes[:200]) + "..."
	}
	return line
}

var keywords = lazyregexp.New(`^(?:/|fake:)(error|delay|think|long)\s*(\S*)\s*(?s:(.*))$`)

// keyword reads the keywords a text starts with. What is left is the text to
// answer, unless the turn already says something.
func keyword(text string) (Turn, string) {
	var t Turn
	for {
		m := keywords().FindStringSubmatch(text)
		if m == nil {
			return t, text
		}
		word, arg, rest := m[1], m[2], m[3]
		switch word {
		case "error":
			status, err := strconv.Atoi(arg)
			if err != nil || status < 400 || status > 599 {
				status, rest = 400, strings.TrimSpace(arg+" "+rest)
			}
			if rest == "" {
				rest = "scripted error"
			}
			t.Error = &Fault{Status: status, Message: rest}
			return t, ""
		case "delay":
			d, err := time.ParseDuration(arg)
			if err != nil {
				t.Text = "A delay is a duration such as 2s."
				return t, ""
			}
			t.Delay = Duration(d)
		case "think":
			t.Thinking = strings.TrimSpace(arg + " " + rest)
			rest = t.Thinking
		case "long":
			n, err := strconv.Atoi(arg)
			if err != nil || n < 1 || n > 1_000_000 {
				n = 1000
			}
			t.Text, t.Pace = strings.Repeat("words of it ", n), Duration(5*time.Millisecond)
			return t, ""
		}
		text = rest
	}
}

var askFirst = lazyregexp.New(`(?i)[\s,;(]*(?:but\s+)?\bask first\b\)?`)

// An intent is a file to write or a command to run.
type intent struct{ path, content, command string }

const fileName = "[\\w./@+-]*\\w\\.[A-Za-z0-9]{1,8}|(?i:readme|license|changelog)"

var (
	runPattern  = lazyregexp.New(`(?is)^(?:please )?(?:run|execute)\s+(?:the command\s+)?(.+)$`)
	filePattern = lazyregexp.New("(?is)^(?:please |can you |could you )*(?:write|create|add|make|save|put)\\s+(?:(?:a|an|the|new|file|called|named)\\s+)*[`\"']?(" + fileName +
		")[`\"']?(?:\\s+file)?\\s*(?:(?:(?:that|which)\\s+(?:says|contains)|saying|containing|with(?:\\s+(?:the\\s+)?(?:text|content|contents))?)\\s*:?\\s*|:\\s*)(.+)$")
	intoPattern = lazyregexp.New("(?is)^(?:please |can you |could you )*(?:write|add|save|put)\\s+(.+?)\\s+(?:to|into|in)\\s+(?:(?:a|an|the|new|file|called|named)\\s+)*[`\"']?(" + fileName + ")[`\"']?[.\\s]*$")
	barePattern = lazyregexp.New("(?is)^(?:please |can you |could you )*(?:create|make|add)\\s+(?:(?:a|an|the|new|empty|file|called|named)\\s+)*[`\"']?(" + fileName + ")[`\"']?[.\\s]*$")
)

func parseIntent(text string) intent {
	text = strings.TrimSpace(text)
	if m := runPattern().FindStringSubmatch(text); m != nil {
		return intent{command: unquote(m[1])}
	}
	if m := filePattern().FindStringSubmatch(text); m != nil {
		return intent{path: fullName(m[1]), content: content(m[2])}
	}
	if m := intoPattern().FindStringSubmatch(text); m != nil {
		return intent{path: fullName(m[2]), content: content(m[1])}
	}
	if m := barePattern().FindStringSubmatch(text); m != nil {
		return intent{path: fullName(m[1])}
	}
	return intent{}
}

func fullName(name string) string {
	switch upper := strings.ToUpper(name); upper {
	case "README", "CHANGELOG":
		return upper + ".md"
	case "LICENSE":
		return upper
	}
	return name
}

func content(text string) string {
	text = unquote(text)
	if strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

func unquote(text string) string {
	text = strings.TrimSpace(text)
	if n := len(text); n >= 2 && text[0] == text[n-1] && strings.ContainsRune("`\"'", rune(text[0])) {
		return text[1 : n-1]
	}
	return text
}

// The tools of the agents that are known to work, in the order of preference.
var (
	writeTools = []string{"write", "writefile", "createfile", "create", "writetofile"}
	shellTools = []string{"bash", "shell", "execcommand", "runshellcommand", "execute", "shellcommand", "runterminalcmd", "runcommand"}
)

func findTool(req Request, names []string) (Tool, bool) {
	for _, name := range names {
		for _, tool := range req.Tools {
			if strings.ReplaceAll(strings.ToLower(tool.Name), "_", "") == name && tool.Namespace == "" {
				return tool, true
			}
		}
	}
	return Tool{}, false
}

func writeCall(req Request, file, text string) []Call {
	if tool, ok := findTool(req, writeTools); ok {
		full := file
		if dir := workingDirectory(req.Messages); dir != "" && !path.IsAbs(file) {
			full = path.Join(dir, file)
		}
		return []Call{{Name: tool.Name, Input: fill(tool.Schema, values{path: full, content: text, why: "Write " + file})}}
	}
	command := fmt.Sprintf("printf %%s %s > %s", shellwords.Quote(text), shellwords.Quote(file))
	if dir := path.Dir(file); dir != "." {
		command = "mkdir -p " + shellwords.Quote(dir) + " && " + command
	}
	// Codex has no tool for files, and its sandbox may be read-only.
	return shellCall(req, command, true)
}

func shellCall(req Request, command string, escalate bool) []Call {
	tool, ok := findTool(req, shellTools)
	if !ok {
		return nil
	}
	return []Call{{Name: tool.Name, Input: fill(tool.Schema, values{command: command, why: "Run " + firstLine(command), escalate: escalate})}}
}

// directoryPatterns find where agents say that they are: after what may be a quote,
// to the end of the line.
var directoryPatterns = []func() *regexp.Regexp{
	lazyregexp.New(`(?i)working (?:directory|folder)\S*(?: is)?:?\s*([*"'` + "`" + `]*)(/[^\n<]+)`),
	lazyregexp.New(`(?i)working in the directory:\s*([*"'` + "`" + `]*)(/[^\n<]+)`),
	lazyregexp.New(`<cwd>()(/[^<]+)</cwd>`),
	lazyregexp.New(`(?i)workspace director(?:y|ies):\**\s*(?:- )?([*"'` + "`" + `]*)(/[^\n<]+)`),
}

// workingDirectory finds what the agent sent about where it is; some write tools
// take absolute paths only.
func workingDirectory(messages []Message) string {
	for _, p := range directoryPatterns {
		for _, m := range messages {
			if m.Role != "system" && m.Role != "user" {
				continue
			}
			if found := p().FindStringSubmatch(m.Text); found != nil {
				return directoryIn(found[1], found[2])
			}
		}
	}
	return ""
}

// sentenceEnd is where a text goes on that began with a path.
var sentenceEnd = lazyregexp.New(`[.,;:)]+\s|\s\(`)

// directoryIn returns the path at the beginning of the rest of a line. Names hold
// blanks, so that the longest directory there is on this machine counts, and
// where there is none, all up to the end of a sentence.
func directoryIn(opened, rest string) string {
	if quote := strings.Trim(opened, "*"); quote != "" {
		name, _, _ := strings.Cut(rest, quote[:1])
		return name
	}
	rest = strings.TrimRight(rest, " \t\r*")
	for end := len(rest); end > 0; end = strings.LastIndexAny(rest[:end], " \t") {
		for _, name := range []string{rest[:end], strings.TrimRight(rest[:end], ".,;:)")} {
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				return name
			}
		}
	}
	if at := sentenceEnd().FindStringIndex(rest); at != nil {
		rest = rest[:at[0]]
	}
	return strings.TrimRight(rest, ".,;:)")
}
