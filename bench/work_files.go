package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	smallFile    = 4 << 10
	smallRounds  = 2000
	listEntries  = 5000
	listRounds   = 40
	largeFile    = 256 << 20
	hugeFile     = 1 << 30
	maxGrowthMiB = 32
)

var fileWork = []work{
	{name: "smallfile", do: measureSmallFile, rows: []row{
		{title: "file of 4 KiB, write and read", unit: "pairs/s", budget: budget{ratio: 2}},
		{title: "of it, processor time of the server", unit: "us", lessBetter: true},
		{title: "of it, times a bare net/http server that does the same", unit: "x", budget: budget{limit: .9}},
		{title: "read of it by a net/http client", unit: "1/s"},
		{title: "read of it by wrk", unit: "1/s"},
	}},
	{name: "list", do: measureList, rows: []row{
		{title: "list of 5,000 entries", unit: "1/s", budget: budget{ratio: 2}},
		{title: "of it, processor time of the server", unit: "us", lessBetter: true},
		{title: "the same by a net/http client", unit: "1/s"},
		{title: "the same by wrk", unit: "1/s", budget: budget{ratio: 2}},
	}},
	{name: "largefile", do: measureLargeFile, oursOnly: refuses, rows: []row{
		{title: "256 MiB up", unit: "MB/s"},
		{title: "256 MiB up, times a bare net/http copy to a file", unit: "x", budget: budget{limit: .8}},
		{title: "256 MiB down", unit: "MB/s", lossy: true},
		{title: "256 MiB down, times a bare net/http copy from a file", unit: "x", budget: budget{limit: .8}},
	}},
	{name: "hugefile", do: measureHugeFile, oursOnly: refuses, rows: []row{
		{title: "1 GiB up", unit: "MB/s", lossy: true},
		{title: "1 GiB down", unit: "MB/s", lossy: true},
		{title: "memory growth over 1 GiB up and down", unit: "MiB", lessBetter: true, budget: budget{limit: maxGrowthMiB}},
	}},
}

// refuses is why the peer takes no part in large files.
const refuses = "refuses bodies of more than 2 MiB with 413"

func fileURL(path string) string { return "/v1/fs/file?path=" + url.QueryEscape(path) }

func measureSmallFile(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		content := bytes.Repeat([]byte("small file "), smallFile/11+1)[:smallFile]
		pair := func(c *conn, _, i int) error {
			target := fileURL(filepath.Join(srv.home, "small", fmt.Sprint(i%100)))
			if _, err := c.expect(request(srv.addr, "PUT", target, "application/octet-stream", content), 200); err != nil {
				return err
			}
			got, err := c.expect(request(srv.addr, "GET", target, "", nil), 200)
			if err == nil && !bytes.Equal(got, content) {
				err = fmt.Errorf("read %d bytes that are not those written", len(got))
			}
			return err
		}
		rate, each, err := parallelSpent(srv, 1, smallRounds, pair)
		if err != nil {
			return nil, err
		}
		bare, err := l.bare(ctx, 1, smallRounds, pair)
		if err != nil {
			return nil, err
		}
		byGo, byWrk, err := otherClients(ctx, srv.addr, fileURL(filepath.Join(srv.home, "small", "0")), 1, smallRounds)
		return []sample{{value: rate}, {value: each.own}, {value: rate / bare}, {value: byGo}, {value: byWrk}}, err
	})
}

func measureList(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		dir := filepath.Join(srv.home, "entries")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		for i := range listEntries {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("entry-%05d.txt", i)), nil, 0o644); err != nil {
				return nil, err
			}
		}
		req := request(srv.addr, "GET", "/v1/fs/entries?path="+url.QueryEscape(dir), "", nil)
		rate, each, err := parallelSpent(srv, 1, listRounds, func(c *conn, _, _ int) error {
			got, err := c.expect(req, 200)
			if n := bytes.Count(got, []byte(`"entryType"`)); err == nil && n != listEntries {
				err = fmt.Errorf("list of %d entries", n)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		byGo, byWrk, err := otherClients(ctx, srv.addr, "/v1/fs/entries?path="+url.QueryEscape(dir), 1, listRounds)
		return []sample{{value: rate}, {value: each.own}, {value: byGo}, {value: byWrk}}, err
	})
}

// zeros reads as n bytes that cost nothing to make.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.n))
	z.n -= int64(n)
	return n, nil
}

// up writes a file of n bytes and returns MB/s.
func up(ctx context.Context, url string, n int64) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "PUT", url, &zeros{n})
	if err != nil {
		return 0, err
	}
	req.ContentLength = n
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{WriteBufferSize: 256 << 10, ExpectContinueTimeout: 10 * time.Second, DisableKeepAlives: true}}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 300))
	if err == nil && resp.StatusCode != 200 {
		err = &statusError{resp.StatusCode, string(body)}
	}
	return float64(n) / 1e6 / time.Since(began).Seconds(), err
}

// down reads a file of n bytes and returns MB/s and how many bytes did not come.
func down(ctx context.Context, url string, n int64) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return sample{}, err
	}
	client := &http.Client{Transport: &http.Transport{ReadBufferSize: 256 << 10, DisableCompression: true, DisableKeepAlives: true}}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return sample{}, err
	}
	defer resp.Body.Close()
	got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, make([]byte, 256<<10))
	if err == nil && resp.StatusCode != 200 {
		err = &statusError{resp.StatusCode, ""}
	}
	return sample{float64(got) / 1e6 / time.Since(began).Seconds(), n - got}, err
}

func measureLargeFile(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		path := filepath.Join(srv.home, "large")
		target := "http://" + srv.addr + fileURL(path)
		upRate, err := up(ctx, target, largeFile)
		if err != nil {
			return nil, err
		}
		read, err := down(ctx, target, largeFile)
		if err != nil {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		ref, err := l.startReference(ctx)
		if err != nil {
			return nil, err
		}
		defer ref.stop()
		refUp, err := up(ctx, "http://"+ref.addr+fileURL(path), largeFile)
		if err != nil {
			return nil, err
		}
		refDown, err := down(ctx, "http://"+ref.addr+fileURL(path), largeFile)
		return []sample{{value: upRate}, {value: upRate / refUp}, read, {value: read.value / refDown.value}}, err
	})
}

func measureHugeFile(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		path := filepath.Join(srv.home, "huge")
		target := "http://" + srv.addr + fileURL(path)
		time.Sleep(settle)
		if err := resetPeak(srv.pids()); err != nil {
			return nil, err
		}
		before, err := memoryOf(srv.pids())
		if err != nil {
			return nil, err
		}
		upRate, err := up(ctx, target, hugeFile)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		read, err := down(ctx, target, hugeFile)
		if err != nil {
			return nil, err
		}
		after, err := memoryOf(srv.pids())
		return []sample{{upRate, hugeFile - info.Size()}, read, {value: mib(after.peak - before.resident)}}, err
	})
}
