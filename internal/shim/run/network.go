package run

import "github.com/sandboxagent/sandboxagent/provider"

// network is what a sandbox with namespaces has of a network while its server
// runs. It is made for each start of the server.
type network struct {
	// args are the options of bwrap that the mode needs. A mode that makes the
	// network namespace itself enters it in join and has bwrap share it.
	args []string

	// join is called on the thread that starts bwrap, before it does; nil means
	// nothing.
	join func() error

	// close ends what the mode runs outside of the sandbox; nil means nothing.
	close func() error
}

// networks are the modes of the network, each with what makes one. A mode that is
// not here is refused.
var networks = map[provider.Network]func(b *box) (network, error){
	provider.NetworkNone: noNetwork,
}

// noNetwork has loopback only, in a namespace that bwrap makes.
func noNetwork(*box) (network, error) { return network{args: []string{"--unshare-net"}}, nil }
