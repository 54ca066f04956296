package testkit_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// failing is a test that notes how it ends.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		testkit.Await(t, "three seconds", func() bool { return time.Since(began) >= 3*time.Second })
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		f := &failing{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			testkit.Await(f, "what never is", func() bool { return false })
		}()
		<-done
		if f.said != "waited too long for what never is" {
			t.Errorf("the test ends with %q", f.said)
		}
	})
}
