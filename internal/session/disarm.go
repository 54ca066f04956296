package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
)

// disarm takes out of a record that was imported what would start programs, or
// allow an agent something, by the word of the file: all parts that are not in
// keep. It returns what it has taken.
func (r *record) disarm(keep []string) (dropped []api.ImportDropped) {
	drop := func(part string, names []string, clear func()) {
		if len(names) == 0 || slices.Contains(keep, part) {
			return
		}
		clear()
		dropped = append(dropped, api.ImportDropped{Session: r.ID, Part: part, Names: names})
	}
	drop(api.ImportEnv, slices.Sorted(maps.Keys(r.Env)), func() { r.Env = nil })
	var servers []string
	for _, s := range r.MCPServers {
		servers = append(servers, s.Name)
	}
	drop(api.ImportMCP, servers, func() { r.MCPServers = nil })
	drop(api.ImportPolicy, policyNames(r.Policy), func() { r.Policy = &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAsk)} })
	var rules []string
	for _, rule := range r.Remembered {
		rules = append(rules, rule.ID)
	}
	drop(api.ImportRules, rules, func() { r.Remembered = nil })
	settings := slices.DeleteFunc(slices.Sorted(maps.Keys(r.Chosen)), func(key string) bool { return key == chosenModel })
	drop(api.ImportSettings, settings, func() {
		maps.DeleteFunc(r.Chosen, func(key, _ string) bool { return key != chosenModel })
	})
	return dropped
}

// policyNames says what a policy has that decides anything.
func policyNames(p *api.PermissionPolicy) (names []string) {
	if p == nil {
		return nil
	}
	for _, kind := range slices.Sorted(maps.Keys(p.Default)) {
		if d := p.Default[kind]; d != api.DecideAsk {
			names = append(names, "default "+d+" for "+kind)
		}
	}
	if n := len(p.Rules); n > 0 {
		names = append(names, fmt.Sprintf("%d rules", n))
	}
	if p.ExpireAfter > 0 {
		names = append(names, "expireAfterMs")
	}
	return names
}

// configured returns the names of what a stored configuration has.
func configured(data []byte) (names []string) {
	var sets map[string]map[string]json.RawMessage
	if json.Unmarshal(data, &sets) != nil {
		return []string{"?"}
	}
	for _, set := range sets {
		names = slices.AppendSeq(names, maps.Keys(set))
	}
	slices.Sort(names)
	return names
}
