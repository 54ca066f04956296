package cli

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
)

func newFSCopy(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "cp FROM... TO",
		Short: "Copy files and directories into, out of, or within a sandbox",
		Long: `Copy files and directories into, out of, or within a sandbox. A path of the sandbox
starts with a colon, as in :src/main.go; the others are of this machine, where
./:name is a file whose name has the colon. A single - is standard input or output.

Directories are copied with all they contain. When TO is a directory, or ends with a
slash, the copy gets the name of FROM in it; a FROM that ends with /. means what
is in the directory. Permissions are kept. Files that are there are replaced.`,
		Example: `  sandbox-agent fs cp main.go :src/
  sandbox-agent fs cp :src/. backup
  sandbox-agent fs cp :log - | less`,
		Args: arguments(2, -1),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			return g.copyAll(ctx, c, args[:len(args)-1], args[len(args)-1])
		}),
	}
}

// place is one end of a copy.
type place struct {
	side  side
	name  string // as given, without the colon
	slash bool   // it was given as a directory
}

// side is one of the two file systems that cp knows.
type side interface {
	stat(name string) (fs.FileInfo, error)
	open(name string) (io.ReadCloser, error)
	put(name string, r io.Reader, mode fs.FileMode) error
	pack(name string) (io.ReadCloser, error) // as a tar archive
	unpack(name string, r io.Reader) error
	join(dir, name string) string
}

func (g *globals) placeOf(ctx context.Context, c *sandboxagent.Client, arg string) place {
	if name, ok := strings.CutPrefix(arg, ":"); ok {
		return place{sandboxSide{g, ctx, c}, name, name == "" || strings.HasSuffix(name, "/")}
	}
	if arg == "-" {
		return place{stdSide{g}, arg, false}
	}
	return place{localSide{g}, arg, strings.HasSuffix(arg, "/")}
}

func (g *globals) copyAll(ctx context.Context, c *sandboxagent.Client, from []string, to string) error {
	target := g.placeOf(ctx, c, to)
	inSandbox := strings.HasPrefix(to, ":")
	for _, arg := range from {
		inSandbox = inSandbox || strings.HasPrefix(arg, ":")
	}
	if !inSandbox {
		return usagef("neither side is in the sandbox; its paths start with a colon, as in :%s", to)
	}
	info, err := target.side.stat(target.name)
	isDir := target.slash || err == nil && info.IsDir()
	if len(from) > 1 && !isDir {
		return usagef("%s is not a directory, so only one can be copied to it", to)
	}
	for _, arg := range from {
		if err := copyOne(g.placeOf(ctx, c, arg), target, isDir); err != nil {
			return fmt.Errorf("copy %s: %w", arg, err)
		}
	}
	return nil
}

func copyOne(from, to place, isDir bool) error {
	info, err := from.side.stat(from.name)
	if err != nil {
		return err
	}
	name := to.name
	// What has no name of its own is copied as what it holds.
	base := path.Base(strings.TrimRight(filepath.ToSlash(from.name), "/"))
	contents := base == "." || base == ".." || base == "/" || strings.HasSuffix(from.name, "/.")
	if isDir && !contents {
		name = to.side.join(name, base)
	}
	if info.IsDir() {
		archive, err := from.side.pack(from.name)
		if err != nil {
			return err
		}
		return errors.Join(to.side.unpack(name, archive), archive.Close())
	}
	file, err := from.side.open(from.name)
	if err != nil {
		return err
	}
	return errors.Join(to.side.put(name, file, info.Mode().Perm()), file.Close())
}

type sandboxSide struct {
	g   *globals
	ctx context.Context
	c   *sandboxagent.Client
}

// at returns a name as the server is given it.
func (s sandboxSide) at(name string) string { return s.g.onServer(s.ctx, s.c, orDot(name)) }

func (s sandboxSide) stat(name string) (fs.FileInfo, error) { return s.c.Stat(s.ctx, s.at(name)) }

func (s sandboxSide) open(name string) (io.ReadCloser, error) { return s.c.Open(s.ctx, s.at(name)) }

func (s sandboxSide) put(name string, r io.Reader, mode fs.FileMode) error {
	return s.c.Put(s.ctx, s.at(name), r, sandboxagent.WriteOptions{Mode: mode})
}

func (s sandboxSide) pack(name string) (io.ReadCloser, error) {
	return s.c.Download(s.ctx, s.at(name), sandboxagent.DownloadOptions{})
}

func (s sandboxSide) unpack(name string, r io.Reader) error {
	result, err := s.c.UploadTar(s.ctx, s.at(name), r)
	if err == nil {
		s.g.noteSkipped(result)
	}
	return err
}

