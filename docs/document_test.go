package docs_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// fenced is a document with one block.
func fenced(info, text string) string { return "# Title\n\n```" + info + "\n" + text + "```\n" }

func TestDocumentsThatFail(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, document, want string }{
		{"language without a meaning", fenced("python", "print()\n"), "nothing says what becomes"},
		{"no language", fenced("", "ls\n"), "nothing says what becomes"},
		{"word without a meaning", fenced("sh sometimes", "ls\n"), "nothing says what becomes"},
		{"no reason", fenced("sh not run:", "ls\n"), "says why"},
		{"indented code", "Text.\n\n    ls\n", "indented code"},
		{"no end", "```sh\nls\n", "no end"},
		{"part of a program", fenced("go", "x := 1\n"), "whole program"},
		{"program that does not compile", fenced("go", "package main\n\nfunc main() { none() }\n"), "undefined: none"},
		{"program that fails", fenced("go", "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(3) }\n"), "failed with 3"},
		{"no such lines", fenced("go excerpt provider/provider.go", "there is no such line\n"), "no such lines"},
		{"no JSON", fenced("json", "{a}\n"), "no JSON"},
		{"file elsewhere", fenced("json file=../a", "{}\n"), "scratch directory"},
		{"command that fails", fenced("sh", "true\nfalse\ntrue\n"), "failed with 1: false"},
		{"command of a console that fails", fenced("console", "$ echo why; exit 4\n"), "why"},
		{"other output", fenced("console", "$ echo a\nb\n"), "shows\nb\n\nand prints\na"},
		{"variable without a value", fenced("sh", "echo $none\n"), "unbound"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := newWalk(t, root, "").run("test.md", test.document)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestDocumentThatPasses(t *testing.T) {
	document := fenced("json file=a/b.json", "{\"x\": 2468}\n") +
		fenced("sh", "x=1\ncat a/b.json\n") +
		fenced("sh not run: it would take hours", "sleep 10000\n") +
		fenced("console", "$ echo $x; \\\n  echo y\n1\ny\n$ echo 0123456789abcdef 2468\nfedcba9876543210 2468\n$ seq 5; echo to the end\n1\n...\n5\nto...end\n") +
		fenced("sh in the clone", "test -f go.mod\n") +
		"1. A list.\n\n   ```sh\n   test ! -f go.mod\n   ```\n\n       not code, but the third level of a list\n"
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if err := newWalk(t, root, "").run("test.md", document); err != nil {
		t.Error(err)
	}
}
