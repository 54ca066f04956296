package cli

import (
	"context"
	"os"
	"path"
	"strings"

	"github.com/sandboxagent/sandboxagent"
)

// A relative path on the server means the same in all commands: it begins in the
// working directory of the command where the server has the same files, as one on
// this machine has, and elsewhere where the server begins. The help of a command
// says so in these words.
const relativePaths = `Relative paths begin in the working directory where the server has the same files,
as one on this machine has, else in the home directory of the server.`

// relativeCWD says the same of a flag.
const relativeCWD = "(default the working directory where the server has the same files, else that of the server)"

// sameFilesTries is how often a directory that changes is compared.
const sameFilesTries = 3

// workingDirectory returns the working directory where the server has the same
// files, else nothing. It is looked up once in a command.
func (g *globals) workingDirectory(ctx context.Context, c *sandboxagent.Client) string {
	if g.sameFiles == nil {
		same := g.sandbox == "" && onThisMachine(c) && g.hasWorkingDirectory(ctx, c)
		g.sameFiles = &same
	}
	if *g.sameFiles {
		return g.env.Dir
	}
	return ""
}

// hasWorkingDirectory reports whether the server has the working directory, by the
// time at which it was changed: a container that is reached through a port of this
// machine may well have another one of that name.
func (g *globals) hasWorkingDirectory(ctx context.Context, c *sandboxagent.Client) bool {
	for range sameFilesTries {
		ours, err := os.Stat(g.env.Dir)
		if err != nil {
			return false
		}
		theirs, err := c.Stat(ctx, g.env.Dir)
		if err != nil || !theirs.IsDir() {
			return false
		}
		if theirs.ModTime().Equal(ours.ModTime()) {
			return true
		}
	}
	return false
}

// onServer returns a path as the server is given it.
func (g *globals) onServer(ctx context.Context, c *sandboxagent.Client, name string) string {
	if path.IsAbs(name) {
		return name
	}
	dir := g.workingDirectory(ctx, c)
	if dir == "" {
		return name
	}
	full := path.Join(dir, name)
	if strings.HasSuffix(name, "/") {
		full += "/"
	}
	return full
}

// cwdOnServer returns where a command starts something on the server, when given
// is the directory that its user named, or nothing; nothing leaves it to the
// server.
func (g *globals) cwdOnServer(ctx context.Context, c *sandboxagent.Client, given string) string {
	if given == "" {
		return g.workingDirectory(ctx, c)
	}
	return g.onServer(ctx, c, given)
}
