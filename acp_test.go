package sandboxagent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
)

// An editor speaks the protocol itself: it sends frames and reads frames.
func ExampleClient_ACP() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	conn, err := server.ACP(ctx, "mock")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	reply, err := conn.Send(ctx, []byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	msg, err := acp.Parse(reply)
	fmt.Printf("reply to %s, error %v\n", msg.ID, err)
	for frame, err := range conn.Frames(ctx) { // everything the agent says, that reply as well
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(frame) == string(reply))
		break
	}
	// Output:
	// reply to 1, error <nil>
	// true
}

func TestACPFramesComeOnceAndInOrder(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	conn, err := s.ACP(ctx, "mock")
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		frame []byte
		err   error
	}
	read := make(chan step, 4096) // begins to wait before anything is sent
	go func() {
		defer close(read)
		for frame, err := range conn.Frames(ctx) {
			read <- step{frame, err}
		}
	}()
	send := func(frame string) []byte {
		t.Helper()
		reply, err := conn.Send(ctx, []byte(frame))
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`)
	var opened struct{ Result acp.SessionResult }
	decodeJSON(t, send(fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`, s.dir)), &opened)
	last := send(fmt.Sprintf(`{"jsonrpc":"2.0","id":3,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/burst 1000"}]}}`, opened.Result.SessionID))
	said := 0
	for got := range read {
		if got.err != nil {
			t.Fatal(got.err)
		}
		if msg, err := acp.Parse(got.frame); err != nil {
			t.Fatal(err)
		} else if msg.Method == acp.MethodSessionUpdate {
			said++
		}
		if string(got.frame) == string(last) {
			break
		}
	}
	if said < 1000 {
		t.Errorf("got %d updates before the reply, want 1000", said)
	}
	if reply := send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":%q}}`, opened.Result.SessionID)); reply != nil {
		t.Errorf("reply to a notification: %s", reply)
	}
	servers, err := s.ACPServers(ctx)
	if err != nil || len(servers) != 1 || servers[0].ServerID != conn.ID || servers[0].Agent != "mock" {
		t.Errorf("connections are %+v, %v", servers, err)
	}
	// The server keeps that session too.
	if info, err := s.Session(opened.Result.SessionID).Info(ctx); err != nil || info.CWD != s.dir {
		t.Errorf("session is %+v, %v", info, err)
	}
	for range 2 {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	ended := false
	for got := range read {
		ended = got.err != nil
	}
	if !ended {
		t.Error("the frames of a closed connection end without an error")
	}
}

func TestACPErrors(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	if _, err := s.ACP(ctx, "no-such-agent"); !errors.Is(err, sandboxagent.ErrUnsupportedAgent) {
		t.Errorf("connection to no agent: %v", err)
	}
	conn, err := s.ACP(ctx, "mock")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Send(ctx, []byte(`{"jsonrpc":`)); err == nil {
		t.Error("half a frame is no error")
	}
	if _, err := conn.Send(ctx, []byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`)); err != nil {
		t.Fatalf("the first frame after one that was refused: %v", err)
	}
	left, leave := context.WithCancel(ctx)
	leave()
	for frame, err := range conn.Frames(left) {
		t.Errorf("frames after the end of the context: %s, %v", frame, err)
	}
	if _, err := conn.Send(left, []byte(`{"jsonrpc":"2.0","method":"x/note"}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("send after the end of the context: %v", err)
	}
}

// A stream that breaks is opened again where it broke.
func TestACPFramesGoOnAfterABreak(t *testing.T) {
	s := newServer(t, sandboxagent.WithHTTPClient(&http.Client{Transport: cutStream{bytes: 30_000}}))
	ctx := testContext(t)
	conn, err := s.ACP(ctx, "mock")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, frame := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`,
		fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`, s.dir),
	} {
		if _, err := conn.Send(ctx, []byte(frame)); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	const n = 1000
	var sid string
	go func() {
		for info, err := range s.Sessions(ctx, sandboxagent.SessionFilter{}) {
			if err == nil {
				sid = info.AgentSessionID
			}
		}
		conn.Send(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":3,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/burst %d"}]}}`, sid, n))
	}()
	said := 0
	for frame, err := range conn.Frames(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		msg, err := acp.Parse(frame)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Method == acp.MethodSessionUpdate {
			said++
		}
		if string(msg.ID) == "3" {
			break
		}
	}
	if said < n {
		t.Errorf("got %d updates, want %d", said, n)
	}
}
