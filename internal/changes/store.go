package changes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/git"
	"github.com/sandboxagent/sandboxagent/internal/ignore"
)

// A Store keeps the contents of trees, in a bare repository of its own that nothing
// but this package writes. One goroutine or process at a time may scan into a store;
// any number may read.
type Store struct {
	git git.Git
	dir string
}

// Create makes a store in the directory dir, which must not exist.
func Create(g git.Git, dir string) (*Store, error) { return create(g, dir, "") }

// Open returns the store in dir. It does no I/O.
func Open(g git.Git, dir string) *Store { return &Store{g, dir} }

// branch makes a store in dir that has the base of s as well, for trees that are not
// to be kept.
func (s *Store) branch(dir string) (*Store, error) {
	base, err := os.ReadFile(filepath.Join(s.dir, refBase))
	if err != nil {
		return nil, err
	}
	b, err := create(s.git, dir, filepath.Join(s.dir, "objects")+"\n")
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "refs", "trees"), 0o700); err != nil {
		return nil, err
	}
	return b, os.WriteFile(filepath.Join(dir, refBase), base, 0o600)
}

// create lays out a bare repository, see [gitrepository-layout(5)].
//
// [gitrepository-layout(5)]: https://git-scm.com/docs/gitrepository-layout
func create(g git.Git, dir, alternates string) (*Store, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{"objects", "objects/info", "refs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{
		"HEAD":                    "ref: refs/heads/none\n",
		"config":                  "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tcompression = 1\n",
		"objects/info/alternates": alternates,
	} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return &Store{g, dir}, nil
}

// run runs git on the store alone.
func (s *Store) run(ctx context.Context, in io.ReadCloser, out io.Writer, args ...string) error {
	return s.git.Run(ctx, git.Command{Args: args, Dir: s.dir, GitDir: s.dir, Stdin: in, Stdout: out, Plain: true})
}

// The names that trees have in a store.
const (
	refBase = "refs/trees/base"
	refNow  = "refs/trees/now"
)

// scan records the tree of the directory dir, and names what git is to see of it: the
// files and links that the function which has returns selects.
func (s *Store) scan(ctx context.Context, dir string, opts ScanOptions, ref string, has func(*Tree) func(Entry) bool) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	tree := &Tree{}
	scan := &scanner{ctx: ctx, opts: opts, tree: tree, done: counter{report: opts.Progress}}
	if opts.Known != nil {
		scan.known = opts.Known.index()
	}
	err = s.fill(ctx, func(out *bufio.Writer) error {
		scan.out = out
		if err := scan.scan(root, "", ignore.New(nil, "", opts.Exclude), false, 0); err != nil {
			return err
		}
		tree.sort()
		commit(out, ref, tree, has(tree))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tree, nil
}

// commit gives a name to what git compares. Flush returns the errors.
func commit(out *bufio.Writer, ref string, tree *Tree, has func(Entry) bool) {
	fmt.Fprintf(out, "commit %s\ncommitter sandbox-agent <> 0 +0000\ndata 0\ndeleteall\n", ref)
	for _, e := range tree.Entries {
		if !e.Mode.IsDir() && has(e) {
			fmt.Fprintf(out, "M %s %s %s\n", gitMode(e.Mode), e.Hash, quote(e.Path))
		}
	}
}

// kept selects what the store of a base has the content of.
func kept(e Entry) bool { return !e.Ignored }

// fill runs git fast-import, which takes what write writes, see [git-fast-import(1)].
//
// [git-fast-import(1)]: https://git-scm.com/docs/git-fast-import
func (s *Store) fill(ctx context.Context, write func(*bufio.Writer) error) error {
	read, pipe := io.Pipe()
	written := make(chan error, 1)
	go func() {
		out := bufio.NewWriterSize(pipe, 64<<10)
		err := write(out)
		if err == nil {
			_, _ = out.WriteString("done\n") // Flush returns its error
			err = out.Flush()
		}
		pipe.CloseWithError(err)
		written <- err
	}()
	err := s.run(ctx, read, nil, "fast-import", "--quiet", "--done", "--force", "--date-format=raw")
	read.Close()
	if failed := <-written; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		return failed
	}
	return err
}

func gitMode(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "120000"
	case mode&0o111 != 0:
		return "100755"
	}
	return "100644"
}

// quote writes a path as fast-import reads it.
func quote(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}

// contents calls each with the content of every blob, in the order of the hashes.
// Each must read its content within the call; what it leaves is skipped.
func (s *Store) contents(ctx context.Context, hashes []string, each func(i int, size int64, content io.Reader) error) error {
	if len(hashes) == 0 {
		return nil
	}
	read, pipe := io.Pipe()
	handled := make(chan error, 1)
	go func() {
		err := readBlobs(bufio.NewReaderSize(read, 64<<10), hashes, each)
		read.CloseWithError(err)
		handled <- err
	}()
	list := io.NopCloser(strings.NewReader(strings.Join(hashes, "\n") + "\n"))
	err := s.run(ctx, list, pipe, "cat-file", "--batch", "--buffer")
	pipe.Close()
	if failed := <-handled; failed != nil && (err == nil || !errors.Is(failed, io.ErrUnexpectedEOF)) {
		return failed
	}
	return err
}

// readBlobs reads what git cat-file --batch writes, see [git-cat-file(1)].
//
// [git-cat-file(1)]: https://git-scm.com/docs/git-cat-file#_batch_output
func readBlobs(in *bufio.Reader, hashes []string, each func(i int, size int64, content io.Reader) error) error {
	for i, hash := range hashes {
		line, err := in.ReadString('\n')
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		var name, kind string
		var size int64
		if _, err := fmt.Sscan(line, &name, &kind, &size); err != nil || name != hash || kind != "blob" {
			return fmt.Errorf("the store does not have %s: %s", hash, strings.TrimSpace(line))
		}
		content := io.LimitReader(in, size)
		if err := each(i, size, content); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		if _, err := in.Discard(1); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// moveObjects moves what the store of the comparison has into another directory of
// objects: loose ones and packs, the index of a pack last.
func (c *Comparison) moveObjects(to string) error {
	from := filepath.Join(c.store.dir, "objects")
	var names, indexes []string
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir() || d.Name() == "alternates":
		case filepath.Ext(name) == ".idx":
			indexes = append(indexes, name)
		default:
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range append(names, indexes...) {
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		if err := os.Mkdir(filepath.Dir(target), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Rename(name, target); err != nil {
			return err
		}
	}
	return nil
}
