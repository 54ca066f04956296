package permission

import (
	"regexp"
	"strconv"
	"strings"
)

// patchKeys are members whose text is a patch.
var patchKeys = words("diff patch")

// Headers of patches: of apply_patch, and of unified and context diffs as diff and
// git write them. Text that is the content of a file counts where it looks like the
// header of a diff; only in what can be a patch are the looser forms one, such as a
// header after blanks.
var (
	strictHeader = regexp.MustCompile(`^(?:\*\*\* (?:Add|Update|Delete) File: |\*\*\* Move to: |(?:---|\+\+\+) |(?:rename|copy) (?:from|to) )(.+)$`)
	looseHeader  = regexp.MustCompile(`(?i)^[ \t]*(?:\*\*\*\s*(?:(?:add|update|delete)\s+file|move\s+(?:file\s+)?to|rename\s+to)\s*:|(?:---|\+\+\+|\*\*\*)[ \t]|index:|(?:rename|copy) (?:from|to)[ \t])[ \t]*(.+)$`)
	gitHeader    = regexp.MustCompile(`^diff --git (.+)$`)
	patchPrefix  = regexp.MustCompile(`^[abciow]/`)
	patchText    = regexp.MustCompile(`^(?:(?:Begin|End) Patch|End of File|Environment ID:.*|[0-9,]+ (?:\*\*\*\*|----))$`) // after three stars or dashes, not names
)

// patchPaths returns the files that a patch names; loose says that the text is no
// content of a file. why says that it names one that cannot be read.
func patchPaths(text string, loose bool) (paths []string, why string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		m := strictHeader.FindStringSubmatch(line)
		if m == nil && loose {
			m = looseHeader.FindStringSubmatch(line)
		}
		var names []string
		if m != nil {
			names = []string{m[1]}
		} else if m = gitHeader.FindStringSubmatch(line); m != nil {
			names = gitNames(m[1])
		}
		for _, name := range names {
			name, _, _ = strings.Cut(name, "\t") // what follows is a time
			name = strings.TrimSpace(name)
			if strings.HasPrefix(name, `"`) {
				plain, err := strconv.Unquote(name)
				if err != nil {
					why = "a name in its patch cannot be read: " + name
					continue
				}
				name = plain
			}
			if name == "/dev/null" || name == "" || patchText.MatchString(name) {
				continue
			}
			paths = append(paths, patchPrefix.ReplaceAllString(name, ""))
		}
	}
	return paths, why
}

// gitNames returns the two names after diff --git. Where they are not the same,
// other headers name both.
func gitNames(rest string) []string {
	if strings.HasPrefix(rest, `"`) {
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			return []string{quoted, strings.TrimSpace(rest[len(quoted):])}
		}
		return []string{rest}
	}
	half := len(rest) / 2
	if len(rest)%2 == 1 && rest[half] == ' ' && patchPrefix.ReplaceAllString(rest[:half], "") == patchPrefix.ReplaceAllString(rest[half+1:], "") {
		return []string{rest[:half]}
	}
	return nil
}
