package permission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// An input is what the arguments of a tool say: the commands in them, the paths,
// and whether something is written.
type input struct {
	dir      string
	commands []command
	paths    []string
	cwd      string // where commands run, when the arguments say so
	written  bool   // there is content for a file
	assigns  bool   // commands get variables
	unclear  []string
}

// A command is a line for a shell, or words for the kernel.
type command struct {
	line string
	argv []string
}

// A value is a JSON value, with members that stand twice.
type value struct {
	text    string // of a string
	isText  bool
	list    []value
	isList  bool
	members []member // of an object
	null    bool
}

type member struct {
	key   string
	value value
}

const (
	maxNesting = 64
	maxPaths   = 1000
)

// readInput reads the arguments of a tool. Keys are known to it only as hints:
// what is in the form of a path counts wherever it stands.
func readInput(raw json.RawMessage, dir string) input {
	in := input{dir: dir}
	if len(raw) == 0 {
		return in
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		in.unclear = append(in.unclear, "its arguments cannot be read: "+err.Error())
		return in
	}
	in.walk("", v, 0)
	if len(in.paths) > maxPaths {
		in.unclear = append(in.unclear, fmt.Sprintf("it names more than %d paths", maxPaths))
		in.paths = in.paths[:maxPaths]
	}
	return in
}

func decode(d *json.Decoder, depth int) (v value, err error) {
	if depth > maxNesting {
		return v, errors.New("they nest too deep")
	}
	token, err := d.Token()
	if err != nil {
		return v, err
	}
	switch token := token.(type) {
	case nil:
		v.null = true
	case string:
		v.text, v.isText = token, true
	case json.Delim:
		v.isList = token == '['
		for d.More() {
			var m member
			if token == '{' {
				key, err := d.Token()
				if err != nil {
					return v, err
				}
				m.key, _ = key.(string)
			}
			if m.value, err = decode(d, depth+1); err != nil {
				return v, err
			}
			if v.isList {
				v.list = append(v.list, m.value)
			} else {
				v.members = append(v.members, m)
			}
		}
		_, err = d.Token()
	}
	return v, err
}

// key is a key without case and separators.
func normalKey(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(key))
}

var (
	commandKeys   = words("command cmd commands cmds commandline cmdline shellcommand bashcommand fullcommand argv")
	argumentKeys  = words("args arguments argv commandargs")
	scriptKeys    = words("script shellscript bashscript bash run program executable exe") // where they have text
	variableKeys  = words("env environment envs envvars environmentvariables")
	directoryKeys = words("cwd workdir workingdirectory workingdir currentdirectory currentworkingdirectory")
	contentKeys   = words("content contents filetext newstring newstr newtext newcontent inserttext replacementtext newsource diff patch")
	writtenKeys   = words("insert replacement edits data")
	textKeys      = words("oldstring oldstr oldtext oldcontent text description prompt query regex reason explanation thought title summary message search replace justification")
	pathKey       = regexp.MustCompile(`path|file|dir$|directory|folder|notebook|^uri$|^target$|^source$|^destination$|^dest$`)
)

func words(list string) map[string]bool {
	set := make(map[string]bool)
	for _, w := range strings.Fields(list) {
		set[w] = true
	}
	return set
}

// walk reads a value that stands under a key.
func (in *input) walk(key string, v value, depth int) {
	switch {
	case v.isText:
		in.string(key, v.text, depth)
	case v.isList:
		for _, e := range v.list {
			in.walk(key, e, depth+1)
		}
	default:
		in.object(v, depth)
	}
}

func (in *input) object(v value, depth int) {
	var args []value
	for _, m := range v.members {
		if argumentKeys[normalKey(m.key)] && !commandKeys[normalKey(m.key)] && (m.value.isList || m.value.isText) {
			args = append(args, m.value)
		}
	}
	for _, m := range v.members {
		key := normalKey(m.key)
		switch {
		case commandKeys[key], scriptKeys[key] && (m.value.isText || m.value.isList):
			in.command(key, m.value, args, depth)
			continue
		case variableKeys[key] && (m.value.text != "" || len(m.value.list) > 0 || len(m.value.members) > 0):
			in.assigns = true
		case directoryKeys[key] && m.value.isText && m.value.text != "":
			if in.cwd != "" && in.cwd != m.value.text {
				in.unclear = append(in.unclear, "it names more than one working directory")
			}
			in.cwd = m.value.text
		case (writtenKeys[key] || contentKeys[key]) && !m.value.null:
			in.written = true
		}
		if pathLike(m.key, in.dir) && !pathKey.MatchString(key) {
			in.paths = append(in.paths, m.key)
		}
		in.walk(key, m.value, depth+1)
	}
}

