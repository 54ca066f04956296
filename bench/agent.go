package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// frameBytes is the length of a frame of a burst, with its line end.
const frameBytes = 250

// burstFrame is one agent frame of a session as a model's text makes them.
func burstFrame(session string) []byte {
	head := `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"` + session + `","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"`
	const tail = `"}}}}` + "\n"
	return []byte(head + strings.Repeat("x", frameBytes-len(head)-len(tail)) + tail)
}

// agentReply is what the agent replies to a method.
func agentReply(line []byte, session string) string {
	switch {
	case bytes.Contains(line, []byte(`"method":"initialize"`)):
		return `{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}`
	case bytes.Contains(line, []byte(`"method":"session/new"`)):
		return `{"sessionId":"` + session + `"}`
	}
	return `{"stopReason":"end_turn"}`
}

// runAgent is the agent of both servers: it opens a session, answers every prompt at
// once, and sends params.burst frames before the answer. It ends with its input.
func runAgent(in io.Reader, out io.Writer) error {
	session := fmt.Sprintf("bench-%d", os.Getpid())
	burst250 := burstFrame(session)
	r, w := bufio.NewReaderSize(in, 64<<10), bufio.NewWriterSize(out, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if text := member(line, "burst"); text != nil {
			burst, err := strconv.Atoi(string(text))
			if err != nil {
				return fmt.Errorf("read frame: %w", err)
			}
			for range burst {
				if _, err := w.Write(burst250); err != nil {
					return err
				}
			}
		}
		if id := member(line, "id"); id != nil {
			w.WriteString(`{"jsonrpc":"2.0","id":`)
			w.Write(id)
			w.WriteString(`,"result":` + agentReply(line, session) + "}\n")
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

// member finds the value of a member that is a number, in a frame of ours. A
// server may have written it anew, but not with blanks. To decode the frame would
// take as long as all else that the agent does.
func member(line []byte, name string) []byte {
	_, value, ok := bytes.Cut(line, []byte(`"`+name+`":`))
	if !ok {
		return nil
	}
	end := bytes.IndexAny(value, ",}")
	return value[:max(end, 0)]
}

// emitLine is one line of [runEmit].
var emitLine = []byte(strings.Repeat("0123456789abcdef", 4)[:63] + "\n")

// runEmit writes args[0] MiB of text lines, as one write each of 8 KiB, once a
// line has come in.
func runEmit(args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("emit wants a number of MiB")
	}
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if _, err := os.Stdin.Read(make([]byte, 64)); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	block := []byte(strings.Repeat(string(emitLine), 8<<10/len(emitLine)))
	for range mib << 20 / len(block) {
		if _, err := out.Write(block); err != nil {
			return err
		}
	}
	return nil
}
