package run

import (
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/netutil"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

const (
	// modelAddress is where the forwarder to models is in a sandbox. Nothing that runs
	// there may listen on a port below 1024, so that none is taken from it.
	modelAddress = "127.0.0.1:888"

	maxModelConns = 256 // at once; more wait
)

// network is what a sandbox with namespaces has of a network while its server
// runs. It is made for each start of the server.
type network struct {
	// args are the options of bwrap that the mode needs.
	args []string

	// env is added to the environment of what runs in the sandbox.
	env map[string]string

	// namespace, if not nil, describes the network namespace that bwrap starts in,
	// for the program that makes it.
	namespace *namespace

	// serve is given the sockets of the namespace, which it closes, by their names.
	// It is called once, before anything runs in the sandbox.
	serve func(sockets sockets) error

	// close ends what the mode runs outside of the sandbox; nil means nothing.
	close func()
}

// networks are the modes of the network, each with what makes one. A mode that is
// not here is refused.
var networks = map[provider.Network]func(b *box) (network, error){
	provider.NetworkNone:  noNetwork,
	provider.NetworkModel: modelNetwork,
	provider.NetworkOpen:  openNetwork,
}

// networkModes returns the modes, the default first.
func networkModes() []provider.Network {
	modes := slices.Sorted(maps.Keys(networks))
	at := slices.Index(modes, provider.NetworkNone)
	return append([]provider.Network{provider.NetworkNone}, slices.Delete(modes, at, at+1)...)
}

// noNetwork has loopback only, in a namespace that bwrap makes.
func noNetwork(*box) (network, error) { return network{args: []string{"--unshare-net"}}, nil }

// modelNetwork has loopback, and on it the forwarder to models: the socket belongs to
// the network of the sandbox, and the process that accepts from it to that of the
// host.
func modelNetwork(b *box) (network, error) {
	server := b.modelServer()
	const url = "http://" + modelAddress
	env := b.models.Access().Environ(url, newPhantom())
	env[api.EnvModels] = url
	return network{
		env:       env,
		namespace: &namespace{},
		serve: func(s sockets) error {
			listener, err := s.listener(modelSocket)
			if err != nil {
				return err
			}
			go server.Serve(netutil.LimitListener(listener, maxModelConns)) // until it is closed
			return nil
		},
		close: func() { server.Close() },
	}, nil
}

func (b *box) modelServer() *http.Server {
	return &http.Server{
		Handler:                      b.models,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		ErrorLog:                     log.New(b.log, "shim: model forwarder: ", 0),
		Protocols:                    http1(),
	}
}

// http1 is what agents speak to a server without TLS.
func http1() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return protocols
}

// listener returns the listener of a name.
func (s sockets) listener(name string) (net.Listener, error) {
	file, err := s.take(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FileListener(file)
}
