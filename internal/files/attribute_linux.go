package files

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// copyAttributes gives the file to the extended attributes of the file at path,
// access control lists among them. File capabilities are left out, since the
// kernel takes them from whatever is written, and so are those attributes of
// security modules that the policy of the machine gives by itself.
//
// See xattr(7) and acl(5).
func copyAttributes(path string, to *os.File) error {
	names, err := attributeNames(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "security.") {
			continue
		}
		value, err := attribute(path, name)
		if errors.Is(err, unix.ENODATA) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(int(to.Fd()), name, value, 0); err != nil {
			return err
		}
	}
	return nil
}

// attributeNames returns nothing where the filesystem has no attributes.
func attributeNames(path string) ([]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if errors.Is(err, unix.ENOTSUP) || len(list) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(string(bytes.TrimSuffix(list, []byte{0})), "\x00"), nil
}

func attribute(path, name string) ([]byte, error) {
	return sized(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
}

// sized calls read with a buffer that is large enough; read returns the size when it
// gets none.
func sized(read func([]byte) (int, error)) ([]byte, error) {
	for {
		size, err := read(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		buf := make([]byte, size)
		size, err = read(buf)
		if err == unix.ERANGE {
			continue // it grew meanwhile
		}
		if err != nil {
			return nil, err
		}
		return buf[:size], nil
	}
}
