package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

func newFS(g *globals) *cobra.Command {
	cmd := noun(g, "fs", "Work with the files of a sandbox",
		`Work with the files of a sandbox. Paths are those of the sandbox: absolute, or
relative. Only cp has paths of both sides, and there a path of the sandbox starts
with a colon. `+relativePaths+`

Exit codes: 0 done, 1 something went wrong, 2 the command was not understood.`,
		newFSList(g), newFSCat(g), newFSWrite(g), newFSCopy(g), newFSMove(g), newFSRemove(g),
		newFSMkdir(g), newFSStat(g), newFSTar(g), newFSWatch(g), newFSSearch(g))
	return g.endpointFlag(cmd, defaultEndpoint)
}

// completePath completes a path of the sandbox from what its server lists.
func (g *globals) completePath(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	client := g.dial()
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	dir, _ := path.Split(prefix)
	entries, err := client.ReadDir(ctx, g.onServer(ctx, client, dir))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, e := range entries {
		name := dir + e.Name()
		if e.IsDir() {
			name += "/"
		}
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completionTimeout bounds a request to the server while the user types.
const completionTimeout = 2 * time.Second

// optional returns the argument, or what stands for its absence.
func optional(args []string, absent string) string {
	if len(args) == 0 {
		return absent
	}
	return args[0]
}

func newFSList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "ls [PATH]",
		Short:             "List a directory",
		Long:              "List a directory, sorted by name: mode, size, time of the last change, name. Links are\nnot followed, and show where they point. With --json, an array of entries.",
		Example:           "  sandbox-agent fs ls src",
		Args:              arguments(0, 1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			entries, err := c.ReadDir(ctx, g.onServer(ctx, c, optional(args, ".")))
			if err != nil {
				return err
			}
			all := make([]api.FileEntry, 0, len(entries))
			var t table
			t.row("MODE", "SIZE", "MODIFIED", "NAME")
			for _, e := range entries {
				info, err := e.Info()
				if err != nil {
					return err
				}
				entry, _ := info.Sys().(api.FileEntry)
				all = append(all, entry)
				name := printable(e.Name())
				if entry.Target != "" {
					name += " -> " + printable(entry.Target)
				}
				t.row(info.Mode().String(), strconv.FormatInt(info.Size(), 10), when(info.ModTime()), name)
			}
			if g.json {
				return printJSON(g.env.Out, all)
			}
			return t.print(g)
		}),
	}
}

// when writes a time, as far as it is known.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// printable quotes a name that would do something to a terminal or to a line.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

func newFSCat(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "cat PATH...",
		Short:             "Print files",
		Long:              "Print the content of files, one after the other.",
		Example:           "  sandbox-agent fs cat README.md",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			for _, name := range args {
				file, err := c.Open(ctx, g.onServer(ctx, c, name))
				if err != nil {
					return err
				}
				_, err = io.Copy(g.env.Out, file)
				if err := errors.Join(err, file.Close()); err != nil {
					return fmt.Errorf("read %s: %w", name, err)
				}
			}
			return nil
		}),
	}
}

func newFSWrite(g *globals) *cobra.Command {
	var mode string
	var adding bool
	cmd := &cobra.Command{
		Use:   "write PATH [CONTENT]",
		Short: "Write a file",
		Long: `Write a file, and the directories above it. The content is the argument, or what is on
standard input. The file is replaced in one step, once everything has arrived. A
file that starts with #! becomes executable unless --mode says else.`,
		Example: `  sandbox-agent fs write notes/todo.txt "buy milk"
  sandbox-agent fs write data.bin < data.bin`,
		Args:              arguments(1, 2),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			opts := sandboxagent.WriteOptions{Append: adding}
			if mode != "" {
				bits, err := strconv.ParseUint(mode, 8, 32)
				if err != nil || bits == 0 || bits > 0o777 {
					return usagef("--mode %q is no mode such as 0644", mode)
				}
				opts.Mode = fs.FileMode(bits)
			}
			content := g.env.In
			if len(args) == 2 {
				content = strings.NewReader(args[1])
			}
			return c.Put(ctx, g.onServer(ctx, c, args[0]), content, opts)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&mode, "mode", "", "permission bits in octal, such as 0600")
	f.BoolVar(&adding, "append", false, "add to the end instead")
	return cmd
}

