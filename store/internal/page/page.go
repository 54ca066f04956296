// Package page is what the stores have in common about pages.
package page

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// Limit is how many a page has when nobody says.
const Limit = 100

// A Key is where a session stands in the order of all.
type Key struct {
	At int64 // when it was created
	ID string
}

// KeyOf returns the key of a session.
func KeyOf(s api.Session) Key { return Key{s.CreatedAt, s.ID} }

// Compare orders sessions by time of creation, then id.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.At, other.At), cmp.Compare(k.ID, other.ID))
}

// Cursor returns the key as a cursor: what comes next is behind it.
func (k Key) Cursor() string { return strconv.FormatInt(k.At, 10) + "~" + k.ID }

// Parse reads a cursor; ok is false for the empty one, which is the start.
func Parse(cursor string) (k Key, ok bool, err error) {
	if cursor == "" {
		return Key{}, false, nil
	}
	at, id, found := strings.Cut(cursor, "~")
	if k.At, err = strconv.ParseInt(at, 10, 64); err != nil || !found {
		return Key{}, false, fmt.Errorf("cursor %q is none that a page has given", cursor)
	}
	k.ID = id
	return k, true, nil
}
