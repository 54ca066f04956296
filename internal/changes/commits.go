package changes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/git"
)

func (w Workspace) headFile() string { return filepath.Join(w.State, "head") }

// headOf returns the commit that is checked out in a directory of the user; empty if
// it has none.
func (w Workspace) headOf(ctx context.Context, dir string) string {
	var out bytes.Buffer
	err := w.Git.Run(ctx, git.Command{Args: []string{"rev-parse", "--verify", "--quiet", "HEAD^{commit}"}, Dir: dir, Stdout: &out})
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}

// Commits writes the commits that were made in the workspace since it was copied from
// the directory from, as git am takes them. The objects are copied into a repository
// of this package first, and git runs there: it reads nothing else that those in the
// workspace wrote.
func (w Workspace) Commits(ctx context.Context, from string, out io.Writer) error {
	head, err := os.ReadFile(w.headFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	root, err := os.OpenRoot(w.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tip, err := readHead(root)
	if err != nil {
		return api.NewError(api.KindNotSupported, "", "read the commits of the workspace: %w", err)
	}
	if len(head) == 0 || tip == string(head) {
		return nil
	}
	lock, err := filelock.Acquire(ctx, filepath.Join(w.State, "lock.commits"), nil)
	if err != nil {
		return err
	}
	defer lock.Release()
	temp := filepath.Join(w.State, "commits")
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	store, err := create(w.Git, temp, filepath.Join(from, ".git", "objects")+"\n")
	if err != nil {
		return err
	}
	if err := store.importObjects(ctx, root, filepath.Join(from, ".git", "objects")); err != nil {
		return err
	}
	return store.run(ctx, nil, out, "format-patch", "--stdout", "--binary", "--full-index", "--no-signature", "--no-ext-diff", "--no-textconv",
		string(head)+".."+tip)
}

var (
	commitForm = regexp.MustCompile(`^[0-9a-f]{40}$`)
	refForm    = regexp.MustCompile(`^refs(/[A-Za-z0-9_+@#%=,-][A-Za-z0-9._+@#%=,-]*)+$`)
	looseForm  = regexp.MustCompile(`^[0-9a-f]{2}/[0-9a-f]{38}$`)
	packForm   = regexp.MustCompile(`^pack/pack-[0-9a-f]{40}\.pack$`)
)

// maxRefs bounds what is read of a file with names of commits.
const maxRefs = 16 << 20

// readHead returns the commit that is checked out in a tree of others.
func readHead(root *os.Root) (string, error) {
	text, err := readSmallAt(root, ".git/HEAD", 4096)
	if err != nil {
		return "", err
	}
	name, symbolic := strings.CutPrefix(strings.TrimSpace(string(text)), "ref: ")
	if !symbolic {
		return checkCommit(name)
	}
	if !refForm.MatchString(name) || strings.Contains(name, "..") {
		return "", fmt.Errorf("HEAD names %.100q, which is not a branch", name)
	}
	if text, err := readSmallAt(root, ".git/"+name, 4096); err == nil {
		return checkCommit(strings.TrimSpace(string(text)))
	}
	packed, err := readSmallAt(root, ".git/packed-refs", maxRefs)
	if err != nil {
		return "", fmt.Errorf("the branch %s has no commit", name)
	}
	for line := range strings.Lines(string(packed)) {
		if commit, ref, ok := strings.Cut(strings.TrimSpace(line), " "); ok && ref == name {
			return checkCommit(commit)
		}
	}
	return "", fmt.Errorf("the branch %s has no commit", name)
}

func checkCommit(name string) (string, error) {
	if !commitForm.MatchString(name) {
		return "", fmt.Errorf("%.60q is not the name of a commit", name)
	}
	return name, nil
}

// readSmallAt is readSmall of a path, none of whose elements may be a link.
func readSmallAt(root *os.Root, name string, max int64) ([]byte, error) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		info, err := root.Lstat(dir)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is not a directory", dir)
		}
	}
	return readSmall(root, name, max)
}

// maxObjects bounds the objects that are copied, in bytes.
const maxObjects = 4 << 30

// importObjects copies the objects of a repository of others that the directory have
// does not have. Indexes of packs are made again.
func (s *Store) importObjects(ctx context.Context, root *os.Root, have string) error {
	objects, err := root.OpenRoot(".git/objects")
	if err != nil {
		return err
	}
	defer objects.Close()
	var packs []string
	left := int64(maxObjects)
	err = fs.WalkDir(objects.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		pack := packForm.MatchString(name)
		switch {
		case err != nil || ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case !d.Type().IsRegular() || !pack && !looseForm.MatchString(name):
			return nil
		}
		if _, err := os.Lstat(filepath.Join(have, name)); err == nil {
			return nil
		}
		if pack {
			packs = append(packs, filepath.Join(s.dir, "objects", name))
		}
		return copyObject(objects, name, filepath.Join(s.dir, "objects", name), &left)
	})
	if err != nil {
		return fmt.Errorf("copy the objects of the workspace's repository: %w", err)
	}
	for _, pack := range packs {
		if err := s.run(ctx, nil, nil, "index-pack", "--strict", pack); err != nil {
			return err
		}
	}
	return nil
}

func copyObject(objects *os.Root, name, to string, left *int64) error {
	info, err := objects.Lstat(name)
	if err != nil {
		return err
	}
	source, err := openFile(objects, name, info)
	if err != nil {
		return err
	}
	defer source.Close()
	if *left -= info.Size(); *left < 0 {
		return api.InvalidRequest(api.CodeLimitExceeded, "they are larger than %d bytes", int64(maxObjects))
	}
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return writeNew(to, io.LimitReader(source, info.Size()))
}
