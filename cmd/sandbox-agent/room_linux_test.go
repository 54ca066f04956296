package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// lone is a user without other processes.
func lone() uint32 { return 1_000_000 + uint32(os.Getpid()) }

// A child that uses up the processes that the user may have leaves the server what it
// needs to answer, and to end the child.
func TestServerKeepsRoomForItself(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can be a user without other processes")
		return
	}
	dir := scratch(t)
	p := serve(t, world{user: lone(), processes: 150}, dir)
	process := p.must(t, "POST", "/v1/processes", map[string]any{"command": "sh", "args": []string{"-c",
		fmt.Sprintf(`(i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done) 2>/dev/null; : >%s/full; exec sleep 1000`, dir)}})
	await(t, "the child to have all that it can get", func() bool {
		_, err := os.Stat(dir + "/full")
		return err == nil
	})
	var writers sync.WaitGroup
	for n := range 24 { // each waits for the disk, which takes a thread
		writers.Go(func() {
			for range 4 {
				req, err := http.NewRequest(http.MethodPut, fmt.Sprintf("%s/v1/fs/file?path=%s/f%d", p.url, dir, n), bytes.NewReader(make([]byte, 1<<20)))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Errorf("%v\n%.2000s", err, p.err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("PUT: %s", resp.Status)
				}
			}
		})
	}
	writers.Wait()
	_, rest, _ := strings.Cut(process, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	p.must(t, "POST", "/v1/processes/"+id+"/kill", nil)
	await(t, "another process to run", func() bool {
		status, text := p.call(t, "POST", "/v1/processes/run", map[string]any{"command": "sh", "args": []string{"-c", "(echo hi)"}})
		return status == 200 && strings.Contains(text, "hi")
	})
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if !p.ProcessState.Success() {
		t.Errorf("ended with %v\n%s", p.ProcessState, p.err)
	}
}
