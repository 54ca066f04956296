package permission

import "strings"

// protectedPaths are files and directories that make a program run something the
// next time a user or a tool starts it. They are changed only where a rule or a
// user says so each time.
var protectedPaths = []struct {
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

// protected returns why a path is protected; empty when it is not. Case does not
// count, since it does not where such files are looked for on some systems.
func (t *target) protected() string {
	for _, set := range protectedPaths {
		for _, g := range set.globs {
			for _, p := range append(t.written, t.forms...) {
				if matchPath(strings.ToLower(g), strings.TrimPrefix(strings.ToLower(p), "/")) {
					return set.why
				}
			}
		}
	}
	return ""
}
