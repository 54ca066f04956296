// Package shellwords writes words for a POSIX shell. It runs none.
package shellwords

import "strings"

// Quote quotes a string so that a POSIX shell reads it as one word, whatever it
// holds but a NUL byte.
func Quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
