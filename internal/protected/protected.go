// Package protected names the paths that make a program run something the next time
// a user or a tool starts it: hooks, shell start files, editor tasks, settings of
// agents. The judge of tool calls lets nobody allow them in passing, and who brings
// the changes of a sandbox back is shown them.
package protected

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

var sets = []struct {
	why   string
	globs []string
}{
	{"git runs its hooks and what its configuration names", []string{
		"**/.git/**", "**/.gitconfig", "**/.config/git/**", "**/.githooks/**", "**/.husky/**", "**/.gitmodules"}},
	{"a shell or a session runs it when it starts", []string{
		"**/.profile", "**/.bash_profile", "**/.bash_login", "**/.bash_logout", "**/.bashrc", "**/.bash_aliases",
		"**/.zshrc", "**/.zshenv", "**/.zprofile", "**/.zlogin", "**/.zlogout", "**/.kshrc", "**/.mkshrc", "**/.cshrc", "**/.tcshrc", "**/.login",
		"**/.inputrc", "**/.pam_environment", "**/.xprofile", "**/.xinitrc", "**/.xsession", "**/.config/fish/**", "**/.config/environment.d/**",
		"**/.config/autostart/**", "**/.config/systemd/**", "**/.ssh/**", "**/.local/bin/**"}},
	{"a tool that watches directories runs it", []string{
		"**/.envrc", "**/.direnvrc", "**/.config/direnv/**", "**/.mise.toml", "**/mise.toml", "**/.mise/**"}},
	{"an agent takes permissions, hooks or tool servers from it", []string{
		"**/.claude/**", "**/.claude.json", "**/.mcp.json", "**/mcp.json", "**/.codex/**", "**/.gemini/**", "**/.qwen/**",
		"**/.opencode/**", "**/opencode.json", "**/opencode.jsonc", "**/.config/opencode/**", "**/.kilo/**", "**/.kilocode/**", "**/kilo.json", "**/kilo.jsonc", "**/.config/kilo/**",
		"**/.copilot/**", "**/.config/github-copilot/**", "**/.github/hooks/**", "**/.cursor/**", "**/.factory/**", "**/.pi/**", "**/.amp/**", "**/.config/amp/**",
		"**/.roo/**", "**/.continue/**", "**/.windsurf/**", "**/.aider.conf.yml", "**/.sandbox-agent/**"}},
	{"an editor runs tasks or code from it", []string{
		"**/.vscode/**", "**/*.code-workspace", "**/.idea/**", "**/.zed/**", "**/.devcontainer/**", "**/.devcontainer.json",
		"**/.vimrc", "**/.exrc", "**/.vim/**", "**/.nvimrc", "**/.nvim.lua", "**/.config/nvim/**", "**/.emacs", "**/.emacs.d/**", "**/.dir-locals.el"}},
}

// Globs returns the patterns of all protected paths, in the syntax of doublestar.
func Globs() []string {
	var globs []string
	for _, set := range sets {
		globs = append(globs, set.globs...)
	}
	return globs
}

// Why returns why a path is protected; empty when it is not. The path is absolute,
// or relative to any directory. Case does not count, since it does not where such
// files are looked for on some systems.
func Why(path string) string {
	path = strings.TrimPrefix(strings.ToLower(path), "/")
	for _, set := range sets {
		for _, glob := range set.globs {
			if doublestar.MatchUnvalidated(strings.ToLower(glob), path) {
				return set.why
			}
		}
	}
	return ""
}
