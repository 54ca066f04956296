package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sandboxagent/sandboxagent/api"
)

// Resolve applies the path rule: an absolute path stays as it is, a relative
// one is joined to home and may not have "..", an empty one is home. A tilde is
// an ordinary character. Answers repeat the path in this form.
func (f *FS) Resolve(path string) (string, error) {
	if err := api.RefuseNUL(api.CodeInvalidPath, "path", path); err != nil {
		return "", err
	}
	if strings.HasPrefix(path, "/") {
		return path, nil
	}
	rel, err := cleanRelative(path)
	if err != nil {
		return "", err
	}
	if rel == "" {
		return f.cfg.Home, nil
	}
	return join(f.cfg.Home, rel), nil
}

// cleanRelative drops empty and "." parts of path and refuses absolute paths
// and "..". The result has no slash at its ends and may be empty.
func cleanRelative(path string) (string, error) {
	if strings.HasPrefix(path, "/") {
		return "", invalidRelative(path)
	}
	parts := strings.Split(path, "/")
	kept := parts[:0]
	for _, p := range parts {
		switch p {
		case "", ".":
		case "..":
			return "", invalidRelative(path)
		default:
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "/"), nil
}

func invalidRelative(path string) error {
	return api.InvalidRequest(api.CodeInvalidPath, "invalid relative path: %s", path).With("path", path)
}

// join appends a name to a directory without cleaning either: dropping ".."
// lexically would name another file where symbolic links are about.
func join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}

// trimSlash drops slashes at the end, so that a link is meant and not what it
// points at.
func trimSlash(path string) string {
	for len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

// parent returns the directory that holds path, without following anything.
func parent(path string) string {
	path = trimSlash(path)
	return trimSlash(path[:strings.LastIndexByte(path, '/')+1])
}

// maxLinks is how many links the kernel follows before it gives up.
const maxLinks = 40

// followLinks returns where a write to path ends up when path is a symbolic
// link, even a broken one, and path itself otherwise.
func followLinks(path string) (string, error) {
	for range maxLinks {
		target, err := os.Readlink(path)
		if err != nil {
			if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrNotExist) {
				return path, nil
			}
			return "", err
		}
		if filepath.IsAbs(target) {
			path = target
		} else {
			path = join(parent(path), target)
		}
	}
	return "", syscall.ELOOP
}

// makeDirs makes path and what is missing above it, as mkdir -p does, and
// returns the directories it made, outermost first. On an error it has removed them
// again. It fails with EEXIST when path is something else.
func makeDirs(path string) ([]string, error) {
	err := os.Mkdir(path, 0o777)
	if err == nil {
		return []string{path}, nil
	}
	if isDir(path) {
		return nil, nil
	}
	up := parent(path)
	if !errors.Is(err, fs.ErrNotExist) || up == path {
		return nil, err
	}
	made, err := makeDirs(up)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o777); err == nil {
		return append(made, path), nil
	} else if !isDir(path) {
		removeDirs(made)
		return nil, err
	}
	return made, nil
}

// missingDirs returns what makeDirs would have to make, outermost first.
func missingDirs(path string) []string {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return append(missingDirs(parent(path)), path)
}

// removeDirs removes directories that makeDirs made, unless they are in use.
func removeDirs(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		if syscall.Rmdir(made[i]) != nil {
			return
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// parseMode reads permission bits in octal; at most 0777.
func parseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return 0, api.InvalidRequest(api.CodeInvalidMode, "invalid mode: %s (want octal permission bits up to 0777)", s)
	}
	return fs.FileMode(n), nil
}

// ParseMode reads permission bits in octal, such as 0644 or 755. An empty
// string gives nil, which means no wish.
func ParseMode(s string) (*fs.FileMode, error) {
	if s == "" {
		return nil, nil
	}
	mode, err := parseMode(s)
	if err != nil {
		return nil, err
	}
	return &mode, nil
}

// guard refuses to remove or replace the root directory, home and what home is in.
// It compares files, not names, so that /proc/self/root does not get around it.
func (f *FS) guard(info fs.FileInfo, path string) error {
	for dir := f.cfg.Home; ; dir = parent(dir) {
		if held, err := os.Stat(dir); err == nil && os.SameFile(info, held) {
			return api.InvalidRequest(api.CodeProtectedPath, "refusing to remove %s: it is the root directory, the home directory or above it", path).With("path", path)
		}
		if dir == "/" || dir == "" {
			return nil
		}
	}
}