// noteSkipped names what an upload has left out.
func (g *globals) noteSkipped(result *api.FileUploadResult) {
	for _, skipped := range result.Skipped {
		fmt.Fprintf(g.env.Err, "skipped %s: %s\n", printable(skipped.Path), skipped.Reason)
	}
}

func (s sandboxSide) join(dir, name string) string { return path.Join(dir, name) }

// orDot names the home directory of the sandbox.
func orDot(name string) string {
	if name == "" {
		return "."
	}
	return name
}

// stdSide is standard input and output, a file without a name.
type stdSide struct{ g *globals }

func (s stdSide) stat(string) (fs.FileInfo, error) { return stdInfo{}, nil }

func (s stdSide) open(string) (io.ReadCloser, error) { return io.NopCloser(s.g.env.In), nil }

func (s stdSide) put(_ string, r io.Reader, _ fs.FileMode) error {
	_, err := io.Copy(s.g.env.Out, r)
	return err
}

func (s stdSide) pack(string) (io.ReadCloser, error) { return s.open("") }

func (s stdSide) unpack(string, io.Reader) error {
	return errors.New("a directory cannot be copied to standard output; use sandbox-agent fs tar")
}

func (s stdSide) join(_, name string) string { return name }

type stdInfo struct{ fs.FileInfo }

func (stdInfo) IsDir() bool       { return false }
func (stdInfo) Mode() fs.FileMode { return 0 } // left to the server

// localSide is this machine.
type localSide struct{ g *globals }

func (l localSide) stat(name string) (fs.FileInfo, error) { return os.Stat(l.g.path(name)) }

func (l localSide) open(name string) (io.ReadCloser, error) { return os.Open(l.g.path(name)) }

func (l localSide) put(name string, r io.Reader, mode fs.FileMode) error {
	return writeFile(l.g.path(name), r, mode)
}

func (l localSide) pack(name string) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		archive := tar.NewWriter(w)
		err := archive.AddFS(os.DirFS(l.g.path(name)))
		if err == nil {
			err = archive.Close()
		}
		w.CloseWithError(err)
	}()
	return r, nil
}

func (l localSide) unpack(name string, r io.Reader) error { return extract(l.g.path(name), r) }

func (l localSide) join(dir, name string) string { return filepath.Join(dir, name) }

// writeFile replaces a file of this machine in one step, once r has ended well.
// A mode of 0 means 0644.
func writeFile(name string, r io.Reader, mode fs.FileMode) error {
	if mode == 0 {
		mode = 0o644
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return writeInto(name, r) // a device or a pipe cannot be replaced
	}
	return atomicfile.WriteFunc(name, atomicfile.Options{Mode: mode, NoSync: true}, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

func writeInto(name string, r io.Reader) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	return errors.Join(err, file.Close())
}

// extract unpacks an archive of a sandbox into a directory of this machine. What is
// in the archive is not trusted: nothing is written outside the directory, and links
// are made last, so that nothing is written through them.
func extract(dir string, r io.Reader) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(r)
	var links, dirs []*tar.Header
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(filepath.FromSlash(h.Name), 0o755)
			dirs = append(dirs, h)
		case tar.TypeReg:
			err = extractFile(root, h, archive)
		case tar.TypeSymlink:
			links = append(links, h)
		default:
			err = errors.New("neither a file, nor a directory, nor a link")
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", printable(h.Name), err)
		}
	}
	for _, h := range links {
		if err := extractLink(root, h); err != nil {
			return fmt.Errorf("unpack %s: %w", printable(h.Name), err)
		}
	}
	for _, h := range slices.Backward(dirs) { // those below first, while they can be reached
		if err := root.Chmod(filepath.FromSlash(path.Clean(h.Name)), h.FileInfo().Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

func extractFile(root *os.Root, h *tar.Header, r io.Reader) error {
	name := filepath.FromSlash(h.Name)
	if err := makeParent(root, name); err != nil {
		return err
	}
	// A file that is there may be a link, and is replaced in any case.
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	return errors.Join(err, file.Chmod(h.FileInfo().Mode().Perm()), file.Close(), root.Chtimes(name, h.ModTime, h.ModTime))
}

func extractLink(root *os.Root, h *tar.Header) error {
	name := filepath.FromSlash(h.Name)
	if err := makeParent(root, name); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.Symlink(h.Linkname, name)
}

func makeParent(root *os.Root, name string) error {
	if dir := filepath.Dir(name); dir != "." {
		return root.MkdirAll(dir, 0o755)
	}
	return nil
}
