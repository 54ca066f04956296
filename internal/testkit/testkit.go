// Package testkit is what the tests of several packages need: waiting for a
// condition, and reading an event stream. It imports nothing of this module, so that
// the tests of every package can use it; whole servers and a database are in packages
// below it.
package testkit

import (
	"testing"
	"time"
)

// Patience is how long a condition may take to come true. It is long, since a
// machine may be slow, and a test that waits for less fails only there.
const Patience = time.Minute

// poll is how often a condition is looked at.
const poll = 2 * time.Millisecond

// Until reports whether a condition comes true. It is looked at from the goroutine of
// the caller.
func Until(ok func() bool) bool {
	for deadline := time.Now().Add(Patience); !ok(); time.Sleep(poll) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Await ends the test if a condition does not come true. What completes the sentence
// "waited too long for".
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Until(ok) {
		t.Fatalf("waited too long for %s", what)
	}
}
