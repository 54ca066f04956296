package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sandboxagent/sandboxagent/acp"
)

// TestHelp holds every command to the form of the help text.
func TestHelp(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		name := cmd.CommandPath()
		below := strings.Count(name, " ") > 1
		switch {
		case cmd.Hidden:
			return
		case cmd.Short == "" || strings.HasSuffix(cmd.Short, "."):
			t.Errorf("%s: the short text is %q", name, cmd.Short)
		case cmd.Long == "" && below:
			t.Errorf("%s has no long text", name)
		case !strings.Contains(cmd.Example, name):
			t.Errorf("%s has no example of itself", name)
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(line) > 100 {
				t.Errorf("%s: long line %q", name, line)
			}
		}
		cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s says nothing of itself", name, f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	root := newRoot(&globals{})
	for _, cmd := range root.Commands() {
		check(cmd)
	}
	for _, name := range []string{"agents", "api", "config", "credentials", "daemon", "doctor", "fs", "install-agent", "process", "sandbox", "terminal"} {
		if !slices.ContainsFunc(root.Commands(), func(cmd *cobra.Command) bool { return cmd.Name() == name }) {
			t.Errorf("there is no command %s", name)
		}
	}
}

func TestControlKey(t *testing.T) {
	for name, want := range map[string]byte{"ctrl-]": 0x1d, "ctrl-b": 2, "CTRL-Q": 17, "ctrl-\\": 0x1c, "ctrl-_": 0x1f, "none": 0} {
		if got, err := controlKey(name); got != want || err != nil {
			t.Errorf("%s: %#x, %v, want %#x", name, got, err, want)
		}
	}
	for _, name := range []string{"", "q", "ctrl-", "ctrl-1", "ctrl-`", "ctrl-{", "ctrl-qq", "alt-q"} {
		if got, err := controlKey(name); err == nil {
			t.Errorf("%q: %#x, want an error", name, got)
		}
	}
}

// What an agent calls its tools is what people decide by: it stays on its line
// and commands no terminal.
func TestDescribeCall(t *testing.T) {
	for _, test := range []struct{ kind, title, want string }{
		{"edit", "Write a.txt", "edit: Write a.txt"},
		{"edit", "Edit a.txt", "Edit a.txt"},
		{"", "", "call"},
		{"execute", "rm -r x\nls\n", "execute: rm -r x ⏎ ls"},
		{"read", "\x1b[2J\x1b[1;31mlist\x1b[0m", "read: list"},
		{"read", "\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1bc\rd\u009b1me", "read: abd1me"},
		{"read", "\x1b]0;never ended", "read: "},
		{"read", "caf\u00e9 \xff", "read: caf\u00e9 \ufffd"},
	} {
		if got := describeCall(acp.ToolCall{ID: "call", Kind: test.kind, Title: test.title}); got != test.want {
			t.Errorf("%q: %q, want %q", test.title, got, test.want)
		}
	}
}

// Where there is no home, as in some containers, data must not go to the folder
// that happens to be the current one.
func TestDataFolder(t *testing.T) {
	for _, test := range []struct {
		g    globals
		want string
	}{
		{globals{env: Environment{Dir: "/w", Home: "/home/ann"}}, "/home/ann/.local/share/sandbox-agent"},
		{globals{env: Environment{Dir: "/w", Home: "/home/ann", Env: []string{"XDG_DATA_HOME=/x"}}}, "/x/sandbox-agent"},
		{globals{env: Environment{Dir: "/w"}}, "/.local/share/sandbox-agent"},
		{globals{env: Environment{Dir: "/w", Home: "/home/ann"}, dataDir: "data"}, "/w/data"},
	} {
		if got := test.g.data(); got != test.want {
			t.Errorf("%+v: %s, want %s", test.g, got, test.want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 40: "1.0 TiB", 1<<50 + 1: "1024.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
