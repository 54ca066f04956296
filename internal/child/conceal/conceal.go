// Package conceal keeps what is secret out of the arguments and the environment that
// the system shows of this process, and of those that it starts.
//
// Every process of a user can read the arguments of every process, and the environment
// of those of the same user: see proc_pid_cmdline(5) and proc_pid_environ(5). The
// kernel reads both from the memory of the process, where they are overwritten here.
// What they said is kept for [Args] and [Environ] alone: os.Args has stars in its
// place, and os.Environ has no token.
//
// The parent of a server uses this package before most others are initialised, so it
// imports little.
package conceal

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// tokenVariable is the prefix of the variables that are taken out of the environment.
const tokenVariable = "SANDBOX_AGENT_TOKEN"

// given is what this process was started with, or its parent for it.
var given struct {
	mu      sync.Mutex
	taken   bool
	args    []string
	hidden  []string // variables, as KEY=value
	changed bool     // something of args is hidden, or hidden is not empty
}

// Take hides what is secret, the first time that it is called. It has to be called
// before other goroutines use os.Args.
func Take() {
	given.mu.Lock()
	defer given.mu.Unlock()
	if given.taken {
		return
	}
	given.taken = true
	for _, arg := range os.Args {
		given.args = append(given.args, strings.Clone(arg))
	}
	for i, arg := range Mask(given.args) {
		if arg != given.args[i] {
			given.changed = true
			os.Args[i] = overwrite(os.Args[i], arg)
		}
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, tokenVariable) {
			given.hidden = append(given.hidden, kv)
			_ = os.Unsetenv(name)
		}
	}
	if len(given.hidden) > 0 {
		given.changed = true
		overwriteEnvironment(tokenVariable)
	}
}

// Args returns the arguments of this program with what is hidden, its name first.
func Args() []string {
	Take()
	return slices.Clone(given.args)
}

// Environ returns the environment of this program with what is hidden.
func Environ() []string {
	Take()
	return append(os.Environ(), given.hidden...)
}

// Hidden returns what is hidden, for a process that is started with os.Args and
// os.Environ and passes it to [Adopt]; nil if nothing is. It must reach that process by
// a way that no other one can read.
func Hidden() []byte {
	Take()
	if !given.changed {
		return nil
	}
	all := slices.Concat([]string{strconv.Itoa(len(given.args))}, given.args, given.hidden)
	return []byte(strings.Join(all, "\x00"))
}

// Adopt makes what another process had hidden that of this one.
func Adopt(hidden []byte) {
	Take()
	count, rest, _ := strings.Cut(string(hidden), "\x00")
	all := strings.Split(rest, "\x00")
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > len(all) {
		return
	}
	given.mu.Lock()
	defer given.mu.Unlock()
	given.args, given.hidden, given.changed = all[:n:n], all[n:], true
}

// secretFlags are the flags whose values are hidden, by their names and letters. Those
// of values that begin with a name and "=" keep that name.
var (
	secretFlags  = []string{"token", "token-file", "listen"}
	secretLetter = "t"
	namedFlags   = []string{"env", "header"}
)

// Mask returns arguments with stars in place of what is secret in them: values of the
// flags for tokens, sockets, variables, and headers, and users and passwords in URLs.
// It knows no command, so that it may hide too much.
func Mask(args []string) []string {
	masked := slices.Clone(args)
	for i := range masked {
		masked[i] = maskURL(masked[i])
	}
	for i := 1; i < len(masked); i++ {
		name, value, joined := strings.Cut(masked[i], "=")
		long, isLong := strings.CutPrefix(name, "--")
		letters, isShort := strings.CutPrefix(masked[i], "-")
		var hide func(string) string
		switch {
		case isLong && slices.Contains(secretFlags, long):
			hide = stars
		case isLong && slices.Contains(namedFlags, long):
			hide = starsAfterName
		case isLong || !isShort:
			continue
		default:
			at := strings.Index(letters, secretLetter)
			if at < 0 {
				continue
			}
			name, value, joined = masked[i][:at+2], masked[i][at+2:], at+2 < len(masked[i])
			if joined {
				masked[i] = name + stars(value)
				continue
			}
			hide = stars
		}
		switch {
		case joined:
			masked[i] = name + "=" + hide(value)
		case i+1 < len(masked):
			masked[i+1] = hide(masked[i+1])
			i++
		}
	}
	return masked
}

func stars(s string) string { return strings.Repeat("*", len(s)) }

func starsAfterName(s string) string {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return stars(s)
	}
	return name + "=" + stars(value)
}

// maskURL hides the user and the password of each URL in s.
func maskURL(s string) string {
	for from := 0; ; {
		at := strings.Index(s[from:], "://")
		if at < 0 {
			return s
		}
		from += at + len("://")
		authority := s[from:]
		if end := strings.IndexAny(authority, "/?# \t\n\"'"); end >= 0 {
			authority = authority[:end]
		}
		if user := strings.LastIndexByte(authority, '@'); user > 0 {
			s = s[:from] + stars(s[from:from+user]) + s[from+user:]
		}
	}
}
