package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent"
)

// Users name sessions and processes by the beginning of an id. It is made out
// here: the server takes whole ids, so that what a program sends means one thing
// for ever. What goes wrong while an id is made out is left to the call that uses
// it, which knows whether to wait for a server that is away.

// findSession returns the session that a user means: by its id, by that of its
// agent, or by a beginning that no other session has. Where no server was named, it
// is looked for on that of the client first, and then in the other places where
// sessions of this user are. The error is that several begin so.
func (g *globals) findSession(ctx context.Context, client *sandboxagent.Client, id string) (*sandboxagent.Session, error) {
	session, found, err := findOn(ctx, client, id)
	if found || err != nil || g.givenEndpoint() != "" {
		return session, err
	}
	other, err := g.findElsewhere(ctx, client, id)
	if other == nil && err == nil {
		return session, nil
	}
	return other, err
}

// findOn is findSession on one server. A session that is not found has the id as it
// is, and so has one of a server whose answer is for the call that uses it.
func findOn(ctx context.Context, client *sandboxagent.Client, id string) (session *sandboxagent.Session, found bool, err error) {
	_, err = client.Session(id).Info(ctx)
	if !errors.Is(err, sandboxagent.ErrSessionNotFound) {
		return client.Session(id), !undialled(err), nil
	}
	var ids []string
	for s, err := range client.Sessions(ctx, sandboxagent.SessionFilter{Text: id}) {
		if err != nil {
			return client.Session(id), true, nil
		}
		if begins(id, s.ID) || begins(id, s.AgentSessionID) {
			ids = append(ids, s.ID)
		}
	}
	whole, err := only("session", id, ids)
	return client.Session(whole), len(ids) > 0, err
}

// findProcess returns the process that a user means: by its id, or by a beginning
// that no other process has. The error is that several begin so.
func findProcess(ctx context.Context, client *sandboxagent.Client, id string) (*sandboxagent.Process, error) {
	all, err := client.Processes(ctx, "")
	if err != nil {
		return client.Process(id), nil
	}
	var found []string
	for _, p := range all {
		if p.ID == id {
			return client.Process(id), nil
		}
		if begins(id, p.ID) {
			found = append(found, p.ID)
		}
	}
	whole, err := only("process", id, found)
	return client.Process(whole), err
}

// maxNamed is how many ids an error names.
const maxNamed = 5

// only returns the one id that has a beginning. Where none has, the beginning is
// taken for a whole id, of which the server says that it does not exist.
func only(noun, beginning string, ids []string) (string, error) {
	switch len(ids) {
	case 0:
		return beginning, nil
	case 1:
		return ids[0], nil
	}
	slices.Sort(ids)
	more := ""
	if len(ids) > maxNamed {
		more = fmt.Sprintf(" and %d more", len(ids)-maxNamed)
		ids = ids[:maxNamed]
	}
	return "", fmt.Errorf("%s id %q is ambiguous, as several begin with it: %s%s; give more of it", noun, beginning, strings.Join(ids, ", "), more)
}

// begins reports whether a user may mean an id by its beginning. Ids that users
// choose, and numbered ones, are not meant by what looks like a whole one: nobody
// who stops proc_1 means proc_10, and nobody who ends nightly means nightly-2.
func begins(beginning, id string) bool {
	rest, ok := strings.CutPrefix(id, beginning)
	switch {
	case !ok || beginning == "":
		return false
	case rest == "" || isRandom(id):
		return true
	}
	return !strings.ContainsRune("0123456789-_.", rune(rest[0]))
}

// isRandom reports whether an id looks like one that a program has drawn, as
// hexadecimal digits or a UUID.
func isRandom(id string) bool {
	return len(id) >= 16 && strings.Trim(id, "0123456789abcdef-") == ""
}

// shortIDs returns the beginnings that tell ids apart, of at least eight
// characters. Ids that are not drawn stay whole.
func shortIDs(ids []string) []string {
	const shortest = 8
	sorted := slices.Sorted(slices.Values(ids))
	short := make([]string, len(ids))
	for i, id := range ids {
		n := len(id)
		if isRandom(id) {
			at, _ := slices.BinarySearch(sorted, id)
			n = shortest
			for _, next := range []int{at - 1, at + 1} {
				if next >= 0 && next < len(sorted) {
					n = max(n, 1+shared(id, sorted[next]))
				}
			}
		}
		short[i] = id[:min(n, len(id))]
	}
	return short
}

// shared is how many bytes at the beginning of two ids are the same.
func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
