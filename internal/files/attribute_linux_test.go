package files

import (
	"context"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
)

// acl is an access control list as the kernel takes it: the owner may read and
// write, the user nobody and the group may read, others nothing.
func acl() []byte {
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 6, ^uint32(0)}, {0x02, 4, nobody}, {0x04, 4, ^uint32(0)}, {0x10, 4, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.perm)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return list
}

func TestWriteKeepsAttributesAndAccessLists(t *testing.T) {
	f, dir := newFS(t)
	attributes := map[string][]byte{
		"user.origin": []byte("https://example.org"), "user.empty": {}, "user.large": []byte(strings.Repeat("v", 900)),
		"system.posix_acl_access": acl(),
	}
	writes := map[string]func() error{
		"write":      func() error { return write(f, "f", "new") },
		"long write": func() error { return write(f, "f", strings.Repeat("new", bufferSize)) },
		"batch": func() error {
			_, err := f.Batch(t.Context(), api.FileBatchRequest{Files: []api.FileBatchItem{{Path: "f", Content: "new"}}})
			return err
		},
		"append": func() error {
			_, err := f.Write(context.Background(), "f", strings.NewReader("new"), WriteOptions{Append: true})
			return err
		},
		"write through a link": func() error { return write(f, "link", "new") },
	}
	os.Symlink("f", dir+"/link")
	for name, do := range writes {
		t.Run(name, func(t *testing.T) {
			put(t, dir+"/f", "old")
			for attr, value := range attributes {
				if err := unix.Setxattr(dir+"/f", attr, value, 0); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := os.Stat(dir + "/f")
			if err := do(); err != nil {
				t.Fatal(err)
			}
			for attr, want := range attributes {
				if got, err := attribute(dir+"/f", attr); err != nil || string(got) != string(want) {
					t.Errorf("%s is %q, %v; want %q", attr, got, err, want)
				}
			}
			if after, _ := os.Stat(dir + "/f"); after.Mode() != before.Mode() {
				t.Errorf("mode %v, want %v", after.Mode(), before.Mode())
			}
			if !strings.HasSuffix(content(t, dir+"/f"), "new") {
				t.Error("nothing was written")
			}
		})
	}
}

func TestWriteReachesAllNamesOfAFile(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/a", "old")
	os.Link(dir+"/a", dir+"/b")
	os.Symlink("b", dir+"/l")
	for _, name := range []string{"a", "b", "l"} {
		if err := write(f, name, name); err != nil {
			t.Fatal(err)
		}
		if content(t, dir+"/a") != name || content(t, dir+"/b") != name {
			t.Errorf("after a write to %s: %q, %q", name, content(t, dir+"/a"), content(t, dir+"/b"))
		}
	}
	_, err := f.Batch(t.Context(), api.FileBatchRequest{Files: []api.FileBatchItem{{Path: "a", Content: "lost"}, {Path: "a/below", Content: "x"}}})
	if err == nil || content(t, dir+"/b") != "l" {
		t.Errorf("a batch that fails: %v, %q", err, content(t, dir+"/b"))
	}
	wantNames(t, dir, "a", "b", "l")
}
