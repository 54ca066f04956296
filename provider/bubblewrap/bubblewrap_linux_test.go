package bubblewrap_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/cli"
	"github.com/sandboxagent/sandboxagent/provider/bubblewrap"
	"github.com/sandboxagent/sandboxagent/provider/providertest"
)

var config = providertest.Config{New: func(stateDir, binary string) providertest.Provider {
	return bubblewrap.New(bubblewrap.Config{StateDir: stateDir, Binary: binary})
}}

func TestMain(m *testing.M) {
	os.Exit(providertest.Main(m, config, func() int {
		if os.Args[1] == "probe" {
			return exitProbe(os.Args[2:])
		}
		return cli.Main(cli.System())
	}))
}

func TestProvider(t *testing.T) {
	needBwrap(t)
	providertest.Run(t, config)
}

func TestProviderUnprivileged(t *testing.T) {
	needBwrap(t)
	providertest.RunUnprivileged(t, "^TestProvider$")
}

// needBwrap skips a test where bwrap is not installed, but in CI, whose scripts
// install it.
func needBwrap(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("bwrap"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func TestSoakUnprivileged(t *testing.T) {
	needBwrap(t)
	providertest.RunUnprivileged(t, "^TestSoak$", fmt.Sprintf("-soak=%d", providertest.SoakCount()/5))
}

func TestSoak(t *testing.T) {
	needBwrap(t)
	providertest.Soak(t, config)
}
