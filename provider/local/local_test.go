package local_test

import (
	"os"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/cli"
	"github.com/sandboxagent/sandboxagent/provider/local"
	"github.com/sandboxagent/sandboxagent/provider/providertest"
)

var config = providertest.Config{New: func(stateDir, binary string) providertest.Provider {
	return local.New(local.Config{StateDir: stateDir, Binary: binary})
}}

func TestMain(m *testing.M) {
	os.Exit(providertest.Main(m, config, func() int { return cli.Main(cli.System()) }))
}

func TestProvider(t *testing.T) { providertest.Run(t, config) }

func TestProviderUnprivileged(t *testing.T) { providertest.RunUnprivileged(t, "^TestProvider$") }
