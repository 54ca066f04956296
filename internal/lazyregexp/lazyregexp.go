// Package lazyregexp puts off compiling regular expressions until they are
// used. Every start of the program, also as a mock agent, would pay for all of
// them otherwise.
package lazyregexp

import (
	"regexp"
	"sync"
)

// New returns a function that compiles expr once, and panics if it is invalid.
func New(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
