package docs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A block is what stands between two fences of a document. The first word behind the
// opening fence is its language, the rest says what becomes of it; see
// docs/guide/README.md.
type block struct {
	line     int // of the opening fence, from 1
	language string
	how      string
	text     string // without the indentation of the fence
}

// blocks returns the blocks of a document. Indented code has no language and no
// way to say what becomes of it, so it is an error.
func blocks(document string) (found []block, err error) {
	var open *block
	var indent, fence string
	blank := true // whether the line before was
	list := false // whether the text belongs to an entry of a list
	number := 0
	for line := range strings.Lines(document) {
		number++
		bare := strings.TrimLeft(line, " \t")
		switch {
		case open != nil && strings.TrimSpace(line) == fence:
			found = append(found, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent)
		case strings.HasPrefix(bare, "```"):
			info := strings.TrimLeft(bare, "`")
			fence, indent = bare[:len(bare)-len(info)], line[:len(line)-len(bare)]
			language, how, _ := strings.Cut(strings.TrimSpace(info), " ")
			open = &block{line: number, language: language, how: strings.TrimSpace(how)}
		case strings.TrimSpace(line) == "":
			blank = true
			continue
		case blank && !list && strings.HasPrefix(line, "    "):
			return nil, fmt.Errorf("line %d: indented code; put it between fences, with its language", number)
		case !strings.HasPrefix(line, " "):
			list = isListEntry(bare)
		}
		blank = false
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block has no end", open.line)
	}
	return found, nil
}

func isListEntry(line string) bool {
	number := strings.TrimLeft(line, "0123456789")
	return strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "* ") || number != line && strings.HasPrefix(number, ". ")
}

// Languages whose blocks are judged by the tests of internal/permission.
var judged = []string{"verdicts", "unattended"}

// check says what is wrong with a block as it stands, without running it. What runs
// is true in its place, if it runs at all.
func (b block) check(root string) error {
	switch reason, marked := strings.CutPrefix(b.how, "not run:"); {
	case marked && len(strings.TrimSpace(reason)) < 10:
		return fmt.Errorf("a block that is not run says why")
	case marked:
		return nil
	}
	if name, marked := strings.CutPrefix(b.how, "excerpt "); marked {
		whole, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if !strings.Contains(uncommented(string(whole)), uncommented(b.text)) {
			return fmt.Errorf("%s has no such lines", name)
		}
		return nil
	}
	if name, marked := strings.CutPrefix(b.how, "file="); marked {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the file %q is not below the scratch directory", name)
		}
		return b.checkJSON()
	}
	switch {
	case b.language == "text" && b.how == "", slices.Contains(judged, b.language) && b.how == "":
		return nil
	case b.language == "json" && (b.how == "" || b.how == "policy"):
		return b.checkJSON()
	case b.language == "go" && b.how == "":
		if !strings.HasPrefix(b.text, "package main\n") {
			return fmt.Errorf("a Go sample is a whole program, or an excerpt")
		}
		return nil
	case b.language == "sh" && (b.how == "" || b.how == "in the clone"), b.language == "console" && b.how == "":
		return nil
	}
	return fmt.Errorf("nothing says what becomes of a block %q", strings.TrimSpace(b.language+" "+b.how))
}

// uncommented returns the lines of a Go file that are not comments alone.
func uncommented(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if bare := strings.TrimSpace(line); bare != "" && !strings.HasPrefix(bare, "//") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func (b block) checkJSON() error {
	if b.language == "json" && !json.Valid([]byte(b.text)) {
		return fmt.Errorf("no JSON")
	}
	return nil
}
