package changes

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/internal/git"
)

// merge joins a file that changed on both sides, and reports whether that could be
// done, see [git-merge-file(1)].
//
// [git-merge-file(1)]: https://git-scm.com/docs/git-merge-file
func (p *plan) merge(ctx context.Context, s *step) (bool, error) {
	if s.was.Ignored || !s.was.Mode.IsRegular() || !s.now.Mode.IsRegular() || !s.found.Mode.IsRegular() || s.was.missing() || s.now.missing() || s.found.missing() {
		return false, nil
	}
	if s.now.Mode == s.was.Mode {
		s.now.Mode = s.found.Mode
	}
	if s.found.Hash == s.was.Hash || s.now.Hash == s.was.Hash { // the lines of one side alone
		if s.now.Hash == s.was.Hash {
			s.now.Hash = s.found.Hash
			s.content = filepath.Join(p.c.dir, "merge-"+s.found.Hash)
			return true, p.copyOut(s.path, s.content)
		}
		return true, nil
	}
	dir, err := os.MkdirTemp(p.c.dir, "merge")
	if err != nil {
		return false, err
	}
	names := []string{filepath.Join(dir, "ours"), filepath.Join(dir, "base"), filepath.Join(dir, "theirs")}
	if err := p.copyOut(s.path, names[0]); err != nil {
		return false, err
	}
	err = p.c.store.contents(ctx, []string{s.was.Hash, s.now.Hash}, func(i int, _ int64, content io.Reader) error {
		return writeNew(names[i+1], content)
	})
	if err != nil {
		return false, err
	}
	merged := filepath.Join(dir, "merged")
	out, err := os.OpenFile(merged, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	defer out.Close()
	err = p.c.store.git.Run(ctx, git.Command{
		Args: []string{"merge-file", "-p", "ours", "base", "theirs"}, Dir: dir, GitDir: p.c.store.dir, Stdout: out, Plain: true,
	})
	if ctx.Err() != nil {
		return false, err
	}
	if err != nil {
		return false, nil // lines conflict, or it is no text
	}
	s.content = merged
	return true, out.Close()
}

// copyOut copies a file of the target.
func (p *plan) copyOut(name, to string) error {
	info, err := p.root.Lstat(name)
	if err != nil {
		return err
	}
	file, err := openFile(p.root, name, info)
	if err != nil {
		return err
	}
	defer file.Close()
	return writeNew(to, file)
}

func writeNew(name string, content io.Reader) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