// simpleWord is a program's name that no shell would read otherwise.
var simpleWord = regexp.MustCompile(`^[A-Za-z0-9_@%+:,./-]+$`)

// command reads the value of a command with the arguments next to it.
func (in *input) command(key string, v value, args []value, depth int) {
	tail, line := arguments(args)
	switch {
	case v.null || v.isText && strings.TrimSpace(v.text) == "" && len(args) == 0:
	case v.isText:
		switch {
		case line != "":
			in.commands = append(in.commands, command{line: v.text + " " + line})
		case len(tail) == 0:
			in.commands = append(in.commands, command{line: v.text})
		case simpleWord.MatchString(v.text):
			in.commands = append(in.commands, command{argv: append([]string{v.text}, tail...)})
		default:
			in.commands = append(in.commands, command{line: v.text + " " + textOf(tail)})
		}
	case v.isList:
		in.list(key, v, tail, line, depth)
	case len(v.members) > 0:
		in.object(v, depth+1)
	default:
		in.unclear = append(in.unclear, "its command is neither text nor a list of words")
	}
}

func (in *input) list(key string, v value, tail []string, line string, depth int) {
	var argv []string
	for _, e := range v.list {
		if e.isText {
			argv = append(argv, e.text)
		} else {
			in.walk(key, e, depth+1)
		}
	}
	switch {
	case len(argv) < len(v.list) && len(argv) > 0:
		in.unclear = append(in.unclear, "its command is a list of words and of other things")
	case len(argv) == 0:
		return
	case strings.HasSuffix(key, "s"): // commands
		for _, text := range argv {
			in.commands = append(in.commands, command{line: text})
		}
	case line != "":
		in.commands = append(in.commands, command{line: textOf(argv) + " " + line})
	case len(argv) == 1 && len(tail) == 0 && !simpleWord.MatchString(argv[0]):
		in.commands = append(in.commands, command{line: argv[0]})
	default:
		in.commands = append(in.commands, command{argv: append(argv, tail...)})
	}
}

// arguments returns arguments as words, or as a piece of a line.
func arguments(args []value) (tail []string, line string) {
	for _, v := range args {
		if v.isText {
			line = strings.TrimSpace(line + " " + v.text)
		}
		for _, e := range v.list {
			tail = append(tail, e.text)
		}
	}
	return tail, line
}

func textOf(argv []string) string {
	list := make([]word, len(argv))
	for i, s := range argv {
		list[i] = literal(s)
	}
	return lineOf(list)
}

// string reads a string that stands under a key.
func (in *input) string(key, s string, depth int) {
	if trimmed := strings.TrimSpace(s); !textKeys[key] && !contentKeys[key] && len(trimmed) > 1 && (trimmed[0] == '{' || trimmed[0] == '[') {
		d := json.NewDecoder(strings.NewReader(trimmed))
		if v, err := decode(d, depth); err == nil && !d.More() {
			in.walk(key, v, depth+1) // arguments as text
		}
	}
	if loose := !contentKeys[key] || patchKeys[key]; loose || strings.Contains(s, "\n") {
		paths, why := patchPaths(s, loose)
		in.paths, in.written = append(in.paths, paths...), in.written || len(paths) > 0
		if why != "" {
			in.unclear = append(in.unclear, why)
		}
	}
	switch {
	case textKeys[key] || contentKeys[key]:
	case s != "" && pathKey.MatchString(key) && !strings.Contains(s, "\n"), directoryKeys[key], pathLike(s, in.dir):
		in.paths = append(in.paths, s)
	}
}
