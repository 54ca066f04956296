package shellwords

import (
	"os/exec"
	"slices"
	"strings"
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

// TestSplitReadsAsAShellDoes compares with a real one.
func TestSplitReadsAsAShellDoes(t *testing.T) {
	for _, line := range []string{
		"", "  a  b\tc ", `sh -c "echo 'x y' >z"`, `'/opt/my agent/run' --a=" "`, `a\ b '\' "\"" ""`,
		`a"b"'c'\d`, `"\n" "\\" "\$x" '$x'`, "a\\\nb \"c\\\nd\"", `--x=a,b:c@d%e+f`, `a#b`, `"it's" 'a "b"'`, "\u00fc \"\u00e9 \u4e16\"",
	} {
		got, err := Split(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		out, err := exec.Command("/bin/sh", "-c", "for w in "+line+"\ndo printf '%s\\0' \"$w\"; done").Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var want []string
		if len(out) > 0 {
			want = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, a shell reads %q", line, got, want)
		}
	}
}

func TestSplitLeavesPatternsAlone(t *testing.T) {
	if got, err := Split("~/bin/agent *.txt [a]?"); err != nil || !slices.Equal(got, []string{"~/bin/agent", "*.txt", "[a]?"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSplitRefusesWhatTakesAShell(t *testing.T) {
	for _, line := range []string{
		`a "b`, `a 'b`, "a `b`", "a $(b)", "a $b", `a "$b"`, "a $((1))", "a; b", "a;", "a & b", "a &", "a | b", "a && b", "a > f", "a < f", "A=b c", "! a",
		"(a)", "{ a; }", "if a; then b; fi", "f() { a; }", "a\nb",
	} {
		if got, err := Split(line); err == nil {
			t.Errorf("%s: %q, want an error", line, got)
		}
	}
}
