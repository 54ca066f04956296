package shim

import (
	"hash/fnv"
	"os"
	"strconv"
	"strings"
)

// The users that sandboxes of root run as: none that a distribution, a container
// engine, or a directory service hands out.
const (
	firstUID = 2_000_000_000
	countUID = 100_000_000
	nobody   = 65534
)

// UID returns the user on the host, and the group of the same number, that a sandbox
// with namespaces of its own runs as.
func UID(id string) int {
	if euid := os.Geteuid(); euid != 0 {
		return euid
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(id)) // a hash takes everything
	uid := firstUID + int(hash.Sum32()%countUID)
	if !mapped("/proc/self/uid_map", uid) || !mapped("/proc/self/gid_map", uid) {
		return nobody
	}
	return uid
}

// mapped reports whether an id exists in the user namespace of this process.
func mapped(name string, id int) bool {
	data, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		columns := strings.Fields(line)
		if len(columns) != 3 {
			continue
		}
		first, err1 := strconv.Atoi(columns[0])
		size, err2 := strconv.Atoi(columns[2])
		if err1 == nil && err2 == nil && id >= first && id-first < size {
			return true
		}
	}
	return false
}
