package files

import (
	"os"

	"github.com/sandboxagent/sandboxagent/internal/ignore"
)

// ignoreNames are the files that say what a search leaves out; in one directory
// the later wins.
var ignoreNames = []string{".gitignore", ".ignore"}

// maxIgnoreBytes bounds an ignore file; what is beyond is not read.
const maxIgnoreBytes = 1 << 20

// readIgnore returns the rules that hold in the directory dir below up. has reports
// whether dir has a file of a name.
func readIgnore(up *ignore.Rules, dir string, has func(name string) bool) *ignore.Rules {
	var texts [][]byte
	for _, name := range ignoreNames {
		if !has(name) {
			continue
		}
		data, err := readHead(join(dir, name), maxIgnoreBytes)
		if err == nil {
			texts = append(texts, data)
		}
	}
	return ignore.New(up, dir, texts...)
}

// ignoreAbove returns the rules that hold in dir because of the directories above,
// up to the top of its repository. Outside of a repository there are none.
func ignoreAbove(dir string) *ignore.Rules {
	var dirs []string
	for d := dir; ; d = parent(d) {
		dirs = append(dirs, d)
		if _, err := os.Lstat(join(d, ".git")); err == nil {
			break
		}
		if d == "/" || d == "" {
			return nil
		}
	}
	var ig *ignore.Rules
	for i := len(dirs) - 1; i > 0; i-- {
		ig = readIgnore(ig, dirs[i], func(string) bool { return true })
	}
	return ig
}
