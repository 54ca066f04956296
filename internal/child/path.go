package child

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// StandardPath is where programs are looked for in an environment without PATH, or with
// an empty one, which would mean the working directory.
const StandardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// WithPath returns an environment that has a PATH: the same one, or a longer copy.
func WithPath(env []string) []string {
	if LookupEnv(env, "PATH") != "" {
		return env
	}
	return append(slices.Clip(env), "PATH="+StandardPath)
}

// lookPath finds a program as the child would: in the PATH of its environment,
// absolute directories only.
func lookPath(file string, env []string) (string, error) {
	if file == "" {
		return "", errors.New("find program: empty name")
	}
	if env == nil || strings.ContainsRune(file, filepath.Separator) {
		if !strings.ContainsRune(file, filepath.Separator) {
			return exec.LookPath(file)
		}
		return file, nil
	}
	for _, dir := range filepath.SplitList(cmp.Or(LookupEnv(env, "PATH"), StandardPath)) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, file)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", &fs.PathError{Op: "find program", Path: file, Err: exec.ErrNotFound}
}

// LookupEnv returns the value of the last entry for key, which is the one that
// counts.
func LookupEnv(env []string, key string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], key+"="); ok {
			return value
		}
	}
	return ""
}
