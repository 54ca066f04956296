package session

import (
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// decodeRecord reads a stored record. Rules of earlier builds that no longer mean
// what they said are left out and returned: those by the title of a call, which
// the agent chooses, and those that allow without saying what.
func decodeRecord(data []byte) (rec record, dropped []api.PermissionRule, err error) {
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, nil, err
	}
	if rec.Version == 0 { // written with each change, by the same rules as version 1
		rec.Version, rec.Applied = 1, rec.Last
	}
	type titled struct {
		Title string `json:"title"`
	}
	var titles struct {
		Policy struct {
			Rules []titled `json:"rules"`
		} `json:"policy"`
		Remembered []titled `json:"remembered"`
	}
	if err := json.Unmarshal(data, &titles); err != nil {
		return rec, nil, err
	}
	keep := func(rules []api.PermissionRule, titles []titled) (kept []api.PermissionRule) {
		for i, r := range rules {
			if titles[i].Title != "" || permission.AllowsAll(r) {
				dropped = append(dropped, r)
			} else {
				kept = append(kept, r)
			}
		}
		return kept
	}
	if rec.Policy != nil {
		rec.Policy.Rules = keep(rec.Policy.Rules, titles.Policy.Rules)
	}
	rec.Remembered = keep(rec.Remembered, titles.Remembered)
	return rec, dropped, nil
}
