package session

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// Query says which sessions to list. Zeros mean all, the first page, and 100 on
// a page.
type Query struct {
	Status string
	Agent  string
	Text   string // in title, first prompt, ids or directory, whatever the case
	Page   int
	Limit  int
	Cursor string // as an earlier page gave it; counts before Page
}

// maxPage bounds what is on one page.
const maxPage = 1000

// List returns the sessions that match, the newest first.
func (m *Manager) List(q Query) (*api.SessionList, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	q.Limit, q.Page = min(q.Limit, maxPage), max(q.Page, 1)
	text := strings.ToLower(q.Text)
	var found []*session
	for _, s := range m.all() {
		if s.matches(q, text) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, newestFirst)
	out := &api.SessionList{Sessions: []api.Session{}, Page: q.Page, PerPage: q.Limit, Total: len(found)}
	from := len(found)
	if q.Page-1 <= len(found)/q.Limit { // a later page would overflow
		from = min((q.Page-1)*q.Limit, len(found))
	}
	if q.Cursor != "" {
		at, id, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, err
		}
		from, _ = slices.BinarySearchFunc(found, &session{id: id, rec: record{CreatedAt: at}}, newestFirst)
		if from < len(found) && found[from].id == id {
			from++
		}
		out.Page = from/q.Limit + 1
	}
	to := min(from+q.Limit, len(found))
	for _, s := range found[from:to] {
		out.Sessions = append(out.Sessions, s.describe())
	}
	if to < len(found) && to > from {
		last := found[to-1]
		out.NextCursor = strconv.FormatInt(last.rec.CreatedAt, 10) + "~" + last.id
	}
	return out, nil
}

// newestFirst orders sessions by what never changes of them.
func newestFirst(a, b *session) int {
	return cmp.Or(cmp.Compare(b.rec.CreatedAt, a.rec.CreatedAt), cmp.Compare(b.id, a.id))
}

func parseCursor(cursor string) (at int64, id string, err error) {
	first, id, ok := strings.Cut(cursor, "~")
	if at, err = strconv.ParseInt(first, 10, 64); err != nil || !ok {
		return 0, "", api.InvalidRequest(api.CodeInvalidCursor, "cursor is none that a list has given: %q", cursor)
	}
	return at, id, nil
}

func (s *session) matches(q Query, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.rec
	if q.Agent != "" && q.Agent != r.Agent || q.Status != "" && q.Status != s.status() {
		return false
	}
	if text == "" {
		return true
	}
	for _, field := range []string{r.title(), r.First, r.ID, r.AgentSessionID, r.CWD} {
		if strings.Contains(strings.ToLower(field), text) {
			return true
		}
	}
	return false
}
