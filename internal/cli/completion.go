package cli

import (
	"io"

	"github.com/spf13/cobra"
)

// bashWords stands in for what the script of the framework takes from the
// package bash-completion, which few sandboxes have.
const bashWords = `
declare -F _get_comp_words_by_ref >/dev/null || _get_comp_words_by_ref() {
    words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    cur=${words[cword]} prev=${words[cword - 1]}
}
`

// addCompletion gives root the command that prints completion scripts, after its
// output is set.
func (g *globals) addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	all, _, err := root.Find([]string{"completion"})
	must(err)
	g.wantVerb(all)
	bash, _, err := root.Find([]string{"completion", "bash"})
	must(err)
	bash.Long = `Print the script that completes commands in bash. To have it in this shell, or in
every new one:

  source <(sandbox-agent completion bash)
  sandbox-agent completion bash > ~/.local/share/bash-completion/completions/sandbox-agent

The second needs the package bash-completion.`
	print := bash.RunE
	bash.RunE = func(cmd *cobra.Command, args []string) error {
		if err := print(cmd, args); err != nil {
			return err
		}
		_, err := io.WriteString(root.OutOrStdout(), bashWords)
		return err
	}
}