func newFSMove(g *globals) *cobra.Command {
	var overwrite bool
	cmd := &cobra.Command{
		Use:               "mv FROM TO",
		Short:             "Move a file or a directory",
		Long:              "Move a file or a directory, making the directories above TO. When TO ends with a\nslash the name is kept.",
		Example:           "  sandbox-agent fs mv draft.md docs/",
		Args:              arguments(2, 2),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			to := args[1]
			if strings.HasSuffix(to, "/") {
				to += path.Base(args[0])
			}
			return c.Move(ctx, g.onServer(ctx, c, args[0]), g.onServer(ctx, c, to), sandboxagent.MoveOptions{Overwrite: overwrite})
		}),
	}
	cmd.Flags().BoolVarP(&overwrite, "overwrite", "f", false, "replace what is at TO, directories included")
	return cmd
}

func newFSRemove(g *globals) *cobra.Command {
	var recursive, force bool
	cmd := &cobra.Command{
		Use:               "rm PATH...",
		Short:             "Remove files, links and directories",
		Long:              "Remove files, links and empty directories, and with --recursive full ones too.",
		Example:           "  sandbox-agent fs rm --recursive build",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			for _, name := range args {
				err := removePath(ctx, c, g.onServer(ctx, c, name), recursive)
				if err != nil && !(force && errors.Is(err, fs.ErrNotExist)) {
					return err
				}
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.BoolVarP(&recursive, "recursive", "r", false, "also remove what is in directories")
	f.BoolVarP(&force, "force", "f", false, "what is not there is no error")
	return cmd
}

func removePath(ctx context.Context, c *sandboxagent.Client, name string, recursive bool) error {
	if !recursive {
		return c.Remove(ctx, name)
	}
	// Nothing there is no error of RemoveAll, but it is one of rm.
	err := c.Remove(ctx, name)
	if errors.Is(err, api.CodeNotEmpty) {
		return c.RemoveAll(ctx, name)
	}
	return err
}

func newFSMkdir(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "mkdir PATH...",
		Short:             "Make directories",
		Long:              "Make directories and those above them. One that exists is not an error.",
		Example:           "  sandbox-agent fs mkdir work/src work/doc",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			for _, name := range args {
				if err := c.Mkdir(ctx, g.onServer(ctx, c, name)); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func newFSStat(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "stat PATH",
		Short:             "Describe what is at a path",
		Long:              "Describe what is at a path, links followed.",
		Example:           "  sandbox-agent fs stat README.md --json",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			info, err := c.Stat(ctx, g.onServer(ctx, c, args[0]))
			if err != nil {
				return err
			}
			stat, _ := info.Sys().(api.FileStat)
			if g.json {
				return printJSON(g.env.Out, stat)
			}
			kind := string(stat.Kind)
			if kind == "" {
				kind = string(stat.EntryType)
			}
			fields := [][2]string{{"path", printable(stat.Path)}, {"kind", kind}, {"size", strconv.FormatInt(stat.Size, 10)}, {"mode", stat.Mode}, {"modified", stat.Modified}, {"link to", printable(stat.Target)}}
			for _, field := range fields {
				if field[1] == "" {
					continue
				}
				if _, err := fmt.Fprintf(g.env.Out, "%-9s %s\n", field[0], field[1]); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func newFSTar(g *globals) *cobra.Command {
	var compress, file string
	var extract bool
	cmd := &cobra.Command{
		Use:   "tar [PATH]",
		Short: "Pack a directory as a tar archive, or unpack one",
		Long: `Pack a directory, or a file, as a tar archive on standard output or into --file. With
--extract, unpack an archive from standard input or --file into a directory, which
may be plain or compressed with gzip or zstd. One with a name that would leave
the directory is refused as a whole. --file is a file of this machine.`,
		Example: `  sandbox-agent fs tar src --compress gzip --file src.tar.gz
  tar -c . | sandbox-agent fs tar --extract work`,
		Args:              arguments(0, 1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			dir := g.onServer(ctx, c, optional(args, "."))
			if extract {
				return g.unpack(ctx, c, dir, file)
			}
			switch compress {
			case "", "gzip", "zstd":
			default:
				return usagef("--compress %q is neither gzip nor zstd", compress)
			}
			if file == "" && g.env.OutTerminal {
				return usagef("an archive does not belong on a terminal; give --file, or redirect the output")
			}
			archive, err := c.Download(ctx, dir, sandboxagent.DownloadOptions{Compression: compress})
			if err != nil {
				return err
			}
			defer archive.Close()
			if file != "" {
				return writeFile(g.path(file), archive, 0o644)
			}
			_, err = io.Copy(g.env.Out, archive)
			return err
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "archive on this machine (default standard output or input)")
	f.StringVarP(&compress, "compress", "z", "", "gzip or zstd (default none)")
	f.BoolVarP(&extract, "extract", "x", false, "unpack into the directory")
	return cmd
}

// unpack sends an archive to be unpacked.
func (g *globals) unpack(ctx context.Context, c *sandboxagent.Client, dir, file string) error {
	archive := g.env.In
	if file != "" {
		local, err := os.Open(g.path(file))
		if err != nil {
			return err
		}
		defer local.Close()
		archive = local
	}
	result, err := c.UploadTar(ctx, dir, archive)
	if err != nil {
		return err
	}
	if g.json {
		return printJSON(g.env.Out, result)
	}
	g.noteSkipped(result)
	return nil
}

func newFSWatch(g *globals) *cobra.Command {
	var flat bool
	cmd := &cobra.Command{
		Use:   "watch [PATH]",
		Short: "Print what changes below a directory",
		Long: `Print what changes below a directory, one change a line, until you interrupt. After
the line overflow some changes were missed. With --json each line is an object.`,
		Example:           "  sandbox-agent fs watch src",
		Args:              arguments(0, 1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			for change, err := range c.Watch(ctx, g.onServer(ctx, c, optional(args, ".")), sandboxagent.WatchOptions{Flat: flat}) {
				if err != nil {
					return err
				}
				if g.json {
					err = g.printLine(change)
				} else {
					_, err = fmt.Fprintln(g.env.Out, strings.TrimSpace(fmt.Sprintf("%-8s %s %s", change.Type, printable(change.Path), change.Error)))
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&flat, "flat", false, "only the directory itself, not those below")
	return cmd
}

// printLine writes one object on one line.
func (g *globals) printLine(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = g.env.Out.Write(append(data, '\n'))
	return err
}

func newFSSearch(g *globals) *cobra.Command {
	var req api.FileSearchRequest
	cmd := &cobra.Command{
		Use:   "search [PATH]",
		Short: "Find files by name and content",
		Long: `Find files by name, by content or by both. What is found by name is a path a line;
what is found by content is path:line:column: and the line. Hidden files, and
those that .gitignore names, are left out unless asked for. With --json each
line is an object.`,
		Example: `  sandbox-agent fs search src --content deprecated
  sandbox-agent fs search --name '*.go' --content 'func \w+Close' --regex`,
		Args:              arguments(0, 1),
		ValidArgsFunction: g.completePath,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			req.Path = g.onServer(ctx, c, optional(args, "."))
			if req.Name == "" && req.Content == "" {
				return usagef("what to look for? give --name or --content")
			}
			for match, err := range c.Search(ctx, req) {
				if errors.Is(err, api.CodeLimitExceeded) {
					fmt.Fprintln(g.env.Err, "sandbox-agent: there may be more; raise --limit, or look for less")
					return nil
				}
				if err == nil {
					err = g.printMatch(match)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Name, "name", "", "glob, or part of the name; a glob with a slash is about the path")
	f.StringVar(&req.Content, "content", "", "text within a line")
	f.BoolVar(&req.Regex, "regex", false, "--content is a regular expression")
	f.BoolVarP(&req.IgnoreCase, "ignore-case", "i", false, "take upper and lower case as the same")
	f.BoolVar(&req.Hidden, "hidden", false, "also search hidden files and directories")
	f.BoolVar(&req.NoIgnore, "no-ignore", false, "look into what .gitignore names too")
	f.IntVar(&req.Limit, "limit", 0, "most matches (default that of the server)")
	return cmd
}

func (g *globals) printMatch(m api.FileSearchMatch) error {
	if g.json {
		return g.printLine(m)
	}
	line := printable(m.Path)
	if m.Line > 0 {
		line += fmt.Sprintf(":%d:%d: %s", m.Line, m.Column, printable(strings.ReplaceAll(m.Text, "\t", "    ")))
	}
	_, err := fmt.Fprintln(g.env.Out, line)
	return err
}
