package sandboxagent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing/fstest"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

func ExampleClient_WriteFile() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	err := server.WriteFile(ctx, "notes/today.txt", []byte("buy milk"), 0o600)
	data, _ := server.ReadFile(ctx, "notes/today.txt")
	fmt.Printf("%s %v\n", data, err)
	_, err = server.ReadFile(ctx, "none")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// buy milk <nil>
	// true
}

func ExampleClient_Upload() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	tree := fstest.MapFS{"main.go": {Data: []byte("package main\n")}} // or os.DirFS
	if _, err := server.Upload(ctx, "project", tree); err != nil {
		fmt.Println(err)
		return
	}
	names, err := fs.Glob(server.FS(ctx, "project"), "*.go")
	fmt.Println(names, err)
	// Output: [main.go] <nil>
}

func ExampleClient_Command() {
	server, stop := exampleServer()
	defer stop()
	cmd := server.Command(context.Background(), "tr", "a-z", "A-Z")
	cmd.Stdin = strings.NewReader("hello\n")
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
	}
	// Output: HELLO
}

func ExampleExitError() {
	server, stop := exampleServer()
	defer stop()
	err := server.Command(context.Background(), "sh", "-c", "exit 3").Run()
	var exit *sandboxagent.ExitError
	if errors.As(err, &exit) {
		fmt.Println(exit.ExitCode())
	}
	// Output: 3
}

func ExampleProcess_Logs() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	process, err := server.StartProcess(ctx, api.ProcessCreateRequest{Command: "echo", Args: []string{"hello"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for entry, err := range process.Logs(ctx, sandboxagent.LogsOptions{Follow: true}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %s", entry.Stream, entry.Data)
	}
	// Output: stdout: hello
}

func ExampleClient_StartTerminal() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	terminal, err := server.StartTerminal(ctx, api.ProcessCreateRequest{
		Command: "sh", Args: []string{"-c", "stty size; exit 3"},
	}, sandboxagent.TerminalOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer terminal.Close()
	output, err := io.ReadAll(terminal)
	info, _ := terminal.Wait(ctx)
	fmt.Println(strings.TrimSpace(string(output)), *info.ExitCode, err)
	// Output: 24 80 3 <nil>
}

func ExampleClient_SetMCPServer() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	dir, err := server.Stat(ctx, ".") // any folder in which agents work
	if err != nil {
		fmt.Println(err)
		return
	}
	directory := dir.Sys().(api.FileStat).Path
	err = server.SetMCPServer(ctx, directory, "clock", api.MCPServer{
		Type: api.MCPLocal, Command: api.MCPCommand{"clock-mcp"},
	})
	servers, _ := server.MCPServers(ctx, directory)
	fmt.Println(servers["clock"].Command, err)
	// Output: [clock-mcp] <nil>
}
