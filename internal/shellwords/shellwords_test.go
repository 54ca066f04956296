package shellwords

import (
	"os/exec"
	"testing"
)

func TestShellReadsQuotedWords(t *testing.T) {
	for _, word := range []string{"", "plain", "two words", "it's", "$(echo x)`y`\"\\\n;!*?~#\x01\xff", "''", "-n", "'"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+Quote(word)+"end").CombinedOutput()
		if err != nil || string(out) != word+"end" {
			t.Errorf("%q is read as %q, %v", word, out, err)
		}
	}
}
