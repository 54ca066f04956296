package server

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// configNoun is what the routes of one kind of stored configuration differ in.
type configNoun struct {
	noun  string // last part of the path
	label string // of operation ids
	name  string // query parameter for the entry, and its other name
	alias string
	what  string
}

// configRoutes are the routes of stored configuration.
func (s *Server) configRoutes(set *settings.Settings) {
	configNounRoutes[api.MCPServers](s, set.MCP,
		configNoun{"mcp", "MCPConfig", "mcpName", "mcp_name", "MCP server"},
		func(all map[string]api.MCPServer) api.MCPServers { return api.MCPServers{Servers: all} })
	configNounRoutes[api.SkillsSet](s, set.Skills,
		configNoun{"skills", "SkillsConfig", "skillName", "skill_name", "skills entry"},
		func(all map[string]api.SkillsConfig) api.SkillsSet { return api.SkillsSet{Skills: all} })
}

// configNounRoutes registers the routes of a kind. With a name they are about
// one entry, without one about all entries of the directory, and without a
// directory about those of the server's own. Only the older path of DELETE
// removes all, so that a forgotten name does not.
func configNounRoutes[Whole, Entry any](s *Server, set *settings.Set[Entry], n configNoun, whole func(map[string]Entry) Whole) {
	either := map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{OneOf: []*huma.Schema{
		s.schema(typeOf[Entry]()), s.schema(typeOf[Whole]()),
	}}}}
	directory := &huma.Param{Name: "directory", In: "query", Description: "Configured directory; the server's own when absent", Schema: &huma.Schema{Type: "string", MinLength: one}}
	name := &huma.Param{Name: n.name, In: "query", Description: "Name of the " + n.what + "; all of the directory when absent. " + n.alias + " is accepted too.", Schema: &huma.Schema{Type: "string", MinLength: one}}
	required := *name
	required.Required = true
	required.Description = "Name of the " + n.what + ". " + n.alias + " is accepted too."
	path := "/v1/config/" + n.noun

	get := op("get"+n.label, http.MethodGet, path, "config", "Read a stored "+n.what+", or all of a directory")
	get.Parameters = []*huma.Param{directory, name}
	get.Responses = map[string]*huma.Response{"200": {Description: "The entry, or the set", Content: either}}
	s.handle(get, func(w http.ResponseWriter, r *http.Request) error {
		q, err := readConfigQuery(r, n)
		if err != nil {
			return err
		}
		if q.named {
			entry, err := set.Get(q.directory, q.name)
			if err != nil {
				return err
			}
			return httpkit.Reply(w, http.StatusOK, entry, nil)
		}
		all, err := set.All(q.directory)
		if err != nil {
			return err
		}
		return httpkit.Reply(w, http.StatusOK, whole(all), nil)
	})

	put := op("put"+n.label, http.MethodPut, path, "config", "Store a "+n.what+", or replace all of a directory")
	put.Parameters = []*huma.Param{directory, name}
	put.RequestBody = &huma.RequestBody{Required: true, Content: either}
	put.Responses = map[string]*huma.Response{"204": {Description: "Stored"}}
	s.handle(put, func(w http.ResponseWriter, r *http.Request) error {
		q, err := readConfigQuery(r, n)
		if err != nil {
			return err
		}
		data, err := s.readConfig(w, r)
		if err != nil {
			return err
		}
		if q.named {
			err = set.Put(r.Context(), q.directory, q.name, data)
		} else {
			err = set.Replace(r.Context(), q.directory, data)
		}
		return httpkit.NoContent(w, err)
	})

	remove := op("delete"+n.label, http.MethodDelete, path, "config", "Remove a stored "+n.what)
	remove.Parameters = []*huma.Param{directory, &required}
	remove.Responses = map[string]*huma.Response{"204": {Description: "Removed, or there was none"}}
	s.handle(remove, func(w http.ResponseWriter, r *http.Request) error {
		q, err := readConfigQuery(r, n)
		if err != nil {
			return err
		}
		if !q.named {
			return missingQuery(n.name)
		}
		return httpkit.NoContent(w, set.Delete(r.Context(), q.directory, q.name))
	})

	clearAll := op("clear"+n.label, http.MethodDelete, "/v1/"+n.noun, "config", "Remove a "+n.what+", or all of a directory")
	clearAll.Description = "Without a name it removes the file of the directory, even one that cannot be read."
	clearAll.Parameters = []*huma.Param{directory, name}
	clearAll.Responses = map[string]*huma.Response{"204": {Description: "Removed, or there was none"}}
	s.handle(clearAll, func(w http.ResponseWriter, r *http.Request) error {
		q, err := readConfigQuery(r, n)
		if err != nil {
			return err
		}
		if q.named {
			return httpkit.NoContent(w, set.Delete(r.Context(), q.directory, q.name))
		}
		return httpkit.NoContent(w, set.Clear(r.Context(), q.directory))
	})
}

type configQuery struct {
	directory, name string
	named           bool
}

func readConfigQuery(r *http.Request, n configNoun) (configQuery, error) {
	var q configQuery
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, api.InvalidRequest(api.CodeInvalidQuery, "query does not parse: %v", err)
	}
	if q.directory, _, err = oneOf(values, "directory"); err != nil {
		return q, err
	}
	q.name, q.named, err = oneOf(values, n.name, n.alias)
	if err == nil && !utf8.ValidString(q.name) { // JSON could not distinguish it from others
		err = api.InvalidRequest(api.CodeInvalidQuery, "'%s' is not text", n.name)
	}
	return q, err
}

// oneOf returns the parameter that goes by one of several names. It may be
// absent, but neither blank nor there twice.
func oneOf(values url.Values, names ...string) (value string, found bool, err error) {
	for _, name := range names {
		for _, v := range values[name] {
			if found {
				return "", false, api.InvalidRequest(api.CodeInvalidQuery, "duplicate field `%s`", names[0])
			}
			if strings.TrimSpace(v) == "" {
				return "", false, missingQuery(names[0])
			}
			value, found = v, true
		}
	}
	return value, found, nil
}

func missingQuery(name string) error {
	return api.InvalidRequest(api.CodeInvalidQuery, "missing required '%s' query parameter", name)
}

func (s *Server) readConfig(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := wantJSON(r); err != nil {
		return nil, err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, s.limits.MaxBodyBytes))
}

// wantJSON refuses a body of another type.
func wantJSON(r *http.Request) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		text := "content-type must be application/json"
		return api.NewError(api.KindUnsupportedMediaType, "", "%s", text).With("message", text)
	}
	return nil
}

// readContent reads a body that is meant for an agent, which may be larger than
// others.
func (s *Server) readContent(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := s.limits.MaxContentBytes
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, api.TooLarge("maxContentBytes", limit)
	}
	return data, err
}
