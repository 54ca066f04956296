// Package user is about the user that agents and processes run as, when that is not the
// one of the server. It looks the user up, makes an environment for it, and does things
// to files with its rights.
//
// Users and groups come from the files /etc/passwd and /etc/group.
package user

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// User is an account of this machine. Nil is the user of this program.
type User struct {
	Name     string // or its number, if it has no name
	UID, GID uint32
	Groups   []uint32 // all of them
	Home     string   // a directory that the user can write to; see [User.SetHome]
}

// Lookup returns the user of a name or a number, which may be followed by a colon and
// the name or number of its group. A number needs no entry in /etc/passwd. Root is
// refused.
func Lookup(text string) (*User, error) {
	name, groupName, hasGroup := strings.Cut(text, ":")
	account, err := user.Lookup(name)
	if _, isNumber := parseID(name); err != nil && isNumber {
		account, err = user.LookupId(name)
		if err != nil {
			account, err = &user.User{Uid: name, Gid: name, Username: name}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("user %q does not exist on this machine: create it, or use a number", name)
	}
	uid, okUID := parseID(account.Uid)
	gid, okGID := parseID(account.Gid)
	if !okUID || !okGID {
		return nil, fmt.Errorf("user %q has the ids %s and %s, which are not numbers of Linux", name, account.Uid, account.Gid)
	}
	u := &User{Name: account.Username, UID: uid, GID: gid, Home: account.HomeDir}
	if hasGroup {
		if u.GID, err = lookupGroup(groupName); err != nil {
			return nil, err
		}
	}
	if u.UID == 0 {
		return nil, errors.New("user root can read everything that this program can: use another user")
	}
	u.Groups = []uint32{u.GID}
	ids, _ := account.GroupIds() // one without an entry has none
	for _, id := range ids {
		if n, ok := parseID(id); ok && !hasGroup && !slices.Contains(u.Groups, n) {
			u.Groups = append(u.Groups, n)
		}
	}
	return u, nil
}

func lookupGroup(name string) (uint32, error) {
	if id, ok := parseID(name); ok {
		return id, nil
	}
	group, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %q does not exist on this machine: create it, or use a number", name)
	}
	id, _ := parseID(group.Gid)
	return id, nil
}

// parseID reads an id that the kernel takes: the highest one means none.
func parseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id < 1<<32-1
}

// SetHome gives the user a home directory that it can write to: dir, or where that is
// empty the one of its account, or else a directory of its own in fallback. A directory
// that is missing is made.
func (u *User) SetHome(dir, fallback string) error {
	if dir == "" {
		if filepath.IsAbs(u.Home) && u.Home != "/" && u.canWrite(u.Home) == nil {
			return nil
		}
		dir = filepath.Join(fallback, strconv.FormatUint(uint64(u.UID), 10))
	}
	if err := u.makeHome(dir); err != nil {
		return fmt.Errorf("home directory of user %s: %w; name another one with --agent-home", u.Name, err)
	}
	u.Home = dir
	return nil
}

// makeHome makes a directory with the rights of the user, or as root where the user may
// not; nobody else can replace it in between, then.
func (u *User) makeHome(dir string) error {
	err := u.Do(func() error { return os.MkdirAll(dir, 0o700) })
	if errors.Is(err, os.ErrPermission) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
			if err = os.Mkdir(dir, 0o700); err == nil {
				err = os.Lchown(dir, int(u.UID), int(u.GID))
			} else if errors.Is(err, os.ErrExist) {
				err = nil
			}
		}
	}
	if err != nil {
		return err
	}
	return u.canWrite(dir)
}

// canWrite reports why the user cannot write to a directory.
func (u *User) canWrite(dir string) error {
	return u.Do(func() error {
		probe, err := os.CreateTemp(dir, ".sandbox-agent-*")
		if err != nil {
			return err
		}
		return errors.Join(probe.Close(), os.Remove(probe.Name()))
	})
}

// personal are the variables that belong to the user of this program, besides those that
// Environ sets.
var personal = []string{"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "MAIL"}

// Environ returns an environment of this program as the user has it.
func (u *User) Environ(env []string) []string {
	if u == nil {
		return env
	}
	own := []string{"HOME=" + u.Home, "USER=" + u.Name, "LOGNAME=" + u.Name}
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(personal, name) || name == "HOME" || name == "USER" || name == "LOGNAME"
	})
	return append(env, own...)
}

// CannotWrite returns an error if the user could replace path, since it owns a directory
// above it or may write to one.
func (u *User) CannotWrite(path string) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if u.mayReplaceIn(dir) {
			return fmt.Errorf("user %s can write to %s, and so replace %s: use another directory", u.Name, dir, path)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
