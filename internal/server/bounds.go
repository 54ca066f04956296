package server

import (
	"reflect"

	"github.com/sandboxagent/sandboxagent/api"
)

// describeBounds puts the bounds into the description that handlers enforce by
// themselves, with errors that say more than that a bound was broken.
func (s *Server) describeBounds() {
	for _, of := range []struct {
		t          reflect.Type
		properties []string
	}{
		{typeOf[api.ProcessCreateRequest](), []string{"command"}},
		{typeOf[api.ProcessRunRequest](), []string{"command"}},
		{typeOf[api.SessionCreateRequest](), []string{"agent"}},
		{typeOf[api.SessionConfigOptionRequest](), []string{"configId"}},
		{typeOf[api.FileMoveRequest](), []string{"from", "to"}},
		{typeOf[api.FileBatchItem](), []string{"path"}},
	} {
		for _, property := range of.properties {
			s.router.Bounded(of.t, property, "minLength", 1)
		}
	}
	for _, property := range []string{"maxConcurrentProcesses", "defaultRunTimeoutMs", "maxRunTimeoutMs", "maxOutputBytes", "maxLogBytesPerProcess", "maxInputBytesPerRequest"} {
		s.router.Bounded(typeOf[api.ProcessConfigPatch](), property, "minimum", 1)
	}
}
